"""The shell for asyncio: drives operations on the connections that workers use, too."""

import asyncio
import logging
from collections.abc import Coroutine, Mapping
from contextlib import nullcontext
from typing import Any, TypeVar

import redis.asyncio

from status_tracker.cancellation import cancelled, started
from status_tracker.client.feed import block_within, follow_commands, followed
from status_tracker.client.operations import (
    Follow,
    Followed,
    Operation,
    Pause,
    Receive,
    Request,
)
from status_tracker.client.sync_shell import HasUrl, places_moved
from status_tracker.client.updates import Clock, clock_of, process_clock
from status_tracker.connection.client import UNREACHABLE, Client, Command
from status_tracker.connection.cluster import Address, Cluster
from status_tracker.connection.server import Server
from status_tracker.connection.url import (
    async_pool,
    connect,
    connect_cluster,
    names_several,
    without_secrets,
)
from status_tracker.errors import UnavailableError

T = TypeVar("T")

log: logging.Logger = logging.getLogger(__name__)

AsyncSource = str | HasUrl | redis.asyncio.Redis | redis.asyncio.RedisCluster
"""A URL, settings, or a client that the user has already."""

MOST_AT_ONCE = 16
"""Pipelines that are on their way at a time, each on a connection of its own; others wait for them.
Those that wait at the end of a stream do not count."""


