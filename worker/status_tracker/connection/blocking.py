"""Blocking clients, for programs without asyncio: of one server or a master, and of a cluster.

They do what `server.py` and `cluster.py` do: a command is sent once, at once, and its reply comes
as the server sent it. Which node has which slot, redis-py's own cluster client knows.
"""

import os
import re
import threading
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import hiredis
import redis
from redis import exceptions

from status_tracker.connection.client import UNREACHABLE, Command

MOST_REDIRECTIONS = 16
"""Times that one command is sent to another node."""

# redis-py knows these errors by their class, without their first word.
_REDIRECTION = re.compile(r"(?:MOVED |ASK )?(?P<slot>\d+) (?P<host>\S*):(?P<port>\d+)")


class BlockingClient(Protocol):
    """One server or a cluster; replies come as the server sends them, as bytes."""

    is_cluster: bool

    def execute_all(self, commands: Sequence[Command]) -> list[Any]:
        """Send commands in one go; return their replies, an error in the place of its reply."""

    def alone(self) -> "BlockingClient":
        """Return a client with connections of its own, which another thread may close."""

    def close(self) -> None:
        """Close all connections, also those in use: their commands then fail."""


class BlockingServer:
    """A client of one server. Many threads may use it: each command has a connection for itself."""

    is_cluster = False

    def __init__(self, pool: redis.ConnectionPool, closed: threading.Event | None = None) -> None:
        """Connect when it is asked; not any more once `closed` is set."""
        self._pool = pool
        self._closed = closed
        self._idle: list[Any] = []
        self._all: set[Any] = set()
        self._process = os.getpid()

    def execute_all(self, commands: Sequence[Command]) -> list[Any]:
        """Send commands in one go; return their replies, an error in the place of its reply."""
        replies: list[Any] = []
        connection: Any = None
        try:
            connection = self._take()
            _connect(connection)
            # In one piece: redis-py sends each piece by itself.
            packed = b"".join(map(_packed, commands))
            connection.send_packed_command([packed], check_health=False)
            # Whoever closed us before may have found it not connected, and redis-py connects again.
            self._check_open()
            for _ in commands:
                replies.append(_reply(connection))  # noqa: PERF401 - those before an error count
        except UNREACHABLE as error:
            self._drop(connection)
            return replies + [error] * (len(commands) - len(replies))
        except BaseException:
            # What is half sent or half read cannot be taken back.
            self._drop(connection)
            raise
        self._idle.append(connection)
        return replies

    def alone(self) -> "BlockingServer":
        """Return a client with connections of its own; once it is closed, it stays so."""
        return BlockingServer(self._pool, threading.Event())

    def close(self) -> None:
        """Close all connections, also those in use."""
        if self._closed is not None:
            self._closed.set()
        self._idle = []
        for connection in list(self._all):
            self._drop(connection)

    def _check_open(self) -> None:
        if self._closed is not None and self._closed.is_set():
            raise exceptions.ConnectionError("closed meanwhile")

    def _take(self) -> Any:
        if self._process != os.getpid():
            # After a fork the sockets are the parent's, too: what we say there, it would read.
            self._idle, self._all, self._process = [], set(), os.getpid()
        try:
            return self._idle.pop()
        except IndexError:
            # Beside those of the pool: they are not ours to keep, nor to count.
            options = {**self._pool.connection_kwargs, "decode_responses": False}
            connection = self._pool.connection_class(**options)
            self._all.add(connection)
            return connection

    def _drop(self, connection: Any) -> None:
        self._all.discard(connection)
        if connection is not None:
            connection.disconnect()


