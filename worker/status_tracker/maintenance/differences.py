"""What differs between two spools. Pure."""

from collections.abc import Iterable, Iterator
from heapq import merge
from itertools import groupby
from typing import NamedTuple

from status_tracker.maintenance.snapshot import Entity, Text, entity_of
from status_tracker.maintenance.spool import Spooled


class Difference(NamedTuple):
    """What is not as it is to be."""

    what: str
    """``status``, ``score`` or ``history``; ``missing`` or ``extra`` where it is all of it."""
    kind: str
    id: str
    expected: str
    found: str


class Pair(NamedTuple):
    """An entity that is not the same on both sides."""

    kind: str
    id: str
    expected: Entity | None
    found: Entity | None


def pairs(expected: Iterable[Spooled], found: Iterable[Spooled]) -> Iterator[Pair]:
    """Yield what is not the same, of entities that are in the order of their kinds and ids."""
    sides = merge(
        ((each.kind, each.id, "expected", each.line) for each in expected),
        ((each.kind, each.id, "found", each.line) for each in found),
    )
    for (kind, entity_id), group in groupby(sides, lambda each: each[:2]):
        lines = {side: line for _, _, side, line in group}
        if lines.get("expected") != lines.get("found"):
            entities = {side: entity_of(line) for side, line in lines.items()}
            yield Pair(kind, entity_id, entities.get("expected"), entities.get("found"))


def differences(pair: Pair) -> Iterator[Difference]:
    """Yield what differs of an entity; nothing where that is only how the server writes a score."""
    kind, entity_id, expected, found = pair
    if expected is None or found is None:
        what = "extra" if expected is None else "missing"
        yield Difference(what, kind, entity_id, _told(expected), _told(found))
        return
    sides = [
        ("status", _shown(expected.status), _shown(found.status)),
        ("score", str(_scores(expected)), str(_scores(found))),
        ("history", str(expected.history), str(found.history)),
    ]
    for what, wanted, there in sides:
        if wanted != there:
            yield Difference(what, kind, entity_id, wanted, there)


def _scores(entity: Entity) -> dict[str, float]:
    """Return scores as numbers: the server writes them in another way than we do."""
    return {phase: float(score) for phase, score in sorted(entity.index.items())}


def _shown(text: Text | None) -> str:
    if text is None:
        return "nothing"
    return text if isinstance(text, str) else str(text.base64)


def _told(entity: Entity | None) -> str:
    return "nothing" if entity is None else _shown(entity.status)
