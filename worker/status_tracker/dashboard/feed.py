"""One tail of the change feed, however many streams are open.

What it tells is kept for a moment, in chunks that all streams send as they are. A stream has only a
place among them: whoever is too slow finds its place gone, and is dropped. So a stream costs Redis
nothing, and no memory grows with how slow its reader is.
"""

import asyncio
import logging
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import aclosing
from functools import cached_property

import msgspec
from msgspec import Struct

from status_tracker.cancellation import cancelled, started
from status_tracker.client.feed import Place, id_parts, places_in, token_of
from status_tracker.client.reader import AsyncStatusReader
from status_tracker.client.watching import FeedEvent
from status_tracker.errors import ConfigError, FeedGapError, UnavailableError
from status_tracker.text import escaped

log: logging.Logger = logging.getLogger(__name__)

GATHERED_FOR = 0.1
"""Seconds between two chunks at least: more are no use to people, and cost a send a stream."""

KEPT = 20_000
"""Events that are kept for streams that are a little behind, or come back."""

AGAIN_AFTER = 1.0
"""Seconds until a feed that the server refuses to tell is asked for again."""

CATCHING_UP = 8
"""Streams that read by themselves what is not kept any more, at a time."""

_encode = msgspec.json.Encoder().encode


class Told(Struct, frozen=True):
    """One event, and where one stands after it."""

    name: str
    """change, removed, or reset: some may have been missed, so read everything again."""
    token: str
    data: bytes
    """JSON, in one line."""

    def as_sse(self, token: str | None = None) -> bytes:
        """Return it as a Server-Sent Event."""
        head = f"id: {token or self.token}\nevent: {self.name}\ndata: "
        return head.encode() + self.data + b"\n\n"

    def as_line(self, token: str | None = None) -> bytes:
        """Return it as a line of JSON."""
        head = f'{{"event":"{self.name}","token":"{token or self.token}","data":'
        return head.encode() + self.data + b"}\n"


class Chunk:
    """Events that are sent at once."""

    def __init__(self, events: list[Told]) -> None:
        self.events = events
        self.places: list[Place] = places_in(events[-1].token)
        """Where one stands after them."""

    @cached_property
    def sse(self) -> bytes:
        """All of them as Server-Sent Events."""
        return b"".join(each.as_sse() for each in self.events)

    @cached_property
    def lines(self) -> bytes:
        """All of them as lines of JSON."""
        return b"".join(each.as_line() for each in self.events)


