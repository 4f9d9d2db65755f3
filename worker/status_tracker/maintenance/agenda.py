"""Who is to be looked at when."""

from heapq import heappop, heappush
from typing import NamedTuple


class Entity(NamedTuple):
    """An entity, and the number of its partition."""

    number: int
    kind: str
    id: str


class Agenda:
    """Entities by the time, in milliseconds, at which they are to be looked at."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, Entity]] = []
        # All times of an entity in it, the earliest last.
        self._times: dict[Entity, list[float]] = {}

    def add(self, at: float, entity: Entity) -> None:
        """Have an entity looked at, unless it is to be earlier: then more is known."""
        times = self._times.setdefault(entity, [])
        if not times or at < times[-1]:
            times.append(at)
            heappush(self._heap, (at, entity))

    def take(self, now: float, most: int) -> list[Entity]:
        """Return those whose time has come, each once, and forget these times."""
        found: dict[Entity, None] = {}
        while self._heap and self._heap[0][0] <= now and len(found) < most:
            _, entity = heappop(self._heap)
            found[entity] = None
            times = self._times[entity]
            times.pop()
            if not times:
                del self._times[entity]
        return list(found)
