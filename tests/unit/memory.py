"""The server's half of a partition without a server: what `commit.lua` does, on a few dicts."""

import asyncio
from bisect import bisect
from collections import Counter
from collections.abc import Coroutine, Mapping, Sequence
from itertools import accumulate
from typing import Any, TypeVar

import msgspec
from redis.exceptions import ResponseError
from status_tracker.decode import Entry, size_of
from status_tracker.engine.batch import Batch, Wanted
from status_tracker.engine.commit import commit_call
from status_tracker.engine.statuses import Statuses
from status_tracker.fold import Corrupt
from status_tracker.keys import Keys
from status_tracker.lua.attach import Attached
from status_tracker.lua.commit import Call, CursorMovedError, Payload, StatusChangedError, Step
from status_tracker.metadata import Deployment
from status_tracker.models import Status
from status_tracker.testing.line import Line

from tests.line import MAX_EVENT_BYTES, builder, deployed
from tests.unit.folding import text

KEYS = Keys("status", "single")
OWN = KEYS.partition(0)
PLENTY = 10**9

T = TypeVar("T")


class MemoryStore:
    """The keys of partition 0, or of another one beside it."""

    def __init__(self, number: int = 0, *, beside: "MemoryStore | None" = None) -> None:
        self.number = number
        self.entries: list[Entry] = []
        self.last = (0, 0)
        self.cursor = "0-0"
        self.begun: dict[int, str] = {}
        """Revision of the rules → the cursor at which it was taken up."""
        self.totals: Counter[str] = Counter()
        self.statuses: dict[str, str] = {}
        self.corrupt: dict[tuple[str, str], Corrupt] = {}
        self.phases: dict[str, dict[str, float]] = {}
        self.counts: dict[str, dict[str, int]] = {}
        self.marks: dict[str, set[str]] = {}
        self.changes: list[object] = []
        self.histories: dict[str, list[object]] = {}
        self.rejected: list[tuple[str, str, bytes]] = []
        self.forwards: list[tuple[str, bytes, str]] = []
        self.loaded: list[tuple[str, str]] = []
        """What was loaded since somebody emptied it."""
        self.refused = 0
        """How many commits were: an entity was created that has a status."""
        if beside is not None:
            self._share(beside)

    def _share(self, other: "MemoryStore") -> None:
        """Have all keys in common but the stream and the hash."""
        self.statuses, self.corrupt = other.statuses, other.corrupt
        self.phases, self.counts, self.marks = other.phases, other.counts, other.marks
        self.changes, self.histories = other.changes, other.histories
        self.rejected, self.forwards = other.rejected, other.forwards

    def add(self, *entries: Entry) -> None:
        """Add entries to the stream; one whose ID is not after the last one's gets the next ID."""
        for entry_id, fields in entries:
            ms, seq = as_numbers(entry_id.decode())
            if self.entries:
                ms, seq = max((ms, seq), (self.last[0], self.last[1] + 1))
            self.last = ms, seq
            self.entries.append((f"{ms}-{seq}".encode(), fields))

    async def has_marks(self) -> bool:
        """Nobody marks anybody here."""
        return False

    async def attach(self, deployment: Deployment, *, thorough: bool) -> Attached:
        """Find the cursor, and take up the revision there; nothing is ever missing."""
        del thorough
        held = max(self.begun, default=0)
        if held > deployment.revision:
            raise ResponseError(f"goes by revision {held} of the rules")
        self.begun.setdefault(deployment.revision, self.cursor)
        return Attached(self.cursor)

    async def read(self, cursor: str, *, count: int, block: int | None) -> list[Entry]:
        """Read entries after the cursor, without waiting for any."""
        del block
        await asyncio.sleep(0)
        begin = bisect(
            self.entries, as_numbers(cursor), key=lambda entry: as_numbers(entry[0].decode())
        )
        return self.entries[begin : begin + count]

    async def peek(self, cursor: str, count: int) -> list[Entry]:
        """Read entries for others besides."""
        return await self.read(cursor, count=count, block=None)

    async def read_cut(self, cursor: str, *, count: int, size: int) -> list[Entry]:
        """Read entries without what is too large in them."""
        return self.cut(await self.read(cursor, count=count, block=None), size)

    def cut(self, entries: list[Entry], size: int) -> list[Entry]:
        """Do to entries what `read.lua` does: one is always returned."""
        ends = [0, *accumulate(map(size_of, entries))]
        return [
            (entry_id, [each[: MAX_EVENT_BYTES + 1] for each in fields])
            for (entry_id, fields), begin in zip(entries, ends, strict=False)
            if begin < size
        ]

    async def load(self, wanted: Wanted) -> Mapping[str, Statuses]:
        """Load statuses."""
        await asyncio.sleep(0)
        loaded: dict[str, Statuses] = {}
        for kind, ids in wanted.items():
            found = loaded[kind] = Statuses()
            self.loaded += [(kind, entity_id) for entity_id in ids]
            for entity_id in ids:
                document = self.statuses.get(OWN.status(kind, entity_id))
                if document is None:
                    found.without[entity_id] = self.corrupt.get((kind, entity_id))
                else:
                    status = msgspec.json.decode(document, type=Status)
                    found.known[entity_id] = status
        return loaded

    async def commit(self, batch: Batch) -> int:
        """Write a batch as the script does; refuse it as the script does."""
        await asyncio.sleep(0)
        write([self], [batch])
        return 0

    def check(self, step: Step) -> None:
        """Refuse a batch that was read from somewhere else, or folded by other rules."""
        if step.read_from != self.cursor:
            raise CursorMovedError(self.cursor)
        if step.revision != str(max(self.begun)):
            raise CursorMovedError("")

    def move(self, step: Step) -> None:
        """Move the cursor, and count what became of the entries."""
        self.cursor = step.cursor
        for field, number in zip(step.totals[::2], step.totals[1::2], strict=True):
            self.totals[str(field)] += int(number)

    def write(self, keys: list[str], batch: Payload, raw: Sequence[str | bytes]) -> None:
        """Write all but the hashes; `keys` are those after them."""
        counts, rest = keys[: batch.counts], keys[batch.counts :]
        statuses, rest = rest[: len(batch.expected)], rest[len(batch.expected) :]
        phases, rest = rest[: len(batch.phases)], rest[len(batch.phases) :]
        marks, rest = rest[: len(batch.marks)], rest[len(batch.marks) :]
        histories, forwards = rest[: len(batch.histories)], rest[len(batch.histories) :]
        taken = {OWN.status(*entity) for entity in self.corrupt}
        for key, expected in zip(statuses, batch.expected, strict=True):
            if self.statuses.get(key, "") != expected or key in taken:
                self.refused += 1
                raise StatusChangedError(key, was_known=expected != "")
        if batch.removes:
            self._remove(statuses, histories, batch.changes)
        else:
            self._publish(statuses, histories, batch)
        for key, moves in zip(phases, batch.phases, strict=True):
            ids = self.phases.setdefault(key, {})
            for entity_id in moves.left:
                del ids[entity_id]
            ids |= zip(moves.entered[1::2], map(float, moves.entered[::2]), strict=True)
            self.counts.setdefault(counts[moves.counts - 1], {})[moves.phase] = len(ids)
        for key, gone in zip(marks, batch.marks, strict=True):
            self.marks.setdefault(key, set()).difference_update(gone)
        data = [each if isinstance(each, bytes) else each.encode() for each in raw]
        for entry, kept in zip(batch.rejected, data, strict=False):
            self.rejected.append((entry["reason"], entry["id"], kept))
        forwarded = iter(data[len(batch.rejected) :])
        for stream, origins in zip(forwards, batch.forwards, strict=True):
            self.forwards += [(stream, next(forwarded), origin) for origin in origins]

    def _publish(self, statuses: list[str], histories: list[str], batch: Payload) -> None:
        self.statuses |= zip(statuses, batch.documents, strict=True)
        changes: list[object] = [msgspec.json.decode(each) for each in batch.changes]
        self.changes += changes
        for key, numbers in zip(histories, batch.histories, strict=True):
            newest = [changes[number - 1] for number in reversed(numbers)]
            self.histories[key] = [*newest, *self.histories.get(key, [])][: batch.history]

    def _remove(self, statuses: list[str], histories: list[str], changes: list[str]) -> None:
        self.changes += [{"removed": msgspec.json.decode(each)} for each in changes]
        for key in statuses:
            del self.statuses[key]
        for key in histories:
            self.histories.pop(key, None)