class Feed:
    """The tail, and what it told lately."""

    def __init__(self, reader: AsyncStatusReader, kept: int = KEPT) -> None:
        self._reader = reader
        self._most = kept
        self._opening = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        self._gathered: list[Told] = []
        self._has_gathered = asyncio.Event()
        self._chunks: deque[Chunk] = deque()
        self._kept = 0
        self._moved = asyncio.Event()
        self._catching_up = asyncio.Semaphore(CATCHING_UP)
        self.first: int = 0
        """The number of the first chunk that is kept."""
        self.head: str = ""
        """Where one stands after the last event that was told."""
        self._base = ""
        """Where one stands before the first event that is kept."""

    @property
    def end(self) -> int:
        """The number of the chunk that comes next."""
        return self.first + len(self._chunks)

    async def open(self) -> None:
        """Begin to follow, if nobody does; raises `UnavailableError` and `ConfigError`."""
        async with self._opening:
            if self._tasks:
                return
            self._base = self.head = await self._reader.feed_end()
            self._tasks = {
                started(self._follow(self.head), "status-tracker dashboard feed"),
                started(self._publish(), "status-tracker dashboard chunks"),
            }

    async def close(self) -> None:
        """End it."""
        await cancelled(self._tasks)
        self._tasks = set()

    def chunk(self, number: int) -> Chunk | None:
        """Return a chunk; None where it is not kept any more."""
        return self._chunks[number - self.first] if number >= self.first else None

    async def moved(self, number: int) -> None:
        """Wait until there is a chunk of this number."""
        while self.end <= number:
            self._moved.clear()
            await self._moved.wait()

    def since(self, token: str) -> list[tuple[Told, str]] | None:
        """Return the kept events after a token, each with the token to go on after it.

        None where the token's place is before what is kept, or is not known here yet.
        """
        own, base = places_in(token), places_in(self._base)
        if len(own) != len(base):
            raise ValueError("after: it is no token of this deployment")
        if not _reaches(own, base) or not _reaches(places_in(self.head), own):
            return None
        before, chunks = base, []
        for chunk in reversed(self._chunks):  # mostly a place is near the end
            if _reaches(own, chunk.places):
                before = chunk.places
                break
            chunks.append(chunk)
        found = []
        for told in (each for chunk in reversed(chunks) for each in chunk.events):
            places = places_in(told.token)
            new = [
                number
                for number, (was, now) in enumerate(zip(before, places, strict=True))
                if was != now and _order(now) > _order(own[number])
            ]
            for number in new:
                own[number] = places[number]
            if new:
                found.append((told, token_of(own)))
            before = places
        return found

    async def catch_up(self, token: str) -> AsyncGenerator[Told, None]:
        """Yield what came after a token that is not kept here, until `since` has the rest.

        Raises `FeedGapError` where it is gone.
        """
        async with self._catching_up, aclosing(self._reader.changes(after=token)) as changes:
            coming: asyncio.Task[FeedEvent] | None = None
            try:
                while self.since(token) is None:
                    coming = coming or started(_next(changes), "status-tracker dashboard catch-up")
                    moving = started(self.moved(self.end), "status-tracker dashboard moved")
                    await asyncio.wait({coming, moving}, return_when=asyncio.FIRST_COMPLETED)
                    await cancelled([moving])
                    if coming.done():
                        told, coming = _told(coming.result()), None
                        token = told.token
                        yield told
            finally:
                await cancelled([coming] if coming else [])

    async def _follow(self, after: str) -> None:
        while True:
            try:
                async with aclosing(self._reader.changes(after=after)) as changes:
                    async for event in changes:
                        after = event.token
                        self._gather(_told(event))
            except (FeedGapError, ValueError) as error:
                log.warning("%s", escaped(str(error)), extra={"event": "feed_gap"})
                after = await self._end()
                self._gather(reset(after))
            except (UnavailableError, ConfigError) as error:
                await _pause(error)
            except Exception:  # or all streams would be silent for ever
                log.exception("the feed met a bug", extra={"event": "background_ended"})
                await asyncio.sleep(AGAIN_AFTER)

    async def _end(self) -> str:
        while True:
            try:
                return await self._reader.feed_end()
            except (UnavailableError, ConfigError) as error:
                await _pause(error)

    def _gather(self, told: Told) -> None:
        self._gathered.append(told)
        self._has_gathered.set()

    async def _publish(self) -> None:
        while True:
            await self._has_gathered.wait()
            self._has_gathered.clear()
            events, self._gathered = self._gathered, []
            self._add(events)
            await asyncio.sleep(GATHERED_FOR)

    def _add(self, events: list[Told]) -> None:
        """Let all streams have events, and forget the oldest ones."""
        resets = [place for place, told in enumerate(events) if told.name == "reset"]
        if resets:
            # Places before it cannot be compared with those after it.
            events = events[resets[-1] :]
            self._forget(self.end)
            self._base = events[0].token
        self._chunks.append(Chunk(events))
        self._kept += len(events)
        self.head = events[-1].token
        while self._kept > self._most and len(self._chunks) > 1:
            self._forget(self.first + 1)
        self._moved.set()

    def _forget(self, up_to: int) -> None:
        while self.first < up_to:
            chunk = self._chunks.popleft()
            self._kept -= len(chunk.events)
            self._base = chunk.events[-1].token
            self.first += 1


def reset(token: str) -> Told:
    """Return what is told where changes may have been missed; it goes on after the token."""
    return Told("reset", token, b'{"detail":"changes may be missing: read everything again"}')


def _told(event: FeedEvent) -> Told:
    if event.change is None:
        return Told("removed", event.token, _encode({"kind": event.kind, "id": event.id}))
    return Told("change", event.token, _encode(event.change))


async def _pause(error: Exception) -> None:
    log.warning(
        "the change feed cannot be followed: %s",
        escaped(str(error)),
        extra={"event": "feed_unavailable"},
    )
    await asyncio.sleep(AGAIN_AFTER)


async def _next(changes: AsyncGenerator[FeedEvent, None]) -> FeedEvent:
    return await anext(changes)


def _order(place: Place) -> tuple[int, int, int]:
    """Return what places of a stream are compared by."""
    return *id_parts(place.id), place.told


def _reaches(places: list[Place], others: list[Place]) -> bool:
    """Tell whether places are at or after others, in each stream."""
    return all(_order(own) >= _order(other) for own, other in zip(places, others, strict=True))
