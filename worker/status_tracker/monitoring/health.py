"""When a deployment is well: every partition has an owner, and none lags too far."""

import re
from collections.abc import Iterator

from msgspec import Struct

from status_tracker.monitoring.fleet import FleetState, PartitionState, WorkerState
from status_tracker.units import duration


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


class Report(Struct, frozen=True):
    """What is shown of a deployment."""

    healthy: bool
    problems: list[str]
    partitions: list[PartitionState]
    workers: list[WorkerState]


def report(fleet: FleetState, max_lag: MaxLag | None) -> Report:
    """Say what is wrong in a deployment, if anything."""
    problems = list(_problems(fleet, max_lag))
    return Report(not problems, problems, fleet.partitions, fleet.workers)


def _problems(fleet: FleetState, max_lag: MaxLag | None) -> Iterator[str]:
    for view in fleet.partitions:
        if view.owner is None:
            yield f"partition {view.number} has no owner"
        elif view.lease_left is None:
            yield (
                f"partition {view.number} stays with {view.owner} for ever: its lease does not "
                "run out; delete it"
            )
        excess = max_lag and max_lag.excess(view)
        if excess:
            yield f"partition {view.number} lags by {excess}"
