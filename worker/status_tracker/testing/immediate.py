"""Coroutines that never wait: so a test folds in its own thread, with asyncio or without."""

from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

from status_tracker.connection.blocking import BlockingClient
from status_tracker.connection.client import Command, checked

T = TypeVar("T")


class Immediate:
    """A client as the engine wants it, whose replies are there at once."""

    is_cluster = False

    def __init__(self, client: BlockingClient) -> None:
        self._client = client

    async def execute(self, *command: str | bytes | int) -> Any:
        """Return the reply to a command; raises one of `UNAVAILABLE`."""
        [reply] = checked(await self.execute_all([command]))
        return reply

    async def execute_all(self, commands: Sequence[Command]) -> list[Any]:
        """Send commands in one go; return their replies, an error in the place of its reply."""
        return self._client.execute_all(commands)

    async def close(self) -> None:
        """Close all connections."""
        self._client.close()


def driven(coroutine: Coroutine[Any, Any, T]) -> T:
    """Return the result of a coroutine that only waits for an `Immediate`, or raise its error."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    coroutine.close()
    raise AssertionError("a coroutine of the kit waits for something")
