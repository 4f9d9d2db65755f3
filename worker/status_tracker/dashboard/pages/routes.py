"""Where the pages are: all on one level, so that relative addresses work below any path."""

from typing import Any

from starlette.responses import Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from status_tracker.dashboard.pages.entity import entity
from status_tracker.dashboard.pages.fleet import fleet
from status_tracker.dashboard.pages.kind import kind
from status_tracker.dashboard.pages.making import shows_problems
from status_tracker.dashboard.pages.overview import overview
from status_tracker.dashboard.pages.rejected import rejected
from status_tracker.dashboard.pages.rejected_entry import rejected_entry
from status_tracker.dashboard.pages.rendering import STATIC
from status_tracker.dashboard.pages.search import search

PAGES = {
    "/": overview,
    "/kind": kind,
    "/entity": entity,
    "/search": search,
    "/rejected": rejected,
    "/rejected-entry": rejected_entry,
    "/fleet": fleet,
}


class _Files(StaticFiles):
    """Files whose addresses change with what is in them."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        """Answer with one, which browsers may keep."""
        found = super().file_response(*args, **kwargs)
        found.headers["Cache-Control"] = "private, max-age=31536000, immutable"
        return found


def routes() -> list[BaseRoute]:
    """Return the pages, and the files that they load."""
    found: list[BaseRoute] = [Route(path, shows_problems(each)) for path, each in PAGES.items()]
    return [*found, Mount("/static/{digest}", _Files(directory=STATIC))]
