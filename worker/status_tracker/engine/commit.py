"""From a batch to what its commit is called with. Pure: no I/O."""

from collections import defaultdict
from collections.abc import Iterable, Sequence

import msgspec

from status_tracker.engine.batch import Batch, Forward
from status_tracker.engine.statuses import Effects
from status_tracker.keys import GROUP, PartitionKeys
from status_tracker.lua import commit as script
from status_tracker.lua.commit import Call, Payload, PhaseMoves
from status_tracker.models import AssetChange, Change, Kind, Status, TaskChange

_encode_lines = msgspec.json.Encoder().encode_lines

_CHANGES: dict[Kind, type[Change]] = {"task": TaskChange, "asset": AssetChange}


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
        prefix = own.statuses[kind]
        status_keys += [prefix + entity_id for entity_id in effects.after]
        documents += _texts(effects.after.values())
        expected += _expected(effects)
    phases, counts = _index(batch.changes, own)
    payload = Payload(
        read_from=batch.read_from,
        cursor=batch.cursor,
        entries=batch.entries,
        documents=documents,
        expected=expected,
        phases=list(phases.values()),
        counts=[[item for pair in counts[kind].items() for item in pair] for kind in counts],
        changes=_texts(batch.changes),
        rejected=[
            {"reason": each.reason, "detail": each.detail, "stream": each.stream, "id": each.id}
            for each in batch.rejected
        ],
        forwards=[len(updates) for updates in forwards.values()],
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
        counts=[own.counts[kind] for kind in counts],
        statuses=status_keys,
        phases=list(phases),
        forwards=list(forwards),
        group=GROUP,
        payload=payload,
        raw=raw,
    )


def _index(
    changes: Sequence[Change], own: PartitionKeys
) -> tuple[dict[str, PhaseMoves], dict[Kind, dict[str, int]]]:
    """Sum changes up: one move of an entity, however often it changed, and counts by phase."""
    phases: dict[str, PhaseMoves] = {}
    counts: dict[Kind, dict[str, int]] = {"task": {}, "asset": {}}
    for kind, change_type in _CHANGES.items():
        of_kind = [change for change in changes if type(change) is change_type]
        starts = {change.id: change.from_phase for change in reversed(of_kind)}
        ends = {change.id: change for change in of_kind}
        moved: dict[str | None, PhaseMoves] = defaultdict(PhaseMoves)
        for entity_id, start in starts.items():
            moved[start].left.append(entity_id)
        for entity_id, change in ends.items():
            moved[change.phase].entered += (str(change.updated_at), entity_id)
        for phase, moves in moved.items():
            if phase is not None:  # new entities left nothing
                phases[own.phases[kind][phase]] = moves
                counts[kind][phase] = len(moves.entered) // 2 - len(moves.left)
    return phases, counts


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
