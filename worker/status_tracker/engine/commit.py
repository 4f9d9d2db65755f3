"""From a batch to what its commit is called with. Pure: no I/O."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

import msgspec

from status_tracker.engine.batch import Batch, Forward
from status_tracker.engine.statuses import Effects
from status_tracker.keys import GROUP, PartitionKeys
from status_tracker.lua import commit as script
from status_tracker.lua.commit import Call, Payload, PhaseMoves
from status_tracker.models import Change, Status

_encode_lines = msgspec.json.Encoder().encode_lines


def commit_call(
    batch: Batch,
    own: PartitionKeys,
    forwards: dict[str, list[Forward]],
    *,
    max_changes: int,
    max_rejected: int,
) -> Call:
    """Return what a batch's commit is called with; `forwards` are by the key of their stream."""
    status_keys: list[str] = []
    documents: list[str] = []
    expected: list[str] = []
    for kind, effects in batch.effects.items():
        prefix = own.status(kind, "")
        status_keys += [prefix + entity_id for entity_id in effects.after]
        documents += _texts(effects.after.values())
        expected += _expected(effects)
    phases, counts = _index(batch.changes, own)
    histories = _histories(batch.changes, own) if batch.history else {}
    payload = Payload(
        read_from=batch.read_from,
        cursor=batch.cursor,
        revision=str(batch.revision),
        counts=len(counts),
        documents=documents,
        expected=expected,
        phases=list(phases.values()),
        changes=_texts(batch.changes),
        histories=[places[-batch.history :] for places in histories.values()],
        history=batch.history,
        rejected=[
            {"reason": each.reason, "detail": each.detail, "stream": each.stream, "id": each.id}
            for each in batch.rejected
        ],
        forwards=[
            [f"{batch.number}/{each.entry_id.decode()}" for each in updates]
            for updates in forwards.values()
        ],
        totals=_totals(batch),
        max_changes=max_changes,
        max_rejected=max_rejected,
    )
    raw = [entry.data for entry in batch.rejected]
    raw += [each.data for updates in forwards.values() for each in updates]
    return script.call(
        partition=own.partition,
        events=own.events,
        changes=own.changes,
        rejected=own.rejected,
        counts=counts,
        statuses=status_keys,
        phases=list(phases),
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


def _histories(changes: Sequence[Change], own: PartitionKeys) -> dict[str, list[int]]:
    """Return which changes, from 1, go into the history of each entity, by its key."""
    histories: dict[str, list[int]] = defaultdict(list)
    for place, change in enumerate(changes, start=1):
        histories[own.history(change.kind, change.id)].append(place)
    return histories


def _totals(batch: Batch) -> list[str | int]:
    """Return what became of the entries, as fields of the partition's hash and numbers."""
    totals: dict[str, int] = {
        "entries": batch.entries,
        "applied": batch.applied,
        "duplicates": batch.duplicates,
        "forwarded": batch.forwarded,
    }
    totals |= Counter(f"rejected:{each.reason}" for each in batch.rejected)
    return [item for pair in totals.items() if pair[1] or pair[0] == "entries" for item in pair]


def _expected(effects: Effects) -> list[str]:
    """What each status key must still hold; "" where there must be none."""
    before = effects.before
    texts = iter(_texts(filter(None, before)))
    expected = ["" if status is None else next(texts) for status in before]
    if effects.texts:
        return [effects.texts.get(*each) for each in zip(effects.after, expected, strict=True)]
    return expected


def _texts(documents: Iterable[Status | Change]) -> list[str]:
    """Write documents, none of which has a newline: in JSON text it is escaped."""
    return _encode_lines(documents).decode().split("\n")[:-1]
