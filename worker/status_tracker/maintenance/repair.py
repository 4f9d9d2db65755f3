"""Mending what can only be one thing, where it still is as it was judged.

What an owner has in memory stays right: it keeps statuses, and these are never written here. Nor
has the owner to do it: a commit and a mend are scripts, so one of them comes first. A mend compares
the status that it was judged by, so after a commit of that entity it does nothing. And a commit
takes the entity out of the set of its old phase and puts it into that of its new one, whatever is
there, and counts the sets; so after a mend it does what it would have done.
"""

from collections.abc import Sequence
from typing import NamedTuple

from status_tracker.connection.client import Client
from status_tracker.lua.drop_history import call as drop_call
from status_tracker.lua.drop_history import drop_history
from status_tracker.lua.reindex import call as reindex_call
from status_tracker.lua.reindex import reindex
from status_tracker.lua.script import Call
from status_tracker.maintenance.judge import (
    DROP_HISTORY,
    Difference,
    Entity,
    Held,
    Place,
    Seen,
    raw,
)


class Finding(NamedTuple):
    """A difference, and what it was judged by."""

    entity: Entity
    seen: Seen
    difference: Difference


async def mend(client: Client, findings: Sequence[Finding]) -> list[bool]:
    """Mend what can be mended; tell of each whether it was as it was judged, and is right now."""
    calls = [
        _reindexing(each, place)
        for each in findings
        if isinstance(place := each.difference.mend, Place)
    ]
    reindexed = iter(await reindex(client, calls))
    gone = [each.entity for each in findings if each.difference.mend == DROP_HISTORY]
    calls = [drop_call(status=each.status, history=each.history) for each in gone]
    dropped = iter(await drop_history(client, calls))
    return [
        next(dropped if each.difference.mend == DROP_HISTORY else reindexed) for each in findings
    ]


def _reindexing(finding: Finding, place: Place) -> Call:
    entity, seen, _ = finding
    own, kind, phase = entity.own, entity.kind, place.phase
    return reindex_call(
        status=entity.status,
        history=entity.history,
        ids=own.stalled(kind) if phase is None else own.phase(kind, phase),
        counts=None if phase is None else own.counts(kind),
        phase=phase,
        entity_id=raw(entity.id),
        document=_bytes(seen.document),
        newest=_bytes(seen.newest),
        held=seen.mark if phase is None else seen.scores.get(phase),
        wanted=place.wanted,
    )


def _bytes(held: Held) -> bytes | None:
    return held if isinstance(held, bytes) else None
