"""The change feed as it is told over HTTP: as Server-Sent Events, or as lines of JSON."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing

from msgspec import Struct

from status_tracker.dashboard.feed import Chunk, Feed, Told, reset
from status_tracker.dashboard.streaming import QUIET_FOR, Say
from status_tracker.dashboard.streaming import SSE as EVENTS
from status_tracker.errors import FeedGapError

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
    media_type=EVENTS,
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


def telling(feed: Feed, form: Form, after: str | None) -> Callable[[Say], Awaitable[None]]:
    """Return what tells the feed from a token on, until its reader is too slow."""

    async def write(say: Say) -> None:
        token, number = after, feed.end
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

    return write
