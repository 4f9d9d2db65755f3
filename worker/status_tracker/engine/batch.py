"""From the entries of one read to what one commit writes. Pure: the work of every event is here.

entries → decode → fold (→ the caller loads what it asks for → fold) → batch
"""

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import NamedTuple

from msgspec import Struct, field

from status_tracker.decode import Entry, decode_all, find_data, misspelt_id
from status_tracker.fold import DUPLICATE, Corrupt, Rules
from status_tracker.keys import partition_of
from status_tracker.models import (
    AssetChange,
    AssetStatus,
    AssetUpdate,
    Change,
    Kind,
    Rejected,
    Status,
    TaskChange,
    TaskUpdate,
    Update,
)

DOUBTFUL = 100
"""Batches. Where producers often repeat the first update of an entity, one commit in so many is
refused; elsewhere loading costs a tenth more for so long."""


_UPDATES: dict[Kind, type[Update]] = {"task": TaskUpdate, "asset": AssetUpdate}


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


class Effects(Struct):
    """What a batch does to the statuses of one kind, by id."""

    after: dict[str, Status] = field(default_factory=dict)
    """The statuses that changed, as they are after the batch."""
    before: list[Status | None] = field(default_factory=list)
    """What each of them was before it, in the same order; None where there was none."""
    texts: dict[str, str] = field(default_factory=dict)
    """What the keys of some hold before it, where that is not how the tracker writes a status."""
    loaded: list[str] = field(default_factory=list)
    """The ids of statuses that were loaded for the batch."""


class Batch(Struct):
    """What became of the entries of one read or of several."""

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


class Known(Struct):
    """What is known of the entities of one kind: nothing of those that are nowhere in it."""

    statuses: dict[str, Status] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    """What their keys hold, where somebody else wrote them, otherwise than the tracker does."""
    without: dict[str, Corrupt | None] = field(default_factory=dict)
    """Those that have no status, or something else in its place."""


_Decoded = tuple[Entry, Update | Rejected]


