"""From the entries of one read to what one commit writes. Pure: the work of every event is here.

entries → decode → fold, which asks for the statuses it does not know → batch

On the common way all partitions' entries are decoded in one go, and come here as updates.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Generator, Mapping, Sequence
from functools import partial
from typing import NamedTuple

from msgspec import Struct, field

from status_tracker.decode import FROM, Entry, find_data, invalid_id
from status_tracker.engine.heard import Heard
from status_tracker.engine.samples import Sample, received_at, sampled
from status_tracker.engine.statuses import Effects, StatusCache, Statuses
from status_tracker.fold import DUPLICATE, Corrupt, Outcome
from status_tracker.keys import partition_of
from status_tracker.metadata import Deployment
from status_tracker.models import Change, Rejection, Status, Update
from status_tracker.removal import decode_removal

PESSIMISTIC_BATCHES = 100
"""Batches for which every unknown entity is loaded after an optimistic create was refused. Where
producers often repeat the first update of an entity, one commit in so many is refused; elsewhere
loading costs a tenth more for so long."""


# Where a forward comes from: the partition's number and the entry's ID.
_origin = re.compile(rb"\d{1,4}/(\d{1,20})-\d{1,20}").fullmatch

Wanted = Mapping[str, Sequence[str]]
"""The ids whose statuses are to be loaded, by kind."""

Folding = Generator[Wanted, Mapping[str, Statuses], None]
"""It asks for the statuses that it does not know."""


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
    kind: str = ""


class Forward(NamedTuple):
    """An update that belongs to another partition."""

    entry_id: bytes
    data: bytes
    kind: str


class Removed(NamedTuple):
    """An entity that is taken away."""

    status: Status
    text: str | None
    """What its key holds, where that is not how the tracker writes a status."""


class Batch(Struct):
    """What became of the entries of one read or of several."""

    number: int
    """Of the partition."""
    read_from: str
    """The cursor that the entries were read from."""
    cursor: str
    """ID of the last entry."""
    revision: int
    """Of the rules that it is folded by."""
    history: int
    """Changes that these keep of each entity."""
    effects: defaultdict[str, Effects] = field(default_factory=partial(defaultdict, Effects))
    """By kind."""
    entries: int = 0
    changes: list[Change] = field(default_factory=list)
    rejected: list[RejectedEntry] = field(default_factory=list)
    forwards: dict[int, list[Forward]] = field(default_factory=dict)
    """Number of the partition → the updates that belong to it."""
    duplicates: dict[str, int] = field(default_factory=dict)
    """By kind, how many changed nothing."""
    kinds: dict[str, int] = field(default_factory=dict)
    """How many entries tell each kind; "" has those that tell none."""
    retries: dict[str, int] = field(default_factory=dict)
    """By kind, how many changes counted a retry."""
    samples: list[Sample] = field(default_factory=list)
    """A few entries that stand for all; on the common way, for those of the whole commit."""
    removed: dict[tuple[str, str], Removed] = field(default_factory=dict)
    """By kind and id, the entities that are taken away. Such a batch has nothing else."""
    marked: dict[str, list[str]] = field(default_factory=dict)
    """By kind, the entities in it that are marked as stalled, or may be: they are not any more."""

    @property
    def forwarded(self) -> int:
        """How many updates belong to other partitions."""
        return sum(map(len, self.forwards.values()))

    @property
    def applied(self) -> int:
        """All entries that ended otherwise than the others."""
        if not (self.duplicates or self.forwards or self.rejected):
            return self.entries
        others = sum(self.duplicates.values()) + self.forwarded + len(self.rejected)
        return self.entries - others


class _Place(NamedTuple):
    """Where the fold reads and writes the entities of one kind."""

    fold: Callable[[Status | Corrupt | None, Update, int], Outcome]
    known: dict[str, Status]
    after: dict[str, Status]
    without: dict[str, Corrupt | None]
    begins: frozenset[str]
    """Phases in which an entity that is not known is created optimistically."""
    kind: str


class BatchBuilder:
    """Decodes and folds the entries of one partition, read by read, into the current batch."""

    def __init__(
        self,
        deployment: Deployment,
        cache: StatusCache,
        *,
        number: int,
        heard: Heard | None = None,
    ) -> None:
        """Begin with nothing; `heard` is what is known of before."""
        self.deployment: Deployment = deployment
        self.heard: Heard = heard or Heard()
        self.cache: StatusCache = cache
        self._stream = deployment.keys.events(number)
        self._number = number
        # Batches for which every entity that is not known is loaded.
        self._pessimistic = 0
        self.batch: Batch = self._empty("0-0")

    def restart(self, cursor: str, deployment: Deployment, *, has_marks: bool = True) -> None:
        """Begin at a cursor, by the rules in force, with nothing in memory.

        What the keys hold may be something else than before. Without `has_marks` nobody is marked
        as stalled.
        """
        self.deployment = deployment
        self.cache.restart(deployment.rules)
        self.heard.attach(cursor, deployment.rules, has_marks=has_marks)
        self.batch = self._empty(cursor)

    def _empty(self, cursor: str) -> Batch:
        """Return the batch that begins at a cursor."""
        revision, history = self.deployment.revision, self.deployment.rules.history
        return Batch(self._number, cursor, cursor, revision, history)

    def suspend_optimistic_creates(self) -> None:
        """Load every unknown entity for some time: one that was taken for new has a status."""
        self._pessimistic = PESSIMISTIC_BATCHES

    def fold(self, entries: Sequence[Entry], values: Sequence[bytes | Rejection]) -> Folding:
        """Decode entries' values of `data`, and apply them as `apply` does."""
        decoder = self.deployment.decoder
        decoded = decoder.decode_all(values)
        self.batch.samples += sampled(entries, decoded, decoder.kinds)
        return self.apply(entries, decoded)

    def apply(self, entries: Sequence[Entry], decoded: Sequence[Update | Rejection]) -> Folding:
        """Apply what entries hold, and add what is to be written to the current batch.

        It yields the ids whose statuses it needs, and is sent those. An entity that is not known
        is created optimistically where its life begins here: the update is applied in any case, so
        the commit finds out whether there was a status.
        """
        batch, folds = self.batch, self.deployment.folds
        self._count_kinds(decoded)
        batch.cursor = entries[-1][0].decode()
        batch.entries += len(entries)
        self.cache.forget_missing()
        # IDs only grow: what the first entry's time allows need not be held against its own.
        first_received = received_at(entries[0][0])
        allowed = first_received + self.deployment.rules.max_clock_skew
        places: dict[type, _Place] = {}
        struct: type[Update] | None = None
        for (entry_id, fields), update in zip(entries, decoded, strict=True):
            if type(update) is Rejection:
                self._set_aside(entry_id, fields, update)
                continue
            if type(update) is not struct:
                struct = type(update)
                place = places.get(struct) or places.setdefault(struct, self._place(struct))
                fold, statuses, changed, without, begins, kind = place
            entity_id = update.id
            status = changed.get(entity_id) or statuses.get(entity_id)
            if status is None and entity_id not in without:
                why = self._misplaced(entity_id)
                if why is not None:
                    self._set_aside(entry_id, fields, why, kind)
                    continue
                if update.phase not in begins or update.updated_at > allowed:
                    self._load((yield self._unknown(decoded, allowed, update)))
                    status = statuses.get(entity_id)
            received = first_received if update.updated_at <= allowed else received_at(entry_id)
            if len(fields) > 2:
                received = min(received, _forwarded(fields, received))
            outcome = fold(status or without.get(entity_id), update, received)
            if type(outcome) is Rejection:
                self._set_aside(entry_id, fields, outcome, kind)
                continue
            if outcome is DUPLICATE:
                _count(batch.duplicates, kind)
                continue
            changed[entity_id] = outcome
            start = None if status is None else status.phase
            if start != outcome.phase:
                retries = outcome.retries
                if retries and status is not None and retries > (status.retries or 0):
                    _count(batch.retries, kind)
                forced = update.force and folds[kind].is_forced(start, outcome.phase)
                batch.changes.append(
                    _change(outcome, kind, entity_id, start, entry_id.decode(), forced=forced)
                )

    def remove(self, entry: Entry, data: bytes) -> Folding:
        """Take in an entry that takes entities away, as the only one of the current batch.

        It yields the ids whose statuses it needs, and is sent those.
        """
        batch, (entry_id, _) = self.batch, entry
        batch.cursor = entry_id.decode()
        batch.entries += 1
        _count(batch.kinds, "")
        batch.samples.append(Sample(received_at(entry_id), 1))
        rules = self.deployment.rules
        found = decode_removal(
            data,
            number=self._number,
            partitions=self.deployment.partitions,
            max_event_bytes=rules.max_event_bytes,
        )
        if isinstance(found, Rejection):
            self._keep_rejected(entry_id, data, found)
            return
        wanted: dict[str, list[str]] = defaultdict(list)
        for each in found:
            wanted[each.kind].append(each.id)
        # All of them: what is in memory knows only the kinds of the rules.
        loaded = (yield wanted) if wanted else {}
        for each in found:
            statuses = loaded[each.kind]
            status = statuses.known.get(each.id)
            if status is not None and each.removes(status):
                batch.removed[each.kind, each.id] = Removed(status, statuses.texts.get(each.id))
        if not batch.removed:
            _count(batch.duplicates, "")

    def close(self) -> Batch:
        """Return the current batch, to be committed, and go on with the next one."""
        batch = self.batch
        self.cache.advance(batch.effects)
        if batch.entries:
            batch.marked = self.heard.closed(batch.effects, batch.removed)
        self.batch = self._empty(batch.cursor)
        self._pessimistic = max(self._pessimistic - 1, 0)
        return batch

    def committed(self, batch: Batch) -> None:
        """Let go of the statuses that need not be kept once a batch is committed."""
        self.heard.note(batch.cursor, batch.effects, batch.changes, batch.removed, batch.marked)
        self.cache.remove(batch.removed)
        self.cache.evict(batch.effects, self.batch.effects)

    def _place(self, struct: type[Update]) -> _Place:
        """Where the fold reads and writes one kind's entities; looked up once, not per event."""
        kind = self.deployment.decoder.kinds[struct]
        statuses, fold = self.cache.of(kind), self.deployment.folds[kind]
        begins = frozenset() if self._pessimistic else fold.initial
        after = self.batch.effects[kind].after
        return _Place(fold.apply, statuses.known, after, statuses.without, begins, kind)

    def _unknown(
        self, updates: Sequence[Update | Rejection], allowed: int, current: Update
    ) -> Wanted:
        """Return the ids that updates need the statuses of and that nothing is known of.

        Of an entity whose first update creates it, no status is needed; but of the current one it
        is, for its first one was rejected.
        """
        unknown: dict[str, list[str]] = {}
        by_struct: dict[type[Update], dict[str, Update]] = defaultdict(dict)
        # Backwards, so that each id is left with its first update.
        for update in reversed(updates):
            if not isinstance(update, Rejection):
                by_struct[type(update)][update.id] = update
        for struct, firsts in by_struct.items():
            _, statuses, changed, without, begins, kind = self._place(struct)
            unknown[kind] = [
                entity_id
                for entity_id, first in firsts.items()
                if entity_id not in statuses
                and entity_id not in changed
                and entity_id not in without
                and (first.phase not in begins or first.updated_at > allowed)
                and self._misplaced(entity_id) is None
            ]
            if type(current) is struct and current.id not in unknown[kind]:
                unknown[kind].append(current.id)
        return unknown

    def _load(self, loaded: Mapping[str, Statuses]) -> None:
        self.cache.add(loaded)
        for kind, found in loaded.items():
            self.batch.effects[kind].loaded += found.known

    def _misplaced(self, entity_id: str) -> Rejection | Elsewhere | None:
        """Check what need not be checked again while an entity's status is known."""
        rejection = invalid_id(entity_id)
        if rejection is not None:
            return rejection
        number = partition_of(entity_id, self.deployment.partitions)
        return None if number == self._number else Elsewhere(number)

    def _set_aside(
        self, entry_id: bytes, fields: Sequence[bytes], why: Rejection | Elsewhere, kind: str = ""
    ) -> None:
        """Forward or keep an entry that is not applied here."""
        found = find_data(fields)
        data = found if isinstance(found, bytes) else b""
        if isinstance(why, Elsewhere):
            forward = Forward(entry_id, data, kind)
            self.batch.forwards.setdefault(why.number, []).append(forward)
            return
        self._keep_rejected(entry_id, data, why, kind)

    def _keep_rejected(self, entry_id: bytes, data: bytes, why: Rejection, kind: str = "") -> None:
        self.batch.rejected.append(
            RejectedEntry(
                why.reason,
                why.detail,
                data[: self.deployment.rules.max_event_bytes],
                self._stream,
                entry_id.decode(),
                kind,
            )
        )

    def _count_kinds(self, decoded: Sequence[Update | Rejection]) -> None:
        kinds = self.deployment.decoder.kinds
        types = list(map(type, decoded))
        # Mostly they are of one kind, which is sooner seen than counted.
        alike = types.count(types[0]) == len(types)
        counts = {types[0]: len(types)} if alike else Counter(types)
        for each, count in counts.items():
            _count(self.batch.kinds, kinds.get(each, ""), count)


def _count(counts: dict[str, int], name: str, number: int = 1) -> None:
    """Count as a Counter does, whose making takes longer than a small batch has for it."""
    counts[name] = counts.get(name, 0) + number


def _forwarded(fields: Sequence[bytes], received: int) -> int:
    """Return when the first stream took an entry that was forwarded; else when this one did.

    A producer may write whatever it likes into the field, which can only make rule 3 stricter.
    """
    names = fields[::2]
    if FROM not in names:
        return received
    match = _origin(fields[2 * names.index(FROM) + 1])
    return int(match[1]) if match else received


def _change(
    status: Status, kind: str, entity_id: str, start: str | None, event: str, *, forced: bool
) -> Change:
    return Change(
        phase=status.phase,
        progress=status.progress,
        error_message=status.error_message,
        retries=status.retries,
        attempt=status.attempt,
        updated_at=status.updated_at,
        kind=kind,
        id=entity_id,
        from_phase=start,
        event=event,
        forced=forced,
    )
