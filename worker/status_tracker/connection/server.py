"""A client of one server, or of the master that Sentinels name."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import hiredis
from redis import exceptions
from redis.asyncio import ConnectionPool
from redis.asyncio.connection import AbstractConnection

from status_tracker.connection.client import ANSWER_WITHIN, Command

CLOSED_WITHIN = 0.5
"""Seconds for which the end of a connection is waited for."""

# Tells whether there is something to read, be it the connection's end. redis-py 8.0 renamed it.
_HAS_UNREAD = "can_read" if hasattr(AbstractConnection, "can_read") else "can_read_destructive"


class Server:
    """A client that sends a command once, at once, on a connection that it keeps.

    redis-py's own gets ready to try again, which would make a commit look like another worker's,
    and counts for metrics: some quarter of a command's time. What it is good at stays with it: to
    connect, to log in, to find the master.
    """

    is_cluster = False

    def __init__(self, pool: ConnectionPool, *, connects_within: float = ANSWER_WITHIN) -> None:
        self._pool = pool
        self._connects_within = connects_within
        # As many as there ever were commands at once: a blocking read holds its own.
        self._idle: list[AbstractConnection] = []

    async def execute(self, *command: str | bytes | int) -> Any:
        """Return the reply to a command."""
        [reply] = await self.execute_all([command])
        if isinstance(reply, Exception):
            raise reply
        return reply

    async def execute_all(self, commands: Sequence[Command]) -> list[Any]:
        """Send commands in one go; return their replies, an error in the place of its reply."""
        connection = self._idle.pop() if self._idle else self._new_connection()
        try:
            await self._connect(connection)
            async with asyncio.timeout(ANSWER_WITHIN):
                # Written by hiredis: redis-py's asyncio joins a thousand keys in Python.
                await connection.send_packed_command(list(map(_packed, commands)))
                return [await _reply(connection) for _ in commands]
        except TimeoutError:
            await connection.disconnect(nowait=True)
            raise exceptions.TimeoutError(f"no answer within {ANSWER_WITHIN:g} s") from None
        except BaseException:
            # What is half sent or half read cannot be taken back.
            await connection.disconnect(nowait=True)
            raise
        finally:
            self._idle.append(connection)

    async def close(self) -> None:
        """Close the connections that are not in use, and those to the Sentinels."""
        idle, self._idle = self._idle, []
        await asyncio.gather(*map(_close, idle))
        sentinels = getattr(self._pool, "sentinel_manager", None)
        for client in sentinels.sentinels if sentinels else ():
            await client.aclose()

    def _new_connection(self) -> AbstractConnection:
        connection: AbstractConnection = self._pool.make_connection()  # type: ignore[no-untyped-call]
        return connection

    async def _connect(self, connection: AbstractConnection) -> None:
        """Connect, unless that is done and the server has not closed it meanwhile."""
        if connection.is_connected:
            if not await _is_closed(connection):
                return
            await connection.disconnect(nowait=True)
        try:
            async with asyncio.timeout(self._connects_within):
                await connection.connect()  # type: ignore[no-untyped-call]
        except TimeoutError:
            raise exceptions.TimeoutError(
                f"no connection within {self._connects_within:g} s"
            ) from None


async def _close(connection: AbstractConnection) -> None:
    """Close a connection: by TLS, both ends take leave, unless the server hangs."""
    with suppress(exceptions.RedisError, OSError):
        async with asyncio.timeout(CLOSED_WITHIN):
            await connection.disconnect()


async def _is_closed(connection: AbstractConnection) -> bool:
    """Tell whether the server closed a connection on which nothing is asked."""
    try:
        closed: bool = await getattr(connection, _HAS_UNREAD)()
    except exceptions.ConnectionError:
        return True
    return closed


def _packed(command: Command) -> bytes:
    packed: bytes = hiredis.pack_command(tuple(command))  # type: ignore[arg-type]
    return packed


async def _reply(connection: AbstractConnection) -> Any:
    try:
        return await connection.read_response()
    except exceptions.ResponseError as error:
        return error
