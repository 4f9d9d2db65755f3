"""When a deployment is well: every partition has an owner that lives, and none lags too far."""

import re
from collections.abc import Iterable, Iterator
from typing import Literal

from msgspec import Struct

from status_tracker.monitoring.fleet import (
    FleetState,
    PartitionState,
    RejectedState,
    WorkerState,
)
from status_tracker.units import duration

HAND_OVER = 1 / 3
"""How much of a lease may be left when its owner counts as gone: a worker renews its leases, and
notes that it lives, each by itself at every heartbeat, which is at most this part of a lease."""


class MaxLag(Struct, frozen=True):
    """How far a partition may lag: the value of `--max-lag`."""

    text: str
    """As it was given."""
    entries: int | None = None
    seconds: float | None = None

    @classmethod
    def parse(cls, text: str) -> "MaxLag":
        """Read a number of entries or a duration; raises ValueError for anything else."""
        if re.fullmatch(r"\d{1,15}", text):
            return cls(text, entries=int(text))
        try:
            return cls(text, seconds=duration(text) / 1000)
        except ValueError as error:
            raise ValueError(f'{error}, or a number of entries: "1000"') from None

    def excess(self, view: PartitionState) -> str | None:
        """Say how far a partition lags that lags too far."""
        if self.seconds is not None and view.lag_seconds > self.seconds:
            return f"{view.lag_seconds:,.1f} s, over --max-lag {self.text}"
        if self.entries is None:
            return None
        if view.lag is None:
            return f"an unknown number of entries, which counts as over --max-lag {self.text}"
        if view.lag > self.entries:
            entries = "entry" if view.lag == 1 else "entries"
            return f"{view.lag:,} {entries}, over --max-lag {self.text}"
        return None


class Trouble(Struct, frozen=True):
    """Something that is not right in a partition."""

    about: Literal["owner", "lease", "cursor", "lag", "lost", "rules"]
    found: str
    mend: str = ""
    """What to do, where that is not plain."""

    def __str__(self) -> str:
        return f"{self.found}: {self.mend}" if self.mend else self.found


class Report(Struct, frozen=True):
    """What is shown of a deployment."""

    healthy: bool
    problems: list[str]
    notes: list[str]
    """What somebody should do, although it is past: it makes nothing unhealthy."""
    partitions: list[PartitionState]
    workers: list[WorkerState]
    rejected: RejectedState | None
    """None where nothing could be seen."""
    revision: int | None
    """Of the rules in force; None likewise."""


def report(fleet: FleetState, troubles: Iterable[Trouble]) -> Report:
    """Say how a deployment is that has these troubles, which `problems_of` finds."""
    problems = list(map(str, troubles))
    return Report(
        not problems,
        problems,
        [str(each) for each in notes_of(fleet)],
        fleet.partitions,
        fleet.workers,
        fleet.rejected,
        fleet.revision,
    )


def problems_of(
    fleet: FleetState, max_lag: MaxLag | None, *, lease_ttl: float
) -> Iterator[Trouble]:
    """Yield what is wrong, by partitions.

    A worker that was not heard of for longer than `lease_ttl` seconds does not live, as workers see
    each other, too.
    """
    ages = {worker.name: worker.heartbeat_age for worker in fleet.workers}
    for view in fleet.partitions:
        if view.owner is None:
            yield Trouble("owner", f"partition {view.number} has no owner")
        elif view.lease_left is None:
            found = f"partition {view.number} stays with {view.owner} for ever"
            yield Trouble("lease", found, "its lease does not run out; delete it")
        elif view.lease_left > lease_ttl * HAND_OVER:
            age = ages.get(view.owner)
            if age is None or age > lease_ttl:
                yield _held_by_nobody(view, age)
        if not view.is_cursor_an_id:
            yield Trouble(
                "cursor",
                f"partition {view.number} holds the cursor {view.cursor}, which is no entry ID",
                "set it to the ID of the last entry applied",
            )
        excess = max_lag and max_lag.excess(view)
        if excess:
            yield Trouble("lag", f"partition {view.number} lags by {excess}")


def notes_of(fleet: FleetState) -> Iterator[Trouble]:
    """Yield what somebody should know, although it makes nothing unhealthy."""
    for view in fleet.partitions:
        lost = view.totals.lost
        if lost:
            what, were = ("entry", "it was") if lost == 1 else ("entries", "they were")
            yield Trouble(
                "lost",
                f"partition {view.number} has lost {lost:,} {what}, trimmed or deleted before "
                f"{were} read",
                "trim below the last-delivered ID of its group only",
            )
        if view.revision is not None and view.revision != fleet.revision:
            yield Trouble(
                "rules",
                f"partition {view.number} goes by revision {view.revision} of the rules, and "
                f"{fleet.revision} is in force",
                "its owner has not seen it yet, or cannot read it",
            )


def _held_by_nobody(view: PartitionState, age: float | None) -> Trouble:
    who = "which is no live worker"
    if age is not None:
        who = f"which was last heard of {age:,.0f} s ago"
    return Trouble(
        "lease",
        f"partition {view.number} is held for {view.lease_left:,.0f} s more by {view.owner}, {who}",
        "start that worker again, or delete its lease",
    )
