"""What the demo shows, read from the published keys alone, as any dashboard would read it."""

import time
from collections import Counter, deque
from typing import cast

import msgspec
from msgspec import Struct
from redis.asyncio import Redis

from status_tracker.decode import FIELD
from status_tracker.keys import Keys
from status_tracker.models import Change, Status
from status_tracker.rules import Rules
from status_tracker.text import decoded, escaped

RATE_OVER = 2.0
"""Seconds over which the entries per second are averaged."""

REJECTIONS = 100
"""Rejected entries that are kept to be shown, more than a screen has lines."""

SHOWN = 300
"""Bytes of an entry's field that are shown at most."""

_decode_task = msgspec.json.Decoder(Status).decode
_decode_change = msgspec.json.Decoder(Change).decode

_Entries = list[tuple[bytes, dict[bytes, bytes]]]


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


class Reader:
    """Reads the keys of a deployment with the layout `single`, as often as is asked."""

    def __init__(self, client: Redis, keys: Keys, partitions: int, rules: Rules) -> None:
        self._client = client
        self._kinds = rules.kinds
        self._keys = keys.partition(0)
        self._partitions = [keys.partition(number).partition for number in range(partitions)]
        self._entries = deque([(time.monotonic(), 0)])
        self._last_rejected = "-"
        self._reasons: Counter[str] = Counter()
        self._rejections: deque[RejectedLine] = deque(maxlen=REJECTIONS)

    async def snapshot(self) -> Snapshot:
        """Read the counts, how far the worker is, and what was rejected since the last one."""
        pipeline = self._client.pipeline(transaction=False)
        for kind in self._kinds:
            pipeline.hgetall(self._keys.counts(kind))
        for key in self._partitions:
            pipeline.hget(key, "entries")
        pipeline.xrange(self._keys.rejected, min=self._last_rejected)
        *replies, rejected = await pipeline.execute()
        hashes, entries = replies[: len(self._kinds)], replies[len(self._kinds) :]
        self._note_rejected(rejected)
        counts: dict[str, dict[str, int]] = {
            kind: {phase: int(found.get(phase.encode(), 0)) for phase in life.phases}
            for (kind, life), found in zip(self._kinds.items(), hashes, strict=True)
        }
        return Snapshot(
            counts,
            self._rate(sum(int(read or 0) for read in entries)),
            self._reasons.copy(),
            list(reversed(self._rejections)),
        )

    async def running(self, limit: int) -> list[tuple[str, Status]]:
        """Read the ids and statuses of the tasks that have been running for longest."""
        key = self._keys.phase("task", "running")
        found = cast("list[bytes]", await self._client.zrange(key, 0, limit - 1))
        if not found:
            return []
        ids = [entity_id.decode() for entity_id in found]
        documents = await self._client.mget([self._keys.status("task", each) for each in ids])
        statuses = map(_status, documents)
        # One that ended since the set was read is shown as it ended.
        return [
            (entity_id, status)
            for entity_id, status in zip(ids, statuses, strict=True)
            if status is not None
        ]

    async def changes(self, limit: int) -> list[Change]:
        """Read the last phase changes, the newest first."""
        entries = cast("_Entries", await self._client.xrevrange(self._keys.changes, count=limit))
        return [_decode_change(fields[FIELD]) for _, fields in entries]

    def _rate(self, entries: int) -> float:
        now = time.monotonic()
        self._entries.append((now, entries))
        while len(self._entries) > 2 and self._entries[1][0] <= now - RATE_OVER:
            self._entries.popleft()
        began, before = self._entries[0]
        # Fewer than before: somebody flushed the keys to see what happens.
        return max(0, entries - before) / (now - began)

    def _note_rejected(self, entries: _Entries) -> None:
        for entry_id, fields in entries:
            self._last_rejected = f"({entry_id.decode()}"
            reason = fields[b"reason"].decode()
            about, detail = _about(fields[FIELD]), _printable(fields[b"detail"])
            self._reasons[reason] += 1
            self._rejections.append(RejectedLine(reason, about, detail))


class _Named(Struct):
    """What is left of an update that does not fit the schema."""

    id: str


def _about(data: bytes) -> str:
    try:
        return _printable(msgspec.json.decode(data, type=_Named).id.encode())
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _printable(data)


def _status(document: bytes | str | None) -> Status | None:
    """Decode a status; None where somebody deleted or spoilt it to see what happens."""
    try:
        return None if document is None else _decode_task(document)
    except msgspec.DecodeError:
        return None


def _printable(raw: bytes) -> str:
    return escaped(decoded(raw[:SHOWN]))
