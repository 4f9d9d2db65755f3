"""What needs a person, the worst first."""

from collections.abc import Iterator
from typing import Literal

from msgspec import Struct

from status_tracker.dashboard.deployment import Look
from status_tracker.dashboard.pages.rendering import address
from status_tracker.dashboard.pages.words import number, span
from status_tracker.dashboard.seen import Seen

LATE = 5.0
"""Seconds that an update may wait to be read until people should know."""


class Concern(Struct, frozen=True):
    """Something to look at."""

    level: Literal["bad", "warn"]
    text: str
    href: str


def concerns(look: Look, seen: Seen) -> list[Concern]:
    """Return what there is."""
    found = list(_concerns(look, seen))
    return sorted(found, key=lambda each: each.level != "bad")


def _concerns(look: Look, seen: Seen) -> Iterator[Concern]:
    if not look.overview.fleet.workers:
        text = "no worker is alive, so nothing is read: start one by status-tracker run"
        yield Concern("bad", text, "fleet")
    for trouble in look.troubles:
        # Without a worker, no partition has an owner.
        if look.overview.fleet.workers or trouble.about != "owner":
            yield Concern("bad", str(trouble), "fleet")
    for view, lag in zip(look.overview.fleet.partitions, look.overview.lag, strict=True):
        if view.lag_seconds > LATE:
            waits = span(view.lag_seconds * 1000)
            updates = "1 update waits" if lag == 1 else f"{number(lag)} updates wait"
            text = f"partition {view.number} is behind: {updates}, the first one for {waits}"
            yield Concern("bad", text, "fleet")
    for note in look.report.notes:
        yield Concern("warn", note, "fleet")
    for kind, count in look.overview.stalled.items():
        if count:
            what = f"1 {kind} has" if count == 1 else f"{number(count)} of kind {kind} have"
            text = f"{what} had no update for longer than the rules allow"
            yield Concern("warn", text, address("kind", kind=kind, phase="stalled"))
    rejected = seen.rejected_lately()
    if rejected:
        updates = "1 update was" if rejected == 1 else f"{number(rejected)} updates were"
        yield Concern("warn", f"{updates} rejected in the last minute", "rejected")
