"""Parts of open pages, drawn again: by the templates that made the pages."""

from collections.abc import Sequence

from status_tracker.dashboard.deployment import Look
from status_tracker.dashboard.live.view import Region, Row
from status_tracker.dashboard.pages.attention import concerns
from status_tracker.dashboard.pages.chart import chart
from status_tracker.dashboard.pages.fleet import owned
from status_tracker.dashboard.pages.rendering import Looks, macros
from status_tracker.dashboard.seen import Seen
from status_tracker.models import Change, Status


def draw_row(
    look: Look, row: Row, status: Status | None, since: float | None, stalled: float | None
) -> str:
    """Draw an entity in a list."""
    looks = Looks(look.deployment.rules)
    parts = macros("parts.html")
    drawn = parts.row(
        row.kind, row.id, status, looks, look.now, since=since, stalled=stalled, live=True
    )
    return str(drawn)


def draw_entity(
    look: Look, row: Row, status: Status | None, stalled: float | None, history: Sequence[Change]
) -> str:
    """Draw all that there is of an entity."""
    looks = Looks(look.deployment.rules)
    parts = macros("entity_parts.html")
    drawn = parts.entity(look, row.kind, row.id, status, stalled, history, looks, live=True)
    return str(drawn)


def draw_region(look: Look, seen: Seen, region: Region) -> str:
    """Draw a region."""
    parts, looks = macros("regions.html"), Looks(look.deployment.rules)
    match region.name:
        case "health" | "attention":
            drawn = getattr(parts, region.name)(concerns(look, seen))
        case "kinds":
            drawn = parts.kinds(look, looks)
        case "rates":
            drawn = parts.rates(chart(seen.rates(), look.now))
        case "workers":
            drawn = parts.workers(look, live=True)
        case "partitions":
            drawn = parts.partitions(look, owned(look, seen), live=True)
        case "phases" if region.kind in look.deployment.rules.kinds:
            drawn = parts.phases(look, looks, region.kind, region.phase)
        case _:
            drawn = ""
    return str(drawn)
