"""What the samples of a calm time tell: how soon others take over, and who has to wait for it."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

from tests.chaos.sampler import Sample
from tests.chaos.sites import PARTITIONS
from tests.chaos.system import Pace


class Absence(NamedTuple):
    """A worker was away, and everything else was well."""

    fault: str
    worker: str
    began: float
    ended: float
    """When the fleet was whole and balanced again."""


class Timing(NamedTuple):
    """Seconds that something took, each time that it was measured."""

    name: str
    pace: Pace
    target: float | None
    """Seconds that it may take; None where nothing was promised."""
    seconds: list[float]

    @property
    def held(self) -> bool:
        """Whether the target was, each time, and there was a time."""
        return bool(self.seconds) and (self.target is None or max(self.seconds) <= self.target)

    def __str__(self) -> str:
        worst = f"{max(self.seconds):.2f} s" if self.seconds else "none"
        target = "" if self.target is None else f"{self.target:.2f} s"
        verdict = "" if self.target is None else "held" if self.held else "MISSED"
        return f"{self.name:<52}{len(self.seconds):>6}{worst:>9}{target:>9}  {verdict}".rstrip()


class Measured(NamedTuple):
    """The samples of a calm time, and what was done in it."""

    pace: Pace
    samples: Sequence[Sample]
    absences: Sequence[Absence]


def timings(measured: Sequence[Measured]) -> dict[Pace, list[Timing]]:
    """Return what was measured at each pace, over all rounds."""
    found: dict[Pace, list[Measured]] = defaultdict(list)
    for each in measured:
        found[each.pace].append(each)
    return {pace: _at_pace(pace, parts) for pace, parts in found.items()}


def table(by_pace: Mapping[Pace, Sequence[Timing]]) -> Iterator[str]:
    """Yield the lines of a table."""
    for pace, found in by_pace.items():
        title = f"lease_ttl {pace.ttl / 1000:g} s, heartbeat {pace.heartbeat} ms"
        yield f"{title:<52}{'times':>6}{'longest':>9}{'target':>9}"
        yield from map(str, found)


def _at_pace(pace: Pace, measured: Sequence[Measured]) -> list[Timing]:
    killed: list[float] = []
    stopped: list[float] = []
    rebalanced: list[float] = []
    paused: list[float] = []
    for samples, absences in ((each.samples, each.absences) for each in measured):
        killed += (takeover(samples, each) for each in absences if each.fault == "worker killed")
        stopped += (takeover(samples, each) for each in absences if each.fault == "worker stopped")
        rebalanced += rebalances(samples)
        for absence in absences:
            paused += pauses([at for at in samples if absence.began <= at.at <= absence.ended])
    ttl, heartbeat = pace.ttl / 1000, pace.heartbeat / 1000
    return [
        Timing("take-over after kill -9", pace, ttl + 1, killed),
        Timing("take-over after a clean stop", pace, 1, stopped),
        Timing("who comes or goes, until all is balanced", pace, 2 * heartbeat, rebalanced),
        Timing("longest pause of a partition that was not affected", pace, None, paused),
    ]


def takeover(samples: Sequence[Sample], absence: Absence) -> float:
    """Return how long it took until others owned all that the worker had."""
    before = [sample for sample in samples if sample.at <= absence.began][-1]
    had = [number for number in range(PARTITIONS) if before.owners[number] == absence.worker]
    for sample in samples:
        if sample.at > absence.began and all(
            sample.owners[number] not in (None, absence.worker) for number in had
        ):
            return sample.at - absence.began
    raise AssertionError(f"nobody took over from {absence.worker}")


def rebalances(samples: Sequence[Sample]) -> Iterator[float]:
    """Yield how long it took, after each worker that came or went, until all was balanced."""
    changed = None
    for before, sample in pairwise(samples):
        if sample.workers != before.workers:
            changed = before.at
        if changed is not None and sample.balanced:
            yield sample.at - changed
            changed = None


def pauses(samples: Sequence[Sample]) -> Iterator[float]:
    """Yield the longest pause of each partition that stayed with its owner all the time.

    A pause is a time in which the cursor did not move although there was something to read.
    """
    for number in range(PARTITIONS):
        if len({sample.owners[number] for sample in samples}) == 1:
            yield _longest_pause(samples, number)


def _longest_pause(samples: Sequence[Sample], number: int) -> float:
    longest = 0.0
    since = None
    for before, sample in pairwise(samples):
        if not before.unread[number]:
            since = None
            continue
        since = since or before.at
        longest = max(longest, sample.at - since)
        if sample.cursors[number] != before.cursors[number]:
            since = None
    return longest
