"""What the tracker asks of a server, be it one or a cluster, and what can go wrong with it."""

from collections.abc import Sequence
from typing import Any, Protocol

from redis import exceptions

Command = Sequence[str | bytes | int]
"""The words of a command, as they go over the wire: ``("XLEN", "status:changes")``."""

UNREACHABLE = (
    exceptions.ConnectionError,
    exceptions.TimeoutError,
    exceptions.InvalidResponse,
    exceptions.ClusterError,
    exceptions.RedisClusterException,
    OSError,
)
"""The server did not answer, or says that it is still loading, or something else answered; in a
cluster, also: no node that has the key's slot."""
UNAVAILABLE = (*UNREACHABLE, exceptions.ResponseError)
"""It cannot be used now: out of reach, full, read-only, busy, or a key has another type."""

ANSWER_WITHIN = 5.0
"""Seconds without an answer after which a connection counts as lost. Longer than any blocking read,
and than the longest script a server should be made to run."""


class Client(Protocol):
    """One server or a cluster; replies come as the server sends them (RESP2, bytes)."""

    is_cluster: bool

    async def execute(self, *command: str | bytes | int) -> Any:
        """Return the reply to a command; raises one of `UNAVAILABLE`."""

    async def execute_all(self, commands: Sequence[Command]) -> list[Any]:
        """Send commands in one go; return their replies, an error in the place of its reply.

        Raises one of `UNREACHABLE` where the connection is lost.
        """

    async def close(self) -> None:
        """Close all connections."""


def checked(replies: list[Any]) -> list[Any]:
    """Return replies, none of which is an error; raises the first one that is."""
    for reply in replies:
        if isinstance(reply, Exception):
            raise reply
    return replies


async def server_info(client: Client) -> dict[str, str]:
    """Return the fields of INFO."""
    # Not by section: before 7.0 it takes only one, and we must be able to say that it is too old.
    lines = (await client.execute("INFO")).decode(errors="replace").splitlines()
    return dict(line.split(":", 1) for line in lines if ":" in line)
