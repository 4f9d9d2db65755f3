"""What the demo shows, read by the library, as any dashboard would read it."""

import asyncio
import time
from collections import Counter, deque
from collections.abc import Sequence
from contextlib import suppress
from itertools import islice

import msgspec
from msgspec import Struct
from redis.asyncio import Redis

from status_tracker.client.reader import AsyncStatusReader
from status_tracker.errors import ConfigError, FeedGapError
from status_tracker.models import Change, Status
from status_tracker.text import decoded, escaped

RATE_OVER = 2.0
"""Seconds over which the entries per second are averaged."""

REJECTIONS = 100
"""Rejected entries that are kept to be shown, more than a screen has lines."""

SHOWN = 300
"""Bytes of an entry's field that are shown at most."""

CHANGES = 200
"""Changes of phase that are kept to be shown."""

AT_ONCE = 10_000
"""Rejected entries that are read for one picture."""

AGAIN_AFTER = 0.1
"""Seconds until a feed that was emptied is followed again."""


class RejectedLine(Struct, frozen=True):
    """A rejected entry, fit to be printed."""

    reason: str
    about: str
    """The id in it or, where none can be found, what it says instead of an update."""
    detail: str


class Snapshot(Struct, frozen=True):
    """What the keys say at one moment."""

    counts: dict[str, dict[str, int]]
    """Kind → phase → how many, all phases in their order."""
    rate: float
    """Entries read by the worker, per second."""
    reasons: Counter[str]
    """How many entries were rejected for which reason."""
    rejections: list[RejectedLine]
    """The last ones, the newest first."""
    stalled: frozenset[str]
    """Ids of tasks that say nothing for too long; at most a page of them."""


class Reader:
    """Reads a deployment with the layout `single`, as often as is asked."""

    def __init__(self, reader: AsyncStatusReader, client: Redis, keys: Sequence[str]) -> None:
        self._reader = reader
        self._client = client
        self._partitions = keys
        self._entries = deque([(time.monotonic(), 0)])
        self._after: str | None = None
        self._reasons: Counter[str] = Counter()
        self._rejections: deque[RejectedLine] = deque(maxlen=REJECTIONS)
        self._changes: deque[Change] = deque(maxlen=CHANGES)
        self._shown = Snapshot({}, 0.0, Counter(), [], frozenset())

    async def follow(self) -> None:
        """Note what changes, until cancelled."""
        while True:
            # Somebody flushed the keys to see what happens.
            with suppress(FeedGapError, ConfigError):
                async for event in self._reader.changes():
                    if event.change is not None:
                        self._changes.appendleft(event.change)
            await asyncio.sleep(AGAIN_AFTER)

    async def snapshot(self) -> Snapshot:
        """Read the counts, how far the worker is, and what was rejected since the last one."""
        with suppress(ConfigError):  # as above; the worker creates the deployment again
            self._shown = await self._look()
        return self._shown

    async def _look(self) -> Snapshot:
        counts: dict[str, dict[str, int]] = {}
        for kind in (await self._reader.rules()).kinds:
            counts[kind] = await self._reader.counts(kind)
        pipeline = self._client.pipeline(transaction=False)
        for key in self._partitions:
            pipeline.hget(key, "entries")
        entries = await pipeline.execute()
        await self._note_rejected()
        return Snapshot(
            counts,
            self._rate(sum(int(read or 0) for read in entries)),
            self._reasons.copy(),
            list(reversed(self._rejections)),
            frozenset((await self._reader.stalled("task")).entities),
        )

    async def running(self, limit: int) -> list[tuple[str, Status]]:
        """Read the ids and statuses of the tasks that have been running for longest."""
        with suppress(ConfigError):
            page = await self._reader.list("task", "running", newest=False, limit=limit)
            return list(page.statuses.items())
        return []

    def changes(self, limit: int) -> list[Change]:
        """Return the last phase changes, the newest first."""
        return list(islice(self._changes, limit))

    def _rate(self, entries: int) -> float:
        now = time.monotonic()
        self._entries.append((now, entries))
        while len(self._entries) > 2 and self._entries[1][0] <= now - RATE_OVER:
            self._entries.popleft()
        began, before = self._entries[0]
        # Fewer than before: somebody flushed the keys to see what happens.
        return max(0, entries - before) / (now - began)

    async def _note_rejected(self) -> None:
        page = await self._reader.rejected(limit=AT_ONCE, after=self._after)
        self._after = page.after
        for entry in page.entries:
            self._reasons[entry.reason] += 1
            about, detail = _about(entry.data), escaped(entry.detail[:SHOWN])
            self._rejections.append(RejectedLine(entry.reason, about, detail))


class _Named(Struct):
    """What is left of an update that does not fit the schema."""

    id: str


def _about(data: bytes) -> str:
    try:
        return _printable(msgspec.json.decode(data, type=_Named).id.encode())
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _printable(data)


def _printable(raw: bytes) -> str:
    return escaped(decoded(raw[:SHOWN]))
