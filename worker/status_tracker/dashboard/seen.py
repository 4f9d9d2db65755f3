"""What looks at the deployment saw lately, while somebody looked: rates, and changes of owner."""

from collections import deque
from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

from status_tracker.monitoring.fleet import FleetState, PartitionState

SPAN = 300_000
"""Milliseconds that are remembered."""

GAP = 15_000
"""Milliseconds between two looks from which on nothing is said of what was between them."""

RATED_OVER = 10_000
"""Milliseconds over which a partition's rate is told."""

LATELY = 60_000
"""Milliseconds for which what was rejected counts as news."""


class Rate(NamedTuple):
    """What came in a second, between two looks."""

    at: int
    """The later one, in ms since the epoch."""
    updates: float
    rejected: float


class _Totals(NamedTuple):
    at: int
    updates: list[int]
    """Of each partition."""
    rejected: int


class Seen:
    """The last minutes."""

    def __init__(self) -> None:
        self._totals: deque[_Totals] = deque()
        self._recalled: list[int] = []
        self._owners: dict[int, str | None] = {}
        self.owned_since: dict[int, int] = {}
        """By partition, when it came to its owner, in ms; only where that was seen."""

    def add(self, at: int, fleet: FleetState) -> None:
        """Take in a look."""
        if self._totals and at == self._totals[-1].at:
            return
        if self._totals and at < self._totals[-1].at:
            self._totals.clear()  # another server has another clock
        rejected = sum(sum(each.totals.rejected.values()) for each in fleet.partitions)
        self._totals.append(_Totals(at, list(map(_updates, fleet.partitions)), rejected))
        while self._totals[0].at < at - SPAN:
            self._totals.popleft()
        for each in fleet.partitions:
            if self._owners.get(each.number, each.owner) != each.owner:
                self.owned_since[each.number] = at
            self._owners[each.number] = each.owner

    def is_blank(self, now: int) -> bool:
        """Tell whether nobody looked lately."""
        return not self._totals or now - self._totals[-1].at > LATELY

    def recall(self, rejected: list[int]) -> None:
        """Take in when entries were rejected before anybody looked, in ms."""
        self._recalled = rejected

    def rates(self) -> Iterator[Rate]:
        """Yield the rates between looks, the oldest first."""
        for before, after in pairwise(self._totals):
            updates = sum(after.updates) - sum(before.updates)
            # Where hashes were lost, the totals begin anew.
            if after.at - before.at <= GAP and updates >= 0:
                seconds = (after.at - before.at) / 1000
                rejected = max(0, after.rejected - before.rejected)
                yield Rate(after.at, updates / seconds, rejected / seconds)

    def rate_of(self, partition: int) -> float | None:
        """Return how many updates a second a partition has read lately; None where none knows."""
        first, last = self._since(RATED_OVER)
        if first is None or last.at == first.at or len(first.updates) != len(last.updates):
            return None
        updates = last.updates[partition] - first.updates[partition]
        return max(0, updates) * 1000 / (last.at - first.at)

    def rejected_lately(self) -> int:
        """Return how many were rejected lately."""
        first, last = self._since(LATELY)
        if first is None:
            return 0
        before = sum(last.at - LATELY <= at <= first.at for at in self._recalled)
        return before + max(0, last.rejected - first.rejected)

    def _since(self, within: int) -> tuple[_Totals | None, _Totals]:
        """Return the first look of so long, and the last one."""
        last = self._totals[-1] if self._totals else _Totals(0, [], 0)
        return next((each for each in self._totals if each.at >= last.at - within), None), last


def _updates(view: PartitionState) -> int:
    """Count what a partition read; what it forwarded, another one reads again."""
    totals = view.totals
    return totals.applied + totals.duplicates + sum(totals.rejected.values())