class BlockingCluster:
    """A client of a Redis Cluster, by the slots that a client of redis-py knows."""

    is_cluster = True

    def __init__(
        self,
        connect: Callable[[], redis.RedisCluster],
        closed: threading.Event | None = None,
    ) -> None:
        """Connect when it is asked; not any more once `closed` is set."""
        self._connect = connect
        self._closed = closed
        self._client: redis.RedisCluster | None = None
        self._nodes: dict[tuple[str, int], BlockingServer] = {}
        self._outdated = False
        self._lock = threading.Lock()

    def execute_all(self, commands: Sequence[Command]) -> list[Any]:
        """Send each command to its node; return their replies, an error in the place of its reply.

        That includes the errors of connections: a part of a cluster may be out of reach.
        """
        try:
            client = self._ready()
        except UNREACHABLE as error:
            return [error] * len(commands)
        replies: list[Any] = [None] * len(commands)
        places: dict[tuple[str, int], list[int]] = {}
        for place, key in enumerate(_keys(commands)):
            try:
                node = client.get_node_from_key(key)  # type: ignore[no-untyped-call]
            except UNREACHABLE as error:
                self._outdated, replies[place] = True, error
            else:
                places.setdefault((node.host, node.port), []).append(place)
        for address, numbers in places.items():
            found = self._send(address, [commands[place] for place in numbers])
            for place, reply in zip(numbers, found, strict=True):
                replies[place] = self._redirected(commands[place], reply, address)
        return replies

    def alone(self) -> "BlockingCluster":
        """Return a client with connections of its own; once it is closed, it stays so."""
        return BlockingCluster(self._ready, threading.Event())

    def close(self) -> None:
        """Close all connections to the nodes, also those in use."""
        if self._closed is not None:
            self._closed.set()
        for node in list(self._nodes.values()):
            node.close()

    def _ready(self) -> redis.RedisCluster:
        """Return redis-py's client, with slots as they are now."""
        with self._lock:
            if self._client is None:
                self._client = self._connect()
            elif self._outdated:
                self._outdated = False
                self._client.nodes_manager.initialize()
            return self._client

    def _send(self, address: tuple[str, int], commands: Sequence[Command]) -> list[Any]:
        try:
            replies = self._node(address).execute_all(commands)
        except UNREACHABLE as error:
            replies = [error] * len(commands)
        self._outdated |= any(isinstance(reply, UNREACHABLE) for reply in replies)
        return replies

    def _redirected(self, command: Command, reply: Any, address: tuple[str, int]) -> Any:
        """Follow a reply that names another node; return the first one that does not."""
        for _ in range(MOST_REDIRECTIONS):
            told = None
            if isinstance(reply, exceptions.ResponseError):
                told = _REDIRECTION.fullmatch(str(reply))
            if told is None:
                return reply
            address = (told["host"] or address[0], int(told["port"]))
            if isinstance(reply, exceptions.AskError) or str(reply).startswith("ASK"):
                # Both on one connection, or the node does not know what it was asked.
                [_, reply] = self._send(address, [("ASKING",), command])
            else:
                self._outdated = True
                [reply] = self._send(address, [command])
        return exceptions.ClusterError("a slot is moving: too many redirections")

    def _node(self, address: tuple[str, int]) -> BlockingServer:
        client = self._ready()
        with self._lock:
            if address not in self._nodes:
                host, port = address
                node = client.get_node(host=host, port=port)  # type: ignore[no-untyped-call]
                if node is None:
                    raise exceptions.ClusterError(f"{host}:{port} is no node that is known yet")
                pool = client.get_redis_connection(node).connection_pool
                self._nodes[address] = BlockingServer(pool, self._closed)
            return self._nodes[address]


def _keys(commands: Sequence[Command]) -> list[str | bytes]:
    """Return the key by which each command finds its node."""
    keys: list[str | bytes] = []
    for command in commands:
        # WAIT is about what its connection wrote before.
        keys.append(keys[-1] if command[0] == "WAIT" else key_of(command))
    return keys


def key_of(command: Command) -> str | bytes:
    """Return the first key of a command."""
    place = {"XREAD": -2, "XINFO": 2}.get(str(command[0]), 1)
    key = command[place]
    return key if isinstance(key, bytes) else str(key)


def _connect(connection: Any) -> None:
    """Connect, unless that is done and the server has not closed it meanwhile."""
    try:
        if not connection.can_read(timeout=0):  # connects where it is not
            return
    except exceptions.ConnectionError:
        pass
    connection.disconnect()
    connection.connect()


def _packed(command: Command) -> bytes:
    packed: bytes = hiredis.pack_command(tuple(command))  # type: ignore[arg-type]
    return packed


def _reply(connection: Any) -> Any:
    try:
        return connection.read_response()
    except exceptions.ResponseError as error:
        return error
