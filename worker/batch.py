"""From the entries of one read to what one commit writes. Pure: the work of every event is here.

entries → decode → (the caller loads statuses that are not known) → fold → batch
"""

from collections.abc import Sequence
from itertools import chain, islice

from msgspec import Struct, field

from worker.decode import FIELD, decode, find_data, misspelt_id
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

Entry = tuple[bytes, Sequence[bytes]]
"""An entry as the server sends it: its ID, and ``[field, value, field, value, …]``."""


class Elsewhere(Struct, frozen=True, gc=False):
    """An update whose entity belongs to another partition."""

    data: bytes
    number: int


class RejectedEntry(Struct, frozen=True, gc=False):
    """An entry that is not applied, as it is kept."""

    reason: str
    detail: str
    data: bytes
    stream: str
    id: str


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


class Batch(Struct):
    """What became of the entries of one read."""

    read_from: str
    """The cursor that the entries were read from."""
    cursor: str
    """ID of the last entry."""
    entries: int
    effects: dict[Kind, Effects]
    changes: list[Change] = field(default_factory=list)
    rejected: list[RejectedEntry] = field(default_factory=list)
    forwards: dict[int, list[bytes]] = field(default_factory=dict)
    """Number of the partition → the updates that belong to it."""
    duplicates: int = 0


class Known(Struct):
    """What is known of the entities of one kind: nothing of those that are in neither."""

    statuses: dict[str, Status] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    """The statuses as their keys hold them."""
    corrupt: dict[str, Corrupt] = field(default_factory=dict)


class Pipeline:
    """Decodes and folds the entries of one partition.

    It keeps the statuses of live entities between batches, so that each is loaded once: at most
    `live_statuses` of each kind, and none in a terminal phase, for little is heard of those.
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
        self._known: dict[Kind, Known] = {"task": Known(), "asset": Known()}
        # The ids of statuses that were loaded for the batch at hand.
        self._learned: dict[Kind, list[str]] = {"task": [], "asset": []}

    def forget(self) -> None:
        """Drop every status that is kept: what the keys hold may be something else by now."""
        self._known = {"task": Known(), "asset": Known()}

    def learn(self, loaded: dict[Kind, Known]) -> None:
        """Take in the statuses that `decode` asked for; ids that are not among them have none."""
        for kind, known in loaded.items():
            self._known[kind].statuses.update(known.statuses)
            self._known[kind].texts.update(known.texts)
            self._known[kind].corrupt = known.corrupt
            self._learned[kind] = list(known.statuses)

    def decode(
        self, entries: Sequence[Entry]
    ) -> tuple[list[Update | Rejected | Elsewhere], dict[Kind, list[str]]]:
        """Decode entries, and tell which ids' statuses are not known yet."""
        max_event_bytes = self._max_event_bytes
        tasks = self._known["task"].statuses
        assets = self._known["asset"].statuses
        # A dict without values: a set that remembers the order, so that a replay loads alike.
        new_tasks: dict[str, None] = {}
        new_assets: dict[str, None] = {}
        decoded: list[Update | Rejected | Elsewhere] = []
        for _, fields in entries:
            if fields[0] == FIELD:
                data = fields[1]
            else:
                found = find_data(fields)
                if isinstance(found, Rejected):
                    decoded.append(found)
                    continue
                data = found
            update: Update | Rejected | Elsewhere = decode(data, max_event_bytes)
            if type(update) is TaskUpdate:
                if update.id not in tasks:
                    update = self._first_sight(update, data, new_tasks)
            elif type(update) is AssetUpdate and update.id not in assets:
                update = self._first_sight(update, data, new_assets)
            decoded.append(update)
        return decoded, {"task": list(new_tasks), "asset": list(new_assets)}

    def _first_sight(
        self, update: Update, data: bytes, new: dict[str, None]
    ) -> Update | Rejected | Elsewhere:
        """Check what need not be checked again while an entity's status is known."""
        if update.id in new:
            return update
        rejected = misspelt_id(update.id)
        if rejected is not None:
            return rejected
        number = partition_of(update.id, self._partitions)
        if number != self._number:
            return Elsewhere(data, number)
        new[update.id] = None
        return update

    def fold(
        self,
        entries: Sequence[Entry],
        decoded: Sequence[Update | Rejected | Elsewhere],
        read_from: str,
    ) -> Batch:
        """Apply decoded entries to the known statuses, and collect what there is to write."""
        effects = {kind: Effects(known.texts) for kind, known in self._known.items()}
        batch = Batch(read_from, entries[-1][0].decode(), len(entries), effects)
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
            if outcome is DUPLICATE:
                batch.duplicates += 1
                continue
            if isinstance(outcome, Rejected):
                self._set_aside(batch, entry_id, fields, outcome)
                continue
            statuses[entity_id] = changed[entity_id] = outcome
            if status is not None and status.phase == outcome.phase:
                continue
            start = None if status is None else status.phase
            changes.append(_change(outcome, entity_id, start, entry_id.decode()))
            move = moves.get(entity_id)
            if move is None:
                moves[entity_id] = Move(start, outcome.phase, outcome.updated_at)
            else:
                move.end = outcome.phase
                move.at = outcome.updated_at
        return batch

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
        if isinstance(why, Elsewhere):
            batch.forwards.setdefault(why.number, []).append(why.data)
            return
        found = find_data(fields)
        data = b"" if isinstance(found, Rejected) else found[: self._max_event_bytes]
        batch.rejected.append(
            RejectedEntry(why.reason, why.detail, data, self._stream, entry_id.decode())
        )

    def settle(self, batch: Batch) -> None:
        """Let go, after a commit, of the statuses that are not worth keeping."""
        for kind, lifecycle in self._rules.lifecycles.items():
            statuses, texts = self._known[kind].statuses, self._known[kind].texts
            for entity_id in chain(batch.effects[kind].moves, self._learned[kind]):
                status = statuses.get(entity_id)
                if status is not None and status.phase in lifecycle.terminal:
                    del statuses[entity_id], texts[entity_id]
            self._learned[kind] = []
            excess = len(statuses) - self._live_statuses
            for entity_id in list(islice(statuses, max(excess, 0))):
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
