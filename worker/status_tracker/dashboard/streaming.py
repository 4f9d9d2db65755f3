"""A stream over HTTP that ends when its reader is gone or too slow, or all is over."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

from starlette.types import Receive, Scope, Send

from status_tracker.cancellation import cancelled, started

QUIET_FOR = 15.0
"""Seconds after which a stream says that it is still there: proxies end those that are silent."""

SLOW_AFTER = 10.0
"""Seconds that a reader has to take what it was sent."""

SSE = "text/event-stream"

Say = Callable[[bytes], Awaitable[None]]
"""Sends a part; raises TimeoutError where the reader does not take it."""


class Stream:
    """One open stream."""

    def __init__(
        self, media_type: str, write: Callable[[Say], Awaitable[None]], stop: asyncio.Event
    ) -> None:
        """`write` says everything; it goes on until it is cancelled, or gives up on its reader."""
        self._media_type = media_type
        self._says = write
        self._stop = stop

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send until it ends; raises what `write` does, but for a reader that is too slow."""
        headers = [(b"content-type", self._media_type.encode()), (b"x-accel-buffering", b"no")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        if scope["method"] == "HEAD":
            await send({"type": "http.response.body", "body": b""})
            return

        async def say(body: bytes) -> None:
            async with asyncio.timeout(SLOW_AFTER):
                await send({"type": "http.response.body", "body": body, "more_body": True})

        async def write() -> None:
            await self._says(say)

        writing = started(write(), "status-tracker dashboard stream")
        others = [started(_gone(receive), "gone"), started(self._stop.wait(), "stop")]
        try:
            await asyncio.wait([writing, *others], return_when=asyncio.FIRST_COMPLETED)
            failure = writing.exception() if writing.done() else None
        finally:
            await cancelled([writing, *others])
        if isinstance(failure, TimeoutError):  # it would not take the end either
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(SLOW_AFTER):
                await send({"type": "http.response.body", "body": b""})
        if failure is not None:
            raise failure


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