class AsyncShell:
    """Drives operations, in one event loop."""

    def __init__(self, source: AsyncSource) -> None:
        # A Sentinel's client is looked at for the master, and must not go away.
        self._source = source
        self._url = source if isinstance(source, str) else getattr(source, "redis_url", None)
        self.where: str = without_secrets(self._url) if self._url else "redis"
        self._client, timeout, clock = _client(source, self._url)
        self.clock: Clock = clock
        self._former: Client | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self._blocks_for = block_within(timeout)
        self._room = asyncio.Semaphore(MOST_AT_ONCE)

    async def run(self, operation: Operation[T], ended: asyncio.Event | None = None) -> T:
        """Drive an operation to its end; return its result, or raise its error.

        Where it is to end earlier, `ended` says so, too: in Python 3.11, `asyncio.wait_for`, in
        which redis-py asks Sentinels, may swallow a cancellation.
        """
        try:
            request = next(operation)
            while True:
                if ended is not None and ended.is_set():
                    raise asyncio.CancelledError
                try:
                    answer = await self._answer(request)
                except Exception as error:  # noqa: BLE001 - the operation's to handle
                    request = operation.throw(error)
                else:
                    request = operation.send(answer)
        except StopIteration as done:
            result: T = done.value
            return result
        except UnavailableError as error:
            raise UnavailableError(f"{self.where}: {error}") from error.__cause__
        finally:
            operation.close()

    async def _answer(self, request: Request) -> Any:
        match request:
            case tuple():
                [reply] = await self.ask([request])
                if isinstance(reply, Exception):
                    raise reply
                return reply
            case list():
                return await self.ask(request)
            case Pause(seconds):
                return await asyncio.sleep(seconds)
            case Receive(inbox, seconds):
                return await _received(inbox, seconds)
            case Follow(tail, places):
                return await tail.follow(places)  # type: ignore[attr-defined]
        raise TypeError(f"{request!r} is no request")

    async def ask(self, commands: list[Command], *, waits: bool = False) -> list[Any]:
        """Return the replies, with errors in the place of replies; `waits` for one that blocks."""
        async with nullcontext() if waits else self._room:
            client = self._client
            replies = await self._execute(commands)
            moved = [] if client.is_cluster else places_moved(replies)
            if moved and self._url:
                if not self._client.is_cluster:  # else another task was told before
                    self._client = connect_cluster(self._url)
                    self._former = client  # others may still wait for its replies
                # Those of its own slots the node has done.
                again = await self._execute([commands[place] for place in moved])
                for place, reply in zip(moved, again, strict=True):
                    replies[place] = reply
            return replies

    async def _execute(self, commands: list[Command]) -> list[Any]:
        try:
            return await self._client.execute_all(commands)
        except UNREACHABLE as error:
            return [error] * len(commands)

    def begin(self, work: Coroutine[Any, Any, T], name: str) -> asyncio.Task[T]:
        """Start a task that is over when the shell is closed."""
        task = started(work, f"status-tracker {name}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def spawn(self, operation: Operation[None], name: str) -> "_Task":
        """Run an operation in a task of its own."""
        return _Task(self, operation, name)

    def inbox(self) -> "asyncio.Queue[Any]":
        """Return a new inbox."""
        return asyncio.Queue()

    def tail(self) -> "_Tail":
        """Return a new tail."""
        return _Tail(self, self._blocks_for)

    async def close(self) -> None:
        """Close all connections of ours; a client that was the user's stays as it is."""
        await cancelled(self._tasks)
        await self._client.close()
        if self._former is not None:
            await self._former.close()


class _Task:
    """An operation in a task of its own."""

    def __init__(self, shell: AsyncShell, operation: Operation[None], name: str) -> None:
        self._name = name
        self._ended = asyncio.Event()
        self._task = shell.begin(shell.run(operation, self._ended), name)
        self._task.add_done_callback(self._tell)

    def stop(self) -> None:
        """End it."""
        self._ended.set()
        self._task.cancel()

    def _tell(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()):
            log.error("%s ended", self._name, exc_info=error, extra={"event": "background_ended"})


class _Tail:
    """Waits at the end of streams; of several, with a task and a connection for each.

    They may be in different slots, also where one server has them all.
    """

    def __init__(self, shell: AsyncShell, blocks_for: float) -> None:
        self._shell = shell
        self._blocks_for = blocks_for
        self._waiting: dict[str, asyncio.Task[Followed]] = {}
        self._closed = False

    async def follow(self, places: Mapping[str, str]) -> Followed:
        """Return what came, as `feed.followed` has it."""
        if self._closed:
            # In Python 3.11, `asyncio.wait_for` swallows a cancellation that comes in the moment in
            # which redis-py is connected.
            raise asyncio.CancelledError
        if len(places) == 1:
            return await self._read(places)
        for stream in places.keys() - self._waiting.keys():
            part = {stream: places[stream]}
            self._waiting[stream] = self._shell.begin(self._read(part), f"feed {stream}")
        await asyncio.wait(self._waiting.values(), return_when=asyncio.FIRST_COMPLETED)
        done = [stream for stream, reading in self._waiting.items() if reading.done()]
        found: dict[str, tuple[Any, Any]] = {}
        for stream in done:
            found |= self._waiting.pop(stream).result()
        return found

    async def _read(self, places: Mapping[str, str]) -> Followed:
        commands = follow_commands(places, self._blocks_for)
        return followed(places, await self._shell.ask(commands, waits=True))

    def close(self) -> None:
        """Close it: what is waited for ends with its task."""
        self._closed = True
        for reading in self._waiting.values():
            reading.cancel()


async def _received(inbox: Any, seconds: float | None) -> Any:
    try:
        async with asyncio.timeout(seconds):
            return await inbox.get()
    except TimeoutError:
        return None


def _client(source: AsyncSource, url: str | None) -> tuple[Client, float | None, Clock]:
    """Return our client for what we were given, the timeout of its sockets, and its clock."""
    if url is not None:
        if names_several(url):
            return connect_cluster(url), None, process_clock
        return connect(url), None, clock_of(async_pool(url).connection_kwargs)
    if isinstance(source, redis.asyncio.RedisCluster):
        return _cluster(source), source.connection_kwargs.get("socket_timeout"), process_clock
    if isinstance(source, redis.asyncio.Redis):
        pool = source.connection_pool
        options = pool.connection_kwargs
        client = _server(pool.connection_class, options)
        return client, options.get("socket_timeout"), clock_of(options)
    raise TypeError(
        f"{type(source).__name__}: give a URL, settings, a redis.asyncio.Redis or RedisCluster"
    )


def _server(connection_class: Any, options: Mapping[str, Any]) -> Server:
    """Return our client that connects as a user's does, but has its replies as bytes.

    Its connections are beside those of the user's pool.
    """
    raw = {**options, "decode_responses": False}
    return Server(redis.asyncio.ConnectionPool(connection_class, **raw))


def _cluster(client: redis.asyncio.RedisCluster) -> Cluster:
    """Return our client of a cluster that connects as the user's does."""
    manager = client.nodes_manager
    seeds = [*manager.startup_nodes.values()]
    own = seeds[0].connection_kwargs

    def node(address: Address) -> Server:
        host, port = manager.address_remap(address) if manager.address_remap else address
        return _server(seeds[0].connection_class, {**own, "host": host, "port": port})

    return Cluster([(each.host, int(each.port)) for each in seeds], node)
