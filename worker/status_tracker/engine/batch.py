"""From the entries of one read to what one commit writes. Pure: the work of every event is here.

entries → decode → fold, which asks for the statuses it does not know → batch
"""

import re
from collections.abc import Generator, Mapping, Sequence
from typing import NamedTuple

from msgspec import Struct, field

from status_tracker.decode import FROM, Entry, decode_all, find_data, invalid_id
from status_tracker.engine.statuses import Effects, StatusCache, Statuses
from status_tracker.fold import DUPLICATE, Corrupt, Rules
from status_tracker.keys import partition_of
from status_tracker.models import (
    AssetChange,
    AssetStatus,
    AssetUpdate,
    Change,
    Kind,
    Rejection,
    Status,
    TaskChange,
    TaskUpdate,
    Update,
)

PESSIMISTIC_BATCHES = 100
"""Batches for which every unknown entity is loaded after an optimistic create was refused. Where
producers often repeat the first update of an entity, one commit in so many is refused; elsewhere
loading costs a tenth more for so long."""


# Where a forward comes from: the partition's number and the entry's ID.
_origin = re.compile(rb"\d{1,4}/(\d{1,20})-\d{1,20}").fullmatch

_UPDATES: dict[Kind, type[Update]] = {"task": TaskUpdate, "asset": AssetUpdate}

Wanted = Mapping[Kind, Sequence[str]]
"""The ids whose statuses are to be loaded, by kind."""


class Elsewhere(Struct, frozen=True, gc=False):
    """Where the updates of an entity of another partition belong."""

    number: int


class RejectedEntry(Struct, frozen=True, gc=False):
    """An entry that is not applied, as it is kept."""

    reason: str
    detail: str
    data: bytes
    stream: str
    id: str


class Forward(NamedTuple):
    """An update that belongs to another partition."""

    entry_id: bytes
    data: bytes


class Batch(Struct):
    """What became of the entries of one read or of several."""

    number: int
    """Of the partition."""
    read_from: str
    """The cursor that the entries were read from."""
    cursor: str
    """ID of the last entry."""
    effects: dict[Kind, Effects] = field(
        default_factory=lambda: {"task": Effects(), "asset": Effects()}
    )
    entries: int = 0
    changes: list[Change] = field(default_factory=list)
    rejected: list[RejectedEntry] = field(default_factory=list)
    forwards: dict[int, list[Forward]] = field(default_factory=dict)
    """Number of the partition → the updates that belong to it."""
    duplicates: int = 0

    @property
    def forwarded(self) -> int:
        """How many updates belong to other partitions."""
        return sum(map(len, self.forwards.values()))

    @property
    def applied(self) -> int:
        """All entries that ended otherwise than the others."""
        return self.entries - self.duplicates - self.forwarded - len(self.rejected)


