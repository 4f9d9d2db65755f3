"""What one worker counts of its work: once a commit, from what its batches tell."""

import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import NamedTuple

from status_tracker.engine.batch import Batch

LATENCIES = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
"""Seconds: half of the updates are to show within 5 ms, and a backlog takes minutes."""

COMMITS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)
"""Seconds: after 5, a commit counts as lost."""

SIZES = (1, 2, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_000, 5_000, 10_000)
"""Entries of a commit: 2,000 at most, by default."""

CLOCKS = (-60, -10, -1, -0.1, -0.01, 0, 0.01, 0.1, 1, 10, 60)
"""Seconds: more than 60 ahead is rejected, and what is late by 1 may be."""


class Ended(NamedTuple):
    """As what an entry ended."""

    kind: str
    """Empty where the entry does not tell one."""
    outcome: str
    """``applied``, ``duplicate``, ``forwarded`` or ``rejected``."""
    reason: str = ""
    """Of a rejection."""


class Histogram:
    """How many values are at most as large as each bound, and larger than the one before."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts: list[int] = [0] * (len(bounds) + 1)
        """The last one is of those above all bounds."""
        self.sum: float = 0.0

    def observe(self, value: float, times: int = 1) -> None:
        """Count a value, for as many as it stands for."""
        self.counts[bisect_left(self.bounds, value)] += times
        self.sum += value * times


class Tally:
    """What a worker did since it started, in all its partitions.

    Another thread reads it while it is counted: each number is right, and some may be of a batch
    more than others.
    """

    def __init__(self) -> None:
        self.entries: Counter[Ended] = Counter()
        self.changes: Counter[tuple[str, str]] = Counter()
        """By kind and the phase that was entered."""
        self.retries: Counter[str] = Counter()
        self.removed: Counter[str] = Counter()
        """Entities that were taken away, by kind."""
        self.trimmed: int = 0
        """Applied entries that were trimmed."""
        self.refused: Counter[str] = Counter()
        """Commits that wrote nothing, by why."""
        self.latency: Histogram = Histogram(LATENCIES)
        self.commits: Histogram = Histogram(COMMITS)
        self.sizes: Histogram = Histogram(SIZES)
        self.clocks: dict[str, Histogram] = {}
        """By kind, how many seconds `updatedAt` is ahead of the server's clock."""
        self.server_ahead: float = 0.0
        """Milliseconds that the server's clock is ahead of ours, as far as is known."""

    @property
    def read(self) -> int:
        """How many entries were read, and committed."""
        return self.entries.total()

    @property
    def applied(self) -> int:
        """How many of them were applied."""
        return self._ended_as("applied")

    @property
    def duplicates(self) -> int:
        """How many changed nothing."""
        return self._ended_as("duplicate")

    @property
    def forwarded(self) -> int:
        """How many another partition reads again."""
        return self._ended_as("forwarded")

    @property
    def rejected(self) -> int:
        """How many are kept as rejected."""
        return self._ended_as("rejected")

    def _ended_as(self, outcome: str) -> int:
        return sum(count for each, count in self.entries.items() if each.outcome == outcome)

    def committed(self, batches: Sequence[Batch]) -> None:
        """Count what the batches of one commit did."""
        for each, count in ended(batches).items():
            self.entries[each] += count
        changes = [change for batch in batches for change in batch.changes]
        for kind in {change.kind for change in changes}:
            phases = [change.phase for change in changes if change.kind == kind]
            for phase in set(phases):  # a few phases are sooner counted than many changes
                self.changes[kind, phase] += phases.count(phase)
        for batch in batches:
            for kind, count in batch.retries.items():
                self.retries[kind] += count
            for kind, _ in batch.removed:
                self.removed[kind] += 1
        now = time.time() * 1000 + self.server_ahead
        for sample in chain.from_iterable([each.samples for each in batches]):
            self.latency.observe(max(now - sample.received, 0) / 1000, sample.stands_for)
            if sample.updated_at is not None:
                if sample.kind not in self.clocks:
                    self.clocks[sample.kind] = Histogram(CLOCKS)
                ahead = sample.updated_at - sample.received
                self.clocks[sample.kind].observe(ahead / 1000, sample.stands_for)

    def took(self, seconds: float, entries: int) -> None:
        """Count a commit."""
        self.commits.observe(seconds)
        self.sizes.observe(entries)


def ended(batches: Iterable[Batch]) -> dict[Ended, int]:
    """Return as what the entries of batches ended, and how many of them."""
    found: dict[Ended, int] = {}
    applied: dict[str, int] = {}
    for batch in batches:
        for kind, count in batch.kinds.items():
            applied[kind] = applied.get(kind, 0) + count
        if batch.duplicates or batch.forwards or batch.rejected:
            for each, count in _others(batch):
                found[each] = found.get(each, 0) + count
                applied[each.kind] -= count
    return found | {Ended(kind, "applied"): count for kind, count in applied.items() if count}


def _others(batch: Batch) -> Iterator[tuple[Ended, int]]:
    """Yield as what entries of a batch ended that were not applied, and how many of them."""
    for kind, count in batch.duplicates.items():
        yield Ended(kind, "duplicate"), count
    for forward in chain.from_iterable(batch.forwards.values()):
        yield Ended(forward.kind, "forwarded"), 1
    for entry in batch.rejected:
        yield Ended(entry.kind, "rejected", entry.reason), 1
