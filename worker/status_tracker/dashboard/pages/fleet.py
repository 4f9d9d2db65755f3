"""Who reads what, and how far behind."""

from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response

from status_tracker.dashboard.asking import in_time
from status_tracker.dashboard.deployment import Look, backing_of
from status_tracker.dashboard.live.view import Region, RegionName, View
from status_tracker.dashboard.pages.making import made
from status_tracker.dashboard.seen import Seen
from status_tracker.monitoring.fleet import PartitionState


class Owned(Struct, frozen=True):
    """A partition."""

    state: PartitionState
    lag: int
    """Entries; at most so many where the server cannot tell."""
    rejected: int
    rate: float | None
    """Updates a second; None where that was not seen."""
    moved: int | None
    """When its owner changed, in ms; None where that was not seen."""
    is_wrong: bool


def owned(look: Look, seen: Seen) -> list[Owned]:
    """Return the partitions."""
    return [
        Owned(
            state=each,
            lag=lag,
            rejected=sum(each.totals.rejected.values()),
            rate=seen.rate_of(each.number),
            moved=seen.owned_since.get(each.number),
            is_wrong=each.owner is None or not each.is_cursor_an_id,
        )
        for each, lag in zip(look.overview.fleet.partitions, look.overview.lag, strict=True)
    ]


async def fleet(request: Request) -> Response:
    """Answer with the workers and partitions."""
    backing = backing_of(request)
    look = await in_time(backing.look())
    names: tuple[RegionName, ...] = ("attention", "workers", "partitions")
    regions = [Region(name) for name in names]
    return made(
        request,
        look,
        "fleet.html",
        View(regions=regions),
        title="Fleet",
        here="fleet/",
        rows=owned(look, backing.seen),
    )