class BatchBuilder:
    """Decodes and folds the entries of one partition, read by read, into the current batch."""

    def __init__(
        self,
        rules: Rules,
        cache: StatusCache,
        *,
        stream: str,
        number: int,
        partitions: int,
        max_event_bytes: int,
    ) -> None:
        self._rules = rules
        self._cache = cache
        self._stream = stream
        self._number = number
        self._partitions = partitions
        self._max_event_bytes = max_event_bytes
        # Batches for which every entity that is not known is loaded.
        self._pessimistic = 0
        self.restart("0-0")

    def restart(self, cursor: str) -> None:
        """Begin at a cursor, with nothing in memory: what the keys hold may be something else."""
        self._cache.clear()
        self.batch = Batch(self._number, cursor, cursor)

    def suspend_optimistic_creates(self) -> None:
        """Load every unknown entity for some time: one that was taken for new has a status."""
        self._pessimistic = PESSIMISTIC_BATCHES

    def fold(
        self, entries: Sequence[Entry], values: Sequence[bytes | Rejection]
    ) -> Generator[Wanted, Mapping[Kind, Statuses], None]:
        """Decode entries' values of `data`, apply them, and add what is to be written to the batch.

        It yields the ids whose statuses it needs, and is sent those. An entity that is not known
        is created optimistically where its life begins here: the update is applied in any case, so
        the commit finds out whether there was a status.
        """
        decoded = decode_all(values, self._max_event_bytes)
        batch = self.batch
        batch.cursor = entries[-1][0].decode()
        batch.entries += len(entries)
        self._cache.forget_missing()
        # IDs only grow: what the first entry's time allows need not be held against its own.
        first_received = _received(entries[0][0])
        allowed = first_received + self._rules.max_clock_skew
        fold = self._rules.fold
        task = self._places("task")
        asset = self._places("asset")
        for (entry_id, fields), update in zip(entries, decoded, strict=True):
            if type(update) is TaskUpdate:
                statuses, changed, without, begins = task
            elif type(update) is AssetUpdate:
                statuses, changed, without, begins = asset
            else:
                self._set_aside(entry_id, fields, update)
                continue
            entity_id = update.id
            status = changed.get(entity_id) or statuses.get(entity_id)
            if status is None and entity_id not in without:
                why = self._misplaced(entity_id)
                if why is not None:
                    self._set_aside(entry_id, fields, why)
                    continue
                if update.phase not in begins or update.updated_at > allowed:
                    self._load((yield self._unknown(decoded, allowed, update)))
                    status = statuses.get(entity_id)
            received = first_received if update.updated_at <= allowed else _received(entry_id)
            if len(fields) > 2:
                received = min(received, _forwarded(fields, received))
            outcome = fold(status or without.get(entity_id), update, received)
            if type(outcome) is Rejection:
                self._set_aside(entry_id, fields, outcome)
                continue
            if outcome is DUPLICATE:
                batch.duplicates += 1
                continue
            changed[entity_id] = outcome
            start = None if status is None else status.phase
            if start != outcome.phase:
                batch.changes.append(_change(outcome, entity_id, start, entry_id.decode()))

    def close(self) -> Batch:
        """Return the current batch, to be committed, and go on with the next one."""
        batch = self.batch
        self._cache.advance(batch.effects)
        self.batch = Batch(self._number, batch.cursor, batch.cursor)
        self._pessimistic = max(self._pessimistic - 1, 0)
        return batch

    def committed(self, batch: Batch) -> None:
        """Let go of the statuses that need not be kept once a batch is committed."""
        self._cache.evict(batch.effects, self.batch.effects)

    def _places(
        self, kind: Kind
    ) -> tuple[dict[str, Status], dict[str, Status], dict[str, Corrupt | None], frozenset[str]]:
        """Where the fold reads and writes one kind's entities; looked up once, not per event.

        Last come the phases in which an entity that is not known is created optimistically.
        """
        statuses = self._cache.of(kind)
        begins = frozenset() if self._pessimistic else self._rules.lifecycles[kind].initial
        return statuses.known, self.batch.effects[kind].after, statuses.without, begins

    def _unknown(
        self, updates: Sequence[Update | Rejection], allowed: int, current: Update
    ) -> Wanted:
        """Return the ids that updates need the statuses of and that nothing is known of.

        Of an entity whose first update creates it, no status is needed; but of the current one it
        is, for its first one was rejected.
        """
        unknown: dict[Kind, list[str]] = {}
        for kind, update_type in _UPDATES.items():
            statuses, changed, without, begins = self._places(kind)
            # Backwards, so that each id is left with its first update.
            firsts = {
                update.id: update for update in reversed(updates) if type(update) is update_type
            }
            unknown[kind] = [
                entity_id
                for entity_id, first in firsts.items()
                if entity_id not in statuses
                and entity_id not in changed
                and entity_id not in without
                and (first.phase not in begins or first.updated_at > allowed)
                and self._misplaced(entity_id) is None
            ]
            if type(current) is update_type and current.id not in unknown[kind]:
                unknown[kind].append(current.id)
        return unknown

    def _load(self, loaded: Mapping[Kind, Statuses]) -> None:
        self._cache.add(loaded)
        for kind, found in loaded.items():
            self.batch.effects[kind].loaded += found.known

    def _misplaced(self, entity_id: str) -> Rejection | Elsewhere | None:
        """Check what need not be checked again while an entity's status is known."""
        rejection = invalid_id(entity_id)
        if rejection is not None:
            return rejection
        number = partition_of(entity_id, self._partitions)
        return None if number == self._number else Elsewhere(number)

    def _set_aside(
        self, entry_id: bytes, fields: Sequence[bytes], why: Rejection | Elsewhere
    ) -> None:
        """Forward or keep an entry that is not applied here."""
        found = find_data(fields)
        data = b"" if isinstance(found, Rejection) else found
        if isinstance(why, Elsewhere):
            self.batch.forwards.setdefault(why.number, []).append(Forward(entry_id, data))
            return
        self.batch.rejected.append(
            RejectedEntry(
                why.reason,
                why.detail,
                data[: self._max_event_bytes],
                self._stream,
                entry_id.decode(),
            )
        )


def _received(entry_id: bytes) -> int:
    """Return when the stream took an entry, in milliseconds since the epoch."""
    return int(entry_id.partition(b"-")[0])


def _forwarded(fields: Sequence[bytes], received: int) -> int:
    """Return when the first stream took an entry that was forwarded; else when this one did.

    A producer may write whatever it likes into the field, which can only make rule 3 stricter.
    """
    names = fields[::2]
    if FROM not in names:
        return received
    match = _origin(fields[2 * names.index(FROM) + 1])
    return int(match[1]) if match else received


def _change(status: Status, entity_id: str, start: str | None, event: str) -> Change:
    if isinstance(status, AssetStatus):
        return AssetChange(
            phase=status.phase,
            progress=status.progress,
            error_message=status.error_message,
            updated_at=status.updated_at,
            id=entity_id,
            from_phase=start,
            event=event,
        )
    return TaskChange(
        phase=status.phase,
        progress=status.progress,
        error_message=status.error_message,
        retries=status.retries,
        updated_at=status.updated_at,
        id=entity_id,
        from_phase=start,
        event=event,
    )
