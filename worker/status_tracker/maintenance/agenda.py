"""Who is to be looked at when, each once."""

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
        self._there: set[Entity] = set()

    def add(self, at: float, entity: Entity) -> None:
        """Have an entity looked at, unless it is to be anyway: then it is soon enough."""
        if entity not in self._there:
            self._there.add(entity)
            heappush(self._heap, (at, entity))

    def take(self, now: float, most: int) -> list[Entity]:
        """Return those whose time has come, and forget them."""
        found: list[Entity] = []
        while self._heap and self._heap[0][0] <= now and len(found) < most:
            found.append(heappop(self._heap)[1])
        self._there.difference_update(found)
        return found
