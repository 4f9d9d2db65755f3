"""The first page: what needs a person, how much there is of everything, and what went wrong."""

import asyncio
import heapq
from collections.abc import Sequence

from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response

from status_tracker.client.documents import Rejected, entity_in
from status_tracker.dashboard.asking import in_time
from status_tracker.dashboard.deployment import Backing, Look, backing_of
from status_tracker.dashboard.live.view import Region, RegionName, View
from status_tracker.dashboard.pages.chart import chart
from status_tracker.dashboard.pages.making import Listed, made, rows_of
from status_tracker.dashboard.pages.phases import tone_of

MOST_WRONG = 8
"""Entities, and entries, that are shown of those that went wrong."""


class Rejection(Struct, frozen=True):
    """An entry that was not applied."""

    entry: str
    at: int
    reason: str
    detail: str
    who: str
    """Kind and id, as far as they can be read."""


async def overview(request: Request) -> Response:
    """Answer with the first page."""
    backing = backing_of(request)
    look = await in_time(backing.look())
    phases = wrong_phases(look)
    wrong, rejected = await asyncio.gather(
        in_time(_wrong(backing, phases)),
        in_time(backing.reader.rejected(newest=True, limit=MOST_WRONG)),
    )
    kind, life = next(iter(look.deployment.rules.kinds.items()))
    names: tuple[RegionName, ...] = ("attention", "kinds", "rates", "workers")
    regions = [Region(name) for name in names]
    return made(
        request,
        look,
        "overview.html",
        View(regions=regions, rows=rows_of(wrong), lists=phases),
        title="Overview",
        here="overview",
        chart=chart(backing.seen.rates(), look.now),
        wrong=wrong,
        wrong_phases=sorted({phase for _, phase in phases}),
        rejected=list(map(rejection, rejected.entries)),
        is_empty=not any(look.overview.entities.values()) and not rejected.entries,
        first={"kind": kind, "phase": next(each for each in life.phases if each in life.initial)},
    )


def rejection(found: Rejected) -> Rejection:
    """Return an entry as it is shown."""
    about = entity_in(found.data)
    who = f"{about.kind} {about.id}".strip() or found.stream
    return Rejection(found.entry, found.at, found.reason, found.detail, who)


def wrong_phases(look: Look) -> list[tuple[str, str]]:
    """Return the phases that mean that something went wrong, with their kinds."""
    kinds = look.deployment.rules.kinds.items()
    return [
        (kind, phase)
        for kind, life in kinds
        for phase in life.phases
        if tone_of(life, phase) == "wrong"
    ]


async def _wrong(backing: Backing, phases: Sequence[tuple[str, str]]) -> list[Listed]:
    """Return those who went wrong last."""
    found: list[Listed] = []
    for kind, phase in phases:
        page = await backing.reader.list(kind, phase, limit=MOST_WRONG)
        found += [
            Listed(kind, each, status, page.since[each]) for each, status in page.statuses.items()
        ]
    return heapq.nlargest(MOST_WRONG, found, key=lambda each: each.since or 0)
