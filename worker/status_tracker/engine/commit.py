"""From a batch to what its commit is called with. Pure: no I/O."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from status_tracker.engine.batch import Batch, Forward, Removed
from status_tracker.keys import GROUP, PartitionKeys
from status_tracker.lua import commit as script
from status_tracker.lua.commit import Call, Payload, PhaseMoves, Step
from status_tracker.models import Change, Status

_encode = msgspec.json.Encoder().encode
_encode_lines = msgspec.json.Encoder().encode_lines


def commit_call(
    batches: Sequence[Batch],
    owns: Sequence[PartitionKeys],
    forwards: dict[str, list[Forward]],
    *,
    max_changes: int,
    max_rejected: int,
) -> Call:
    """Return what the commit of one batch is called with, or that of several partitions' batches.

    `owns` are the keys of each batch's partition; those of several share all but stream and hash.
    `forwards` are by the key of their stream; with any, a batch is alone.
    """
    own, first = owns[0], batches[0]
    status_keys: list[str] = []
    after: list[Status] = []
    before: list[Status | None] = []
    # What somebody else wrote, by key, where that is not how the tracker writes a status.
    texts: dict[str, str] = {}
    for batch in batches:
        for kind, effects in batch.effects.items():
            prefix = own.status(kind, "")
            status_keys += [prefix + entity_id for entity_id in effects.after]
            after += effects.after.values()
            before += effects.before
            texts |= {prefix + entity_id: text for entity_id, text in effects.texts.items()}
    for entity, gone in first.removed.items():
        status_keys.append(own.status(*entity))
        before.append(gone.status)
        if gone.text is not None:
            texts[status_keys[-1]] = gone.text
    expected = _expected(before)
    if texts:
        expected = [texts.get(*each) for each in zip(status_keys, expected, strict=True)]
    changes = [change for batch in batches for change in batch.changes]
    rejected = [entry for batch in batches for entry in batch.rejected]
    phases, counts = _index(changes, own)
    histories = _histories(changes, own) if first.history else {}
    if first.removed:
        phases, counts = _left(first.removed, own)
        # Whatever the rules keep now, there may be one from before.
        histories = {own.history(*entity): [] for entity in first.removed}
    marks: dict[str, list[str]] = defaultdict(list)
    for batch in batches:
        for kind, ids in batch.marked.items():
            marks[own.stalled(kind)] += ids
    payload = Payload(
        partitions=[
            Step(batch.read_from, batch.cursor, str(batch.revision), _totals(batch))
            for batch in batches
        ],
        counts=len(counts),
        documents=_texts(after),
        expected=expected,
        phases=list(phases.values()),
        marks=list(marks.values()),
        changes=_texts(changes) or _removal(first.removed),
        removes=bool(first.removed),
        histories=[places[-first.history :] for places in histories.values()],
        history=first.history,
        rejected=[
            {"reason": each.reason, "detail": each.detail, "stream": each.stream, "id": each.id}
            for each in rejected
        ],
        forwards=[
            [f"{first.number}/{each.entry_id.decode()}" for each in updates]
            for updates in forwards.values()
        ],
        max_changes=max_changes,
        max_rejected=max_rejected,
    )
    raw = [entry.data for entry in rejected]
    raw += [each.data for updates in forwards.values() for each in updates]
    return script.call(
        changes=own.changes,
        rejected=own.rejected,
        partitions=[(each.partition, each.events) for each in owns],
        counts=counts,
        statuses=status_keys,
        phases=list(phases),
        marks=list(marks),
        histories=list(histories),
        forwards=list(forwards),
        group=GROUP,
        payload=payload,
        raw=raw,
    )


def _index(
    changes: Sequence[Change], own: PartitionKeys
) -> tuple[dict[str, PhaseMoves], list[str]]:
    """Sum changes up: one move of an entity, however often it changed.

    Returns the moves by the key of the phase's set, and the keys of the counts of these kinds.
    """
    moves: dict[str, PhaseMoves] = {}
    counts: list[str] = []
    by_kind: dict[str, list[Change]] = defaultdict(list)
    for change in changes:
        by_kind[change.kind].append(change)
    for kind, of_kind in by_kind.items():
        counts.append(own.counts(kind))
        starts = {change.id: change.from_phase for change in reversed(of_kind)}
        ends = {change.id: change for change in of_kind}
        left: dict[str, list[str]] = defaultdict(list)
        for entity_id, start in starts.items():
            if start is not None:  # new entities left nothing
                left[start].append(entity_id)
        entered: dict[str, list[str]] = defaultdict(list)
        for entity_id, change in ends.items():
            entered[change.phase] += (str(change.updated_at), entity_id)
        for phase in left.keys() | entered.keys():
            key = own.phase(kind, phase)
            moves[key] = PhaseMoves(
                phase, len(counts), entered=entered.get(phase, []), left=left.get(phase, [])
            )
    return moves, counts


def _left(
    removed: Mapping[tuple[str, str], Removed], own: PartitionKeys
) -> tuple[dict[str, PhaseMoves], list[str]]:
    """Return the same of entities that are taken away."""
    kinds = list(dict.fromkeys(kind for kind, _ in removed))
    moves: dict[str, PhaseMoves] = {}
    for (kind, entity_id), gone in removed.items():
        phase = gone.status.phase
        key = own.phase(kind, phase)
        moves.setdefault(key, PhaseMoves(phase, kinds.index(kind) + 1)).left.append(entity_id)
    return moves, [own.counts(kind) for kind in kinds]


def _removal(removed: Iterable[tuple[str, str]]) -> list[str]:
    """Return what the change feed says of entities that are taken away; nothing where none are."""
    entities = list(removed)
    return [_encode(entities).decode()] if entities else []


def _histories(changes: Sequence[Change], own: PartitionKeys) -> dict[str, list[int]]:
    """Return which changes, from 1, go into the history of each entity, by its key."""
    histories: dict[str, list[int]] = defaultdict(list)
    for place, change in enumerate(changes, start=1):
        histories[own.history(change.kind, change.id)].append(place)
    return histories


def _totals(batch: Batch) -> list[str | int]:
    """Return what became of the entries, as fields of the partition's hash and numbers."""
    totals: list[str | int] = ["entries", batch.entries]
    if batch.applied:
        totals += ("applied", batch.applied)
    if batch.duplicates:
        totals += ("duplicates", sum(batch.duplicates.values()))
    if batch.forwards:
        totals += ("forwarded", batch.forwarded)
    if batch.rejected:
        for reason, count in Counter(each.reason for each in batch.rejected).items():
            totals += (f"rejected:{reason}", count)
    return totals


def _expected(before: Sequence[Status | None]) -> list[str]:
    """What each status key must still hold; "" where there must be none."""
    texts = iter(_texts(filter(None, before)))
    return ["" if status is None else next(texts) for status in before]


def _texts(documents: Iterable[Status | Change]) -> list[str]:
    """Write documents, none of which has a newline: in JSON text it is escaped."""
    return _encode_lines(documents).decode().split("\n")[:-1]
