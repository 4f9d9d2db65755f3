"""The shell for programs without asyncio: drives operations on blocking connections."""

import logging
import queue
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any, Protocol, TypeVar

import redis
from redis import exceptions

from status_tracker.client.feed import block_within, follow_commands, followed
from status_tracker.client.operations import (
    Follow,
    Followed,
    Operation,
    Pause,
    Receive,
    Request,
)
from status_tracker.client.updates import Clock, clock_of, process_clock
from status_tracker.connection.blocking import BlockingClient, BlockingCluster, BlockingServer
from status_tracker.connection.client import Command
from status_tracker.connection.url import (
    blocking_cluster,
    blocking_pool,
    names_several,
    without_secrets,
)
from status_tracker.errors import UnavailableError

T = TypeVar("T")

log: logging.Logger = logging.getLogger(__name__)


class HasUrl(Protocol):
    """Settings, as `load_settings` returns them."""

    @property
    def redis_url(self) -> str:
        """Where the server is."""

    @property
    def prefix(self) -> str:
        """What every key begins with."""


Source = str | HasUrl | redis.Redis | redis.RedisCluster
"""A URL, settings, or a client that the user has already."""


class SyncShell:
    """Drives operations; many threads may run one at a time each."""

    def __init__(self, source: Source) -> None:
        # A Sentinel's client is looked at for the master, and must not go away.
        self._source = source
        self._url = source if isinstance(source, str) else getattr(source, "redis_url", None)
        self.where: str = without_secrets(self._url) if self._url else "redis"
        self._client, timeout, clock = _client(source, self._url)
        self.clock: Clock = clock
        self._blocks_for = block_within(timeout)
        self._lock = threading.Lock()

    def run(self, operation: Operation[T]) -> T:
        """Drive an operation to its end; return its result, or raise its error."""
        return self._drive(operation, time.sleep)

    def _drive(self, operation: Operation[T], pause: Any) -> T:
        try:
            request = next(operation)
            while True:
                try:
                    answer = self._answer(request, pause)
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

    def _answer(self, request: Request, pause: Any) -> Any:
        match request:
            case tuple():
                [reply] = self.ask([request])
                if isinstance(reply, Exception):
                    raise reply
                return reply
            case list():
                return self.ask(request)
            case Pause(seconds):
                return pause(seconds)
            case Receive(inbox, seconds):
                return _received(inbox, seconds)
            case Follow(tail, places):
                return tail.follow(places)  # type: ignore[attr-defined]
        raise TypeError(f"{request!r} is no request")

    def ask(self, commands: list[Command]) -> list[Any]:
        """Return the replies, with errors in the place of replies."""
        client = self._client
        replies = client.execute_all(commands)
        moved = places_moved(replies)
        if moved and self.is_one_of_a_cluster(client):
            # Those of its own slots the node has done.
            again = self._client.execute_all([commands[place] for place in moved])
            for place, reply in zip(moved, again, strict=True):
                replies[place] = reply
        return replies

    def is_one_of_a_cluster(self, client: BlockingClient) -> bool:
        """Go on with a cluster's client, if that can be, where one of a server was told to."""
        url = self._url
        if url is None or client.is_cluster:
            return False
        with self._lock:
            if not self._client.is_cluster:  # else another thread was told before
                single, self._client = self._client, BlockingCluster(lambda: blocking_cluster(url))
                single.close()
        return True

    def alone(self) -> BlockingClient:
        """Return a client with connections of its own."""
        return self._client.alone()

    def spawn(self, operation: Operation[None], name: str) -> "_Thread":
        """Run an operation in a thread of its own."""
        return _Thread(self, operation, name)

    def drive_in_background(self, operation: Operation[None], stopped: threading.Event) -> None:
        """Drive an operation until its end, or until it is stopped."""

        def pause(seconds: float) -> None:
            if stopped.wait(seconds):
                raise _StoppedError

        try:
            self._drive(operation, pause)
        except _StoppedError:
            pass
        except Exception:
            if not stopped.is_set():  # else somebody closed what it waited for
                log.exception(
                    "%s ended",
                    threading.current_thread().name,
                    extra={"event": "background_ended"},
                )

    def inbox(self) -> "queue.SimpleQueue[Any]":
        """Return a new inbox."""
        return queue.SimpleQueue()

    def tail(self) -> "_Tail":
        """Return a new tail."""
        return _Tail(self, self._blocks_for)

    def close(self) -> None:
        """Close all connections of ours; a client that was the user's stays as it is."""
        self._client.close()


