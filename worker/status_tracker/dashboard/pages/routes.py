"""Where the pages are: all on one level, so that relative addresses work below any path."""

from starlette.responses import Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from status_tracker.dashboard.pages.entity import entity
from status_tracker.dashboard.pages.fleet import fleet
from status_tracker.dashboard.pages.kind import kind
from status_tracker.dashboard.pages.making import shows_problems
from status_tracker.dashboard.pages.overview import overview
from status_tracker.dashboard.pages.rejected import rejected
from status_tracker.dashboard.pages.rejected_entry import rejected_entry
from status_tracker.dashboard.pages.rendering import DIGEST, STATIC
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

    async def get_response(self, path: str, scope: Scope) -> Response:
        """Answer with one, which browsers may keep.

        Not where a page of another release asks, while one takes the place of the other: it would
        have these files for as long.
        """
        found = await super().get_response(path, scope)
        if scope["path_params"]["digest"] == DIGEST:
            found.headers["Cache-Control"] = "private, max-age=31536000, immutable"
        return found


def routes() -> list[BaseRoute]:
    """Return the pages, and the files that they load."""
    found: list[BaseRoute] = [Route(path, shows_problems(each)) for path, each in PAGES.items()]
    return [*found, Mount("/static/{digest}", _Files(directory=STATIC))]