class MemoryCommonStore:
    """The keys of several partitions at once; `together` counts commits of more than one."""

    def __init__(self, *stores: MemoryStore) -> None:
        self.stores = {store.number: store for store in stores}
        self.reads = self.commits = self.together = 0

    async def read(
        self, cursors: Mapping[int, str], *, count: int, block: int
    ) -> list[tuple[int, list[Entry]]]:
        """Read entries of each, without waiting for any."""
        del block
        self.reads += 1
        found = [
            (number, await self.stores[number].peek(cursor, count))
            for number, cursor in cursors.items()
        ]
        return [each for each in found if each[1]]

    async def commit(self, batches: Sequence[Batch]) -> int:
        """Write batches in one step."""
        await asyncio.sleep(0)
        write([self.stores[batch.number] for batch in batches], batches)
        self.commits += 1
        self.together += len(batches) > 1
        return 0

    async def glance(self, expected: Mapping[int, tuple[str, int]], thorough: int) -> list[int]:
        """Return those whose cursor is another one."""
        del thorough
        return [each for each in expected if self.stores[each].cursor != expected[each][0]]


def write(stores: Sequence[MemoryStore], batches: Sequence[Batch]) -> None:
    """Write batches of several partitions, or one: all of them or none."""
    keys, (_, packed, *raw) = arguments(*batches)
    assert isinstance(packed, bytes)
    payload = msgspec.msgpack.decode(packed, type=Payload)
    for store, step in zip(stores, payload.partitions, strict=True):
        store.check(step)
    stores[0].write(keys[2 + 2 * len(stores) :], payload, raw)
    for store, step in zip(stores, payload.partitions, strict=True):
        store.move(step)


