"""Who is to be looked at when."""

from collections import defaultdict
from heapq import heappop, heappush
from typing import NamedTuple

SPAN = 100
"""Milliseconds whose entities are kept together: of a million, a few are taken out at a time."""


class Entity(NamedTuple):
    """An entity, and the number of its partition."""

    number: int
    kind: str
    id: str


class Agenda:
    """Entities by the time, in milliseconds, at which they are to be looked at."""

    def __init__(self, awaited: defaultdict[str, set[str]]) -> None:
        """`awaited` is kept to have the ids of all that are in it, by kind."""
        self._awaited = awaited
        self._awaited.clear()
        # By the number of a span of time; and the numbers, as a heap.
        self._spans: dict[int, dict[Entity, float]] = {}
        self._heap: list[int] = []
        self._span_of: dict[Entity, int] = {}

    def add(self, at: float, entity: Entity) -> None:
        """Have an entity looked at, unless it is to be earlier: then more is known."""
        number = int(at // SPAN)
        known = self._span_of.get(entity)
        if known is not None:
            if self._spans[known][entity] <= at:
                return
            self.discard(entity)
        if number not in self._spans:
            self._spans[number] = {}
            heappush(self._heap, number)
        self._spans[number][entity] = at
        self._span_of[entity] = number
        self._awaited[entity.kind].add(entity.id)

    def discard(self, entity: Entity) -> None:
        """Forget an entity, if it is to be looked at."""
        number = self._span_of.pop(entity, None)
        if number is not None:
            del self._spans[number][entity]
            self._awaited[entity.kind].discard(entity.id)

    def take(self, now: float, most: int) -> list[Entity]:
        """Return those whose time has come, and forget them."""
        found: list[Entity] = []
        while self._heap and self._heap[0] * SPAN <= now and len(found) < most:
            span = self._spans[self._heap[0]]
            due = sorted((at, entity) for entity, at in span.items() if at <= now)
            for _, entity in due[: most - len(found)]:
                self.discard(entity)
                found.append(entity)
            if span:
                break
            del self._spans[heappop(self._heap)]
        return found
