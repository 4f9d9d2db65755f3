"""A stream of changes over HTTP: Server-Sent Events, or lines of JSON."""

import asyncio
from collections.abc import Callable
from contextlib import aclosing, suppress

from msgspec import Struct
from starlette.types import Receive, Scope, Send

from status_tracker.cancellation import cancelled, started
from status_tracker.dashboard.feed import Chunk, Feed, Told, reset
from status_tracker.errors import FeedGapError

QUIET_FOR = 15.0
"""Seconds after which a stream says that it is still there: proxies end those that are silent."""

SLOW_AFTER = 10.0
"""Seconds that a reader has to take what it was sent."""

CAUGHT_UP_WITHIN = 60.0
"""Seconds after which a reader that is still behind is dropped: others wait to catch up, too. It
comes back with a later place."""


class Form(Struct, frozen=True):
    """How a stream is written."""

    media_type: str
    hello: Callable[[str], bytes]
    """With it a reader knows where it stands, also before anything changed."""
    one: Callable[[Told, str | None], bytes]
    chunk: Callable[[Chunk], bytes]
    quiet: bytes


SSE = Form(
    media_type="text/event-stream",
    hello=lambda token: f"retry: 1000\nid: {token}\n\n".encode(),
    one=Told.as_sse,
    chunk=lambda chunk: chunk.sse,
    quiet=b":\n\n",
)
NDJSON = Form(
    media_type="application/x-ndjson",
    hello=lambda token: Told("begin", token, b"{}").as_line(),
    one=Told.as_line,
    chunk=lambda chunk: chunk.lines,
    quiet=b"\n",
)


class Stream:
    """One open stream: an answer that ends when its reader is gone or too slow, or all is over."""

    def __init__(self, feed: Feed, form: Form, after: str | None, stop: asyncio.Event) -> None:
        self._feed = feed
        self._form = form
        self._after = after
        self._stop = stop

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send until it ends."""
        headers = [
            (b"content-type", self._form.media_type.encode()),
            (b"x-accel-buffering", b"no"),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        if scope["method"] == "HEAD":
            await send({"type": "http.response.body", "body": b""})
            return
        writing = started(self._write(send), "status-tracker dashboard stream")
        others = [started(_gone(receive), "gone"), started(self._stop.wait(), "stop")]
        try:
            await asyncio.wait([writing, *others], return_when=asyncio.FIRST_COMPLETED)
            is_slow = writing.done() and isinstance(writing.exception(), TimeoutError)
        finally:
            await cancelled([writing, *others])
        if not is_slow:  # else it would not take the end either
            with suppress(TimeoutError):
                async with asyncio.timeout(SLOW_AFTER):
                    await send({"type": "http.response.body", "body": b""})

    async def _write(self, send: Send) -> None:
        """Send until the reader is too slow, which is all that ends it."""
        feed, form = self._feed, self._form

        async def say(body: bytes) -> None:
            async with asyncio.timeout(SLOW_AFTER):
                await send({"type": "http.response.body", "body": body, "more_body": True})

        token, number = self._after, feed.end
        await say(form.hello(token or feed.head))
        if token is not None:
            try:
                async with (
                    asyncio.timeout(CAUGHT_UP_WITHIN),
                    aclosing(feed.catch_up(token)) as missed,
                ):
                    async for told in missed:
                        token = told.token
                        await say(form.one(told, None))
                rest = feed.since(token) or []
                number = feed.end
                if rest:
                    await say(b"".join(form.one(*each) for each in rest))
            except FeedGapError:
                number = feed.end
                await say(form.one(reset(feed.head), None))
        while True:
            try:
                async with asyncio.timeout(QUIET_FOR):
                    await feed.moved(number)
            except TimeoutError:
                await say(form.quiet)
                continue
            chunk = feed.chunk(number)
            if chunk is None:
                return
            await say(form.chunk(chunk))
            number += 1


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
