"""Coroutines that never wait: so a test folds in its own thread, with asyncio or without."""

import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
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


def driven(awaitable: Awaitable[T]) -> T:
    """Return the result of what only waits for an `Immediate`, or raise its error."""
    try:
        next(awaitable.__await__())
    except StopIteration as done:
        result: T = done.value
        return result
    raise AssertionError("what the kit runs waits for something")


def close_with_loop(close: Callable[[], Awaitable[None]]) -> AsyncGenerator[None, None]:
    """Have the running event loop close something where it ends.

    As a fixture without asyncio cannot. A loop ends the async generators that began in it: this one
    has to be kept until then.
    """

    async def open_until_the_end() -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
            await close()

    closing = open_until_the_end()
    if sys.get_asyncgen_hooks().firstiter is not None:  # else no loop runs
        driven(anext(closing))
    return closing
