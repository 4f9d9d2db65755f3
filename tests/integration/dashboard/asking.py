"""Asking the HTTP API: within the process, or over a socket where an answer has no end."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import httpx
from starlette.applications import Starlette
from starlette.types import ASGIApp
from status_tracker.dashboard import bearer, create_app
from status_tracker.dashboard.serving import listen, serve

SECRET = "letters" * 3
AUTH = {"Authorization": f"Bearer {SECRET}"}
DEADLINE = 15.0

HOSTILE = "é/✓?&#"
"""An id that means something else wherever it is not escaped."""


@asynccontextmanager
async def asking(
    source: Any, *, below: str = "", around: Any = None, **options: Any
) -> AsyncIterator[httpx.AsyncClient]:
    """Ask an application within this process; it is closed at the end."""
    app = create_app(source, **options)
    outer: ASGIApp = app if around is None else around(app)
    base = f"http://localhost{below}/api/v1/"
    transport = httpx.ASGITransport(outer, raise_app_exceptions=True)
    try:
        async with httpx.AsyncClient(transport=transport, base_url=base) as client:
            yield client
    finally:
        await app.state.backing.close()


@asynccontextmanager
async def acting(source: Any, **options: Any) -> AsyncIterator[httpx.AsyncClient]:
    """Ask one that has actions, as who may."""
    async with asking(source, auth=bearer(SECRET), allow_actions=True, **options) as client:
        client.headers.update(AUTH)
        yield client


class Site(NamedTuple):
    """An application that is served at a socket."""

    app: Starlette
    stopping: asyncio.Event
    port: int
    ended: asyncio.Task[None]

    async def stop(self) -> None:
        """Have it stop, as by SIGTERM, and wait for it."""
        self.stopping.set()
        async with asyncio.timeout(DEADLINE):
            await self.ended


@asynccontextmanager
async def site(source: Any, port: int = 0, **options: Any) -> AsyncIterator[Site]:
    """Serve it in this loop."""
    own = listen("127.0.0.1", port)
    stopping = asyncio.Event()
    app = create_app(source, **options)
    ended = asyncio.create_task(serve(app, own, stopping))
    found = Site(app, stopping, own.getsockname()[1], ended)
    try:
        yield found
    finally:
        await found.stop()
        own.close()


class Event(NamedTuple):
    """What a stream told."""

    name: str
    token: str
    data: Any


class Listener:
    """An open stream, by a plain socket: what it holds back is not hidden by a library."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.head: list[str] = []
        self._kept = b""

    async def begin(self, path: str, headers: dict[str, str], body: bytes | None = None) -> None:
        """Ask, and read the head of the answer."""
        lines = [f"{'GET' if body is None else 'POST'} {path} HTTP/1.1", "Host: localhost"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        if body is not None:
            lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
        self.writer.write("\r\n".join([*lines, "", ""]).encode() + (body or b""))
        head = await self.reader.readuntil(b"\r\n\r\n")
        self.head = head.decode().split("\r\n")

    async def _more(self) -> None:
        """Read a chunk of the body; raises EOFError at its end."""
        async with asyncio.timeout(DEADLINE):
            size = int(await self.reader.readline(), 16)
            if size == 0:
                raise EOFError
            self._kept += (await self.reader.readexactly(size + 2))[:-2]

    async def event(self) -> Event:
        """Return the next event, or the first words, which have no name."""
        while b"\n\n" not in self._kept:
            await self._more()
        block, _, self._kept = self._kept.partition(b"\n\n")
        fields = dict(each.split(": ", 1) for each in block.decode().split("\n") if ": " in each)
        return Event(
            fields.get("event", ""), fields.get("id", ""), json.loads(fields.get("data", "{}"))
        )

    async def document(self) -> Any:
        """Return the next line of JSON."""
        while b"\n" not in self._kept:
            await self._more()
        text, _, self._kept = self._kept.partition(b"\n")
        return json.loads(text)

    async def end(self) -> None:
        """Read to the end; raises TimeoutError where there is none."""
        async with asyncio.timeout(DEADLINE):
            await self.reader.read()


@asynccontextmanager
async def listening(port: int, path: str = "", **headers: str) -> AsyncIterator[Listener]:
    """Open the stream of changes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    found = Listener(reader, writer)
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    try:
        await found.begin(f"/api/v1/changes{path}", names)
        yield found
    finally:
        writer.close()


class Screen(Listener):
    """An open page: what its elements look like now."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        super().__init__(reader, writer)
        self.html: dict[str, str] = {}
        self.token = ""
        self.news = 0
        self.has_gap = False
        self.problem: str | None = None

    async def until(self, condition: Callable[["Screen"], bool]) -> None:
        """Take in what is told until something holds; raises TimeoutError."""
        async with asyncio.timeout(DEADLINE):
            while not condition(self):
                self.take(await self.event())

    def take(self, event: Event) -> set[str]:
        """Take in what is told; return the elements that look different."""
        if not event.token:
            return set()
        self.html |= event.data["html"]
        self.token = event.token
        self.news += event.data["news"]
        self.has_gap |= event.data["gap"]
        self.problem = event.data["problem"]
        return set(event.data["html"])


@asynccontextmanager
async def showing(port: int, **view: Any) -> AsyncIterator[Screen]:
    """Open a page that shows something."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    found = Screen(reader, writer)
    try:
        await found.begin("/live", {}, json.dumps(view).encode())
        yield found
    finally:
        writer.close()
