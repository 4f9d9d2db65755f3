"""Parts of open pages, drawn again: by the templates that made the pages."""

from status_tracker.dashboard.deployment import Look
from status_tracker.dashboard.live.rows import Shown
from status_tracker.dashboard.live.view import Region, Row
from status_tracker.dashboard.pages.attention import concerns
from status_tracker.dashboard.pages.chart import chart
from status_tracker.dashboard.pages.diagram import diagram
from status_tracker.dashboard.pages.entity import commands
from status_tracker.dashboard.pages.fleet import owned
from status_tracker.dashboard.pages.rendering import Looks, macros
from status_tracker.dashboard.seen import Seen


def draw_row(look: Look, looks: Looks, row: Row, shown: Shown) -> str:
    """Draw an entity in a list, of which there may be many: `looks` are made once for all."""
    drawn = macros("parts.html").row(
        row.kind,
        row.id,
        shown.status,
        looks,
        look.now,
        since=shown.since,
        stalled=shown.stalled,
        keeps_since=not shown.has_left,
        live=True,
    )
    return str(drawn)


def draw_entity(look: Look, row: Row, shown: Shown) -> str:
    """Draw all that there is of an entity."""
    looks = Looks(look.deployment.rules)
    drawn = macros("entity_parts.html").entity(
        look, row.kind, row.id, shown.status, shown.stalled, shown.history, looks, live=True
    )
    return str(drawn)


def draw_commands(look: Look, row: Row, shown: Shown) -> str:
    """Draw what to type in a shell for an entity."""
    found = commands(look, row.kind, row.id, shown.status)
    return str(macros("parts.html").shell(found))


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
        case "lifecycle" if life := look.deployment.rules.kinds.get(region.kind):
            drawn = diagram(life, look.counts(region.kind), looks, region.kind)
        case _:
            drawn = ""
    return str(drawn)