def arguments(*batches: Batch) -> Call:
    """Return what the commit of batches is called with."""
    forwards = {KEYS.events(number): found for number, found in batches[0].forwards.items()}
    owns = [KEYS.partition(batch.number) for batch in batches]
    return commit_call(batches, owns, forwards, max_changes=PLENTY, max_rejected=PLENTY)


class Loop:
    """Takes entries batch by batch, without an event loop."""

    def __init__(
        self,
        store: MemoryStore | None = None,
        *,
        partitions: int = 1,
        live_statuses: int = 1000,
        live_bytes: int = 10**9,
    ) -> None:
        self.store = store or MemoryStore()
        own = builder(
            deployed(partitions=partitions), live_statuses=live_statuses, live_bytes=live_bytes
        )
        self._line = Line(self.store, OWN, own)
        self.restart()

    @property
    def loaded(self) -> list[tuple[str, str]]:
        """What the last batch had to load."""
        return self.store.loaded

    def restart(self) -> None:
        """Begin with nothing in memory, where the last batch ended."""
        finished(self._line.attach())

    def run(self, *entries: Entry) -> Batch:
        """Take entries as one batch."""
        self.store.add(*entries)
        self.store.loaded = []
        return finished(self._line.turn())


def finished(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that waits for nothing."""
    try:
        while True:
            work.send(None)
    except StopIteration as end:
        value: T = end.value
        return value


def as_numbers(entry_id: str) -> tuple[int, int]:
    """Return an entry's ID in a form that can be compared."""
    ms, seq = entry_id.split("-")
    return int(ms), int(seq)


def entry(data: bytes | None, entry_id: str = "1700000000000-0", field: bytes = b"data") -> Entry:
    """Return an entry as the server sends it; None for one that has another field only."""
    fields: Sequence[bytes] = [b"text", b"hello"] if data is None else [field, data]
    return entry_id.encode(), fields


def published(document: str) -> str:
    """Return a status in the spelling of `text`."""
    return text(document.encode())
