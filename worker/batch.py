"""From the entries of one read to what one commit writes. Pure: the work of every event is here.

entries → decode → (the caller loads statuses that are not known) → fold → batch
"""

from collections.abc import Sequence
from itertools import islice
from typing import NamedTuple

from msgspec import Struct, field

from worker.decode import Entry, decode_all, find_data, misspelt_id
from worker.fold import DUPLICATE, Corrupt, Rules
from worker.keys import partition_of
from worker.models import (
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


class Move(Struct, gc=False):
    """An entity's way between phases within one batch, from the first change to the last."""

    start: str | None
    """The phase it was in before the batch; None for an entity that had no status."""
    end: str
    at: int | float
    """The status's `updatedAt` when it entered `end`."""


class Effects(Struct):
    """What a batch does to the entities of one kind, by id."""

    texts: dict[str, str]
    """What the keys held when they were loaded or last written; nothing for those without a key.
    The commit compares them, and whoever commits enters what it writes."""
    statuses: dict[str, Status] = field(default_factory=dict)
    """The statuses that changed, as they are after the batch."""
    moves: dict[str, Move] = field(default_factory=dict)
    loaded: list[str] = field(default_factory=list)
    """The ids of statuses that were loaded for the batch."""


class Batch(Struct):
    """What became of the entries of one read or of several."""

    read_from: str
    """The cursor that the entries were read from."""
    cursor: str
    """ID of the last entry."""
    effects: dict[Kind, Effects]
    entries: int = 0
    changes: list[Change] = field(default_factory=list)
    rejected: list[RejectedEntry] = field(default_factory=list)
    forwards: dict[int, list[Forward]] = field(default_factory=dict)
    """Number of the partition → the updates that belong to it."""
    duplicates: int = 0


class Known(Struct):
    """What is known of the entities of one kind: nothing of those that are in neither."""

    statuses: dict[str, Status] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    """The statuses as their keys hold them."""
    corrupt: dict[str, Corrupt] = field(default_factory=dict)


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
        self.in_hand = self._batch_from(cursor)

    def _batch_from(self, cursor: str) -> Batch:
        effects = {kind: Effects(known.texts) for kind, known in self._known.items()}
        return Batch(cursor, cursor, effects)

    def learn(self, loaded: dict[Kind, Known]) -> None:
        """Take in the statuses that `decode` asked for; ids that are not among them have none."""
        for kind, found in loaded.items():
            known = self._known[kind]
            known.statuses.update(found.statuses)
            known.texts.update(found.texts)
            known.corrupt = found.corrupt
            self.in_hand.effects[kind].loaded += found.statuses

    def decode(
        self, entries: Sequence[Entry], values: Sequence[bytes | Rejected]
    ) -> tuple[Sequence[Update | Rejected | Elsewhere], dict[Kind, list[str]]]:
        """Decode entries' values of `data`, and tell which ids' statuses are to be loaded.

        An entity that is not known is taken for new where its life begins here: the update is
        applied in any case, so the commit finds out.
        """
        allowed = _received(entries[0][0]) + self._rules.max_clock_skew
        decoded = decode_all(values, self._max_event_bytes)
        unknown: dict[Kind, list[str]] = {}
        misplaced: dict[str, Rejected | Elsewhere] = {}
        for kind, update_type in _UPDATES.items():
            known = self._known[kind]
            known.corrupt = {}
            begins = () if self._doubtful else self._rules.lifecycles[kind].initial
            unknown[kind] = []
            # Backwards, so that each id is left with its first update.
            firsts = {
                update.id: update for update in reversed(decoded) if type(update) is update_type
            }
            for entity_id in firsts.keys() - known.statuses.keys():
                why = self._misplaced(entity_id)
                if why is not None:
                    misplaced[entity_id] = why
                    continue
                first = firsts[entity_id]
                if first.phase not in begins or first.updated_at > allowed:
                    unknown[kind].append(entity_id)
        if not misplaced:
            return decoded, unknown
        placed = [
            update if isinstance(update, Rejected) else misplaced.get(update.id, update)
            for update in decoded
        ]
        return placed, unknown

    def _misplaced(self, entity_id: str) -> Rejected | Elsewhere | None:
        """Check what need not be checked again while an entity's status is known."""
        rejected = misspelt_id(entity_id)
        if rejected is not None:
            return rejected
        number = partition_of(entity_id, self._partitions)
        return None if number == self._number else Elsewhere(number)

    def fold(
        self, entries: Sequence[Entry], decoded: Sequence[Update | Rejected | Elsewhere]
    ) -> None:
        """Apply decoded entries to the known statuses, and add what there is to write."""
        batch = self.in_hand
        batch.cursor = entries[-1][0].decode()
        batch.entries += len(entries)
        fold = self._rules.fold
        changes = batch.changes
        task = self._places("task", batch)
        asset = self._places("asset", batch)
        # IDs only grow: what the first entry's time allows need not be held against its own.
        first = _received(entries[0][0])
        allowed = first + self._rules.max_clock_skew
        for (entry_id, fields), update in zip(entries, decoded, strict=True):
            if type(update) is TaskUpdate:
                statuses, corrupt, changed, moves = task
            elif type(update) is AssetUpdate:
                statuses, corrupt, changed, moves = asset
            else:
                self._set_aside(batch, entry_id, fields, update)
                continue
            entity_id = update.id
            status = statuses.get(entity_id)
            received = first if update.updated_at <= allowed else _received(entry_id)
            outcome = fold(status or corrupt.get(entity_id), update, received)
            if type(outcome) is Rejected:
                self._set_aside(batch, entry_id, fields, outcome)
                continue
            if outcome is DUPLICATE:
                batch.duplicates += 1
                continue
            statuses[entity_id] = changed[entity_id] = outcome
            start = None if status is None else status.phase
            if start == outcome.phase:
                continue
            changes.append(_change(outcome, entity_id, start, entry_id.decode()))
            move = moves.get(entity_id)
            if move is None:
                moves[entity_id] = Move(start, outcome.phase, outcome.updated_at)
            else:
                move.end = outcome.phase
                move.at = outcome.updated_at

    def _places(
        self, kind: Kind, batch: Batch
    ) -> tuple[dict[str, Status], dict[str, Corrupt], dict[str, Status], dict[str, Move]]:
        """Where the fold reads and writes one kind's entities; looked up once, not per event."""
        known, effects = self._known[kind], batch.effects[kind]
        return known.statuses, known.corrupt, effects.statuses, effects.moves

    def _set_aside(
        self,
        batch: Batch,
        entry_id: bytes,
        fields: Sequence[bytes],
        why: Rejected | Elsewhere,
    ) -> None:
        """Forward or keep an entry that is not applied here."""
        found = find_data(fields)
        data = b"" if isinstance(found, Rejected) else found
        if isinstance(why, Elsewhere):
            batch.forwards.setdefault(why.number, []).append(Forward(entry_id, data))
            return
        batch.rejected.append(
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
        self.in_hand = self._batch_from(batch.cursor)
        self._doubtful = max(self._doubtful - 1, 0)
        return batch

    def settle(self, batch: Batch) -> None:
        """Let go, after a commit, of the statuses that are not worth keeping.

        Not between a `decode` and its `fold`, which goes on from what the first one found known.
        """
        for kind, lifecycle in self._rules.lifecycles.items():
            statuses, texts = self._known[kind].statuses, self._known[kind].texts
            effects = batch.effects[kind]
            terminal = lifecycle.terminal
            ended = [each for each, move in effects.moves.items() if move.end in terminal]
            ended += [
                each
                for each in effects.loaded
                if each in statuses and statuses[each].phase in terminal
            ]
            oldest = islice(statuses, max(len(statuses) - self._live_statuses, 0))
            # The batch in hand goes on from what it changed.
            for entity_id in {*ended, *oldest} - self.in_hand.effects[kind].statuses.keys():
                del statuses[entity_id], texts[entity_id]


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
