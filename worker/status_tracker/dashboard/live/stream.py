"""The stream of an open page."""

import asyncio

import msgspec
from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from status_tracker.dashboard.asking import body, in_time
from status_tracker.dashboard.deployment import Backing, check_room
from status_tracker.dashboard.live.hub import TICK, Hub
from status_tracker.dashboard.live.page import OpenPage
from status_tracker.dashboard.live.view import View
from status_tracker.dashboard.problems import refusals
from status_tracker.dashboard.streaming import QUIET_FOR, SSE, Say, Stream

_encode = msgspec.json.Encoder().encode


class Live:
    """Answers a page that asks, by POST, to be kept up: what it shows may be much."""

    def __init__(self, backing: Backing, hub: Hub) -> None:
        self._backing = backing
        self._hub = hub

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send what changes, as Server-Sent Events, without an end."""
        view = await body(Request(scope, receive), View)
        await in_time(self._backing.feed.open())
        if view.after:
            with refusals():
                self._backing.feed.since(view.after)  # is it a token?
        check_room(self._backing)  # last: others may have come meanwhile
        with self._backing.open, self._hub.keeping_up(view) as page:
            stream = Stream(SSE, lambda say: self._tell(page, say), self._backing.stop)
            await stream(scope, receive, send)

    async def _tell(self, page: OpenPage, say: Say) -> None:
        await say(b"retry: 1000\n\n")
        while True:
            try:
                async with asyncio.timeout(QUIET_FOR):
                    await page.moved()
            except TimeoutError:
                await say(b":\n\n")
                continue
            head = f"id: {page.token}\ndata: "
            await say(head.encode() + _encode(page.take()) + b"\n\n")
            await asyncio.sleep(TICK)