class Pipeline:
    """Decodes and folds the entries of one partition, read by read, into the batch in hand.

    It keeps the statuses of live entities between batches, so that each is loaded once: at most
    `live_statuses` of each kind, and none in a terminal phase, for little is heard of those. Those
    of a batch are kept until it is committed; until then the server may hold older ones.
    """

    def __init__(
        self,
        rules: Rules,
        *,
        stream: str,
        number: int,
        partitions: int,
        max_event_bytes: int,
        live_statuses: int,
    ) -> None:
        self._rules = rules
        self._stream = stream
        self._number = number
        self._partitions = partitions
        self._max_event_bytes = max_event_bytes
        self._live_statuses = live_statuses
        # Batches for which every entity that is not known is loaded.
        self._doubtful = 0
        self.start("0-0")

    def doubt(self) -> None:
        """Take no entity for new for some time: one that was taken for new has a status."""
        self._doubtful = DOUBTFUL

    def start(self, cursor: str) -> None:
        """Begin at a cursor, with nothing in memory: what the keys hold may be something else."""
        self._known: dict[Kind, Known] = {"task": Known(), "asset": Known()}
        self.in_hand = Batch(cursor, cursor)
        self._decoded: Iterable[_Decoded] = ()
        # When the stream took the first entry of those that were decoded, in ms since the epoch.
        self._received = 0

    def learn(self, loaded: dict[Kind, Known]) -> None:
        """Take in what `fold` asked for."""
        for kind, found in loaded.items():
            known = self._known[kind]
            known.statuses.update(found.statuses)
            known.texts.update(found.texts)
            known.without.update(found.without)
            self.in_hand.effects[kind].loaded += found.statuses

    def decode(self, entries: Sequence[Entry], values: Sequence[bytes | Rejected]) -> None:
        """Decode entries' values of `data`, to be folded next."""
        self._decoded = zip(entries, decode_all(values, self._max_event_bytes), strict=True)
        # IDs only grow: what the first entry's time allows need not be held against its own.
        self._received = _received(entries[0][0])
        for known in self._known.values():
            # Others may give an entity a status at any time.
            known.without = {}
        self.in_hand.cursor = entries[-1][0].decode()
        self.in_hand.entries += len(entries)

    def fold(self) -> dict[Kind, list[str]]:
        """Apply what was decoded to the known statuses, and add to the batch what is to be written.

        Returns the ids whose statuses are to be loaded before it is called again; none when all is
        done. An entity that is not known is taken for new where its life begins here: the update
        is applied in any case, so the commit finds out.
        """
        batch = self.in_hand
        fold = self._rules.fold
        task = self._places("task")
        asset = self._places("asset")
        allowed = self._received + self._rules.max_clock_skew
        pairs = iter(self._decoded)
        for (entry_id, fields), update in pairs:
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
                    rest: list[_Decoded] = [((entry_id, fields), update), *pairs]
                    self._decoded = rest
                    return self._unknown([update for _, update in rest], allowed)
            received = self._received if update.updated_at <= allowed else _received(entry_id)
            outcome = fold(status or without.get(entity_id), update, received)
            if type(outcome) is Rejected:
                self._set_aside(entry_id, fields, outcome)
                continue
            if outcome is DUPLICATE:
                batch.duplicates += 1
                continue
            changed[entity_id] = outcome
            start = None if status is None else status.phase
            if start != outcome.phase:
                batch.changes.append(_change(outcome, entity_id, start, entry_id.decode()))
        return {}

    def _places(
        self, kind: Kind
    ) -> tuple[dict[str, Status], dict[str, Status], dict[str, Corrupt | None], frozenset[str]]:
        """Where the fold reads and writes one kind's entities; looked up once, not per event.

        Last come the phases in which an entity that is not known is taken for new.
        """
        known = self._known[kind]
        begins = frozenset() if self._doubtful else self._rules.lifecycles[kind].initial
        return known.statuses, self.in_hand.effects[kind].after, known.without, begins

    def _unknown(self, updates: list[Update | Rejected], allowed: int) -> dict[Kind, list[str]]:
        """Return which ids' statuses are to be loaded before updates are folded."""
        unknown: dict[Kind, list[str]] = {}
        for kind, update_type in _UPDATES.items():
            statuses, changed, _, begins = self._places(kind)
            # Backwards, so that each id is left with its first update.
            firsts = {
                update.id: update for update in reversed(updates) if type(update) is update_type
            }
            unknown[kind] = [
                entity_id
                for entity_id, first in firsts.items()
                if entity_id not in statuses
                and entity_id not in changed
                and (first.phase not in begins or first.updated_at > allowed)
                and self._misplaced(entity_id) is None
            ]
        return unknown

    def _misplaced(self, entity_id: str) -> Rejected | Elsewhere | None:
        """Check what need not be checked again while an entity's status is known."""
        rejected = misspelt_id(entity_id)
        if rejected is not None:
            return rejected
        number = partition_of(entity_id, self._partitions)
        return None if number == self._number else Elsewhere(number)

    def _set_aside(
        self, entry_id: bytes, fields: Sequence[bytes], why: Rejected | Elsewhere
    ) -> None:
        """Forward or keep an entry that is not applied here."""
        found = find_data(fields)
        data = b"" if isinstance(found, Rejected) else found
        if isinstance(why, Elsewhere):
            self.in_hand.forwards.setdefault(why.number, []).append(Forward(entry_id, data))
            return
        self.in_hand.rejected.append(
            RejectedEntry(
                why.reason,
                why.detail,
                data[: self._max_event_bytes],
                self._stream,
                entry_id.decode(),
            )
        )

    def close(self) -> Batch:
        """Return the batch in hand, to be committed, and go on with the next one."""
        batch = self.in_hand
        for kind, effects in batch.effects.items():
            known, after = self._known[kind], effects.after
            effects.before = list(map(known.statuses.get, after))
            effects.texts = {each: known.texts.pop(each) for each in known.texts.keys() & after}
            # The next batch is folded before this one is written, and begins where it ends.
            known.statuses.update(after)
        self.in_hand = Batch(batch.cursor, batch.cursor)
        self._doubtful = max(self._doubtful - 1, 0)
        return batch

    def settle(self, batch: Batch) -> None:
        """Let go, after a commit, of the statuses that are not worth keeping."""
        for kind, lifecycle in self._rules.lifecycles.items():
            known, effects = self._known[kind], batch.effects[kind]
            statuses = known.statuses
            terminal = lifecycle.terminal
            ended = {each for each, status in effects.after.items() if status.phase in terminal}
            ended.update(
                each
                for each in effects.loaded
                if each in statuses and statuses[each].phase in terminal
            )
            ended.update(islice(statuses, max(len(statuses) - self._live_statuses, 0)))
            # What the batch in hand changed, it is to compare with what it was.
            for entity_id in ended - self.in_hand.effects[kind].after.keys():
                del statuses[entity_id]
                known.texts.pop(entity_id, None)


def _received(entry_id: bytes) -> int:
    """Return when the stream took an entry, in milliseconds since the epoch."""
    return int(entry_id.partition(b"-")[0])


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