class _StoppedError(Exception):
    """A background operation is to end."""


class _Thread:
    """An operation in a thread of its own."""

    def __init__(self, shell: SyncShell, operation: Operation[None], name: str) -> None:
        self._stopped = threading.Event()
        thread = threading.Thread(
            target=shell.drive_in_background,
            args=(operation, self._stopped),
            name=f"status-tracker {name}",
            daemon=True,
        )
        thread.start()

    def stop(self) -> None:
        """End it soon: what it waits for is closed by whoever stops it."""
        self._stopped.set()


class _Tail:
    """Waits at the end of streams; of several, with a thread and a connection for each.

    They may be in different slots, also where one server has them all.
    """

    def __init__(self, shell: SyncShell, blocks_for: float) -> None:
        self._shell = shell
        self._clients = [shell.alone()]
        self._blocks_for = blocks_for
        self._threads: ThreadPoolExecutor | None = None
        self._waiting: dict[str, Future[Followed]] = {}
        self._closed = False

    def follow(self, places: Mapping[str, str]) -> Followed:
        """Return what came, as `feed.followed` has it."""
        if self._closed:
            raise _StoppedError
        if len(places) == 1:
            return self._read(places)
        if self._threads is None:
            self._threads = ThreadPoolExecutor(len(places), "status-tracker feed")
        for stream in places.keys() - self._waiting.keys():
            part = {stream: places[stream]}
            self._waiting[stream] = self._threads.submit(self._read, part)
        wait(self._waiting.values(), return_when=FIRST_COMPLETED)
        done = [stream for stream, reading in self._waiting.items() if reading.done()]
        found: dict[str, tuple[Any, Any]] = {}
        for stream in done:
            found |= self._waiting.pop(stream).result()
        return found

    def _read(self, places: Mapping[str, str]) -> Followed:
        commands = follow_commands(places, self._blocks_for)
        client = self._clients[-1]
        replies = client.execute_all(commands)
        if places_moved(replies) and self._shell.is_one_of_a_cluster(client):
            client = self._shell.alone()
            self._clients.append(client)
            replies = client.execute_all(commands)
        return followed(places, replies)

    def close(self) -> None:
        """Close it, also while another thread waits."""
        self._closed = True
        for client in self._clients:
            client.close()
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)


def places_moved(replies: Sequence[Any]) -> list[int]:
    """Return which replies say that the server is one of a cluster, and not the right one."""
    return [
        place
        for place, reply in enumerate(replies)
        if isinstance(reply, exceptions.MovedError)
        or (isinstance(reply, exceptions.ResponseError) and str(reply).startswith("MOVED "))
    ]


def _received(inbox: Any, seconds: float | None) -> Any:
    try:
        return inbox.get(timeout=None if seconds is None else max(0.0, seconds))
    except queue.Empty:
        return None


def _client(source: Source, url: str | None) -> tuple[BlockingClient, float | None, Clock]:
    """Return our client for what we were given, the timeout of its sockets, and its clock."""
    if url is not None:
        pool = blocking_pool(url)  # raises where the URL cannot be used
        if names_several(url):
            return BlockingCluster(lambda: blocking_cluster(url)), None, process_clock
        return BlockingServer(pool), None, clock_of(pool.connection_kwargs)
    if isinstance(source, redis.RedisCluster):
        own: redis.RedisCluster = source
        timeout = own.nodes_manager.connection_kwargs.get("socket_timeout")
        return BlockingCluster(lambda: own), timeout, process_clock
    if isinstance(source, redis.Redis):
        pool = source.connection_pool
        options = pool.connection_kwargs
        return BlockingServer(pool), options.get("socket_timeout"), clock_of(options)
    raise TypeError(
        f"{type(source).__name__}: give a URL, settings, a redis.Redis or a redis.RedisCluster"
    )
