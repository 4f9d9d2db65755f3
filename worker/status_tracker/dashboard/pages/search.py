"""Entities by their ids, or the beginnings of them."""

from typing import Annotated

from msgspec import Meta
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from status_tracker.dashboard.api.answers import Query
from status_tracker.dashboard.asking import in_time, page_query
from status_tracker.dashboard.deployment import Backing, Look, backing_of
from status_tracker.dashboard.live.view import MOST_ROWS, View
from status_tracker.dashboard.pages.kind import INCOMPLETE, begins
from status_tracker.dashboard.pages.making import Listed, made, rows_of
from status_tracker.dashboard.pages.rendering import address

MOST_FOUND = 50
"""Entities of a kind; less where there are so many kinds that a page could not show them all."""


class OfSearch(Query, frozen=True, kw_only=True):
    """What is looked for."""

    q: Annotated[str, Meta(max_length=256)] = ""


async def search(request: Request) -> Response:
    """Answer with what was found; with the entity's own page where just one is called so."""
    asked, backing = page_query(request, OfSearch), backing_of(request)
    wanted = asked.q.strip()
    look = await in_time(backing.look())
    exact = await in_time(_called(backing, look, wanted)) if wanted else []
    if len(exact) == 1:
        return RedirectResponse(address("entity", kind=exact[0].kind, id=exact[0].id), 303)
    found: dict[str, list[Listed]] = {}
    complete = True
    if wanted:
        found, complete = await in_time(_beginning(backing, look, wanted))
    shown = [each for some in found.values() for each in some]
    return made(
        request,
        look,
        "search.html",
        View(rows=rows_of(shown)),
        title="Search",
        here="search/",
        query=wanted,
        found={kind: some for kind, some in found.items() if some},
        notice="" if complete else INCOMPLETE,
    )


async def _called(backing: Backing, look: Look, entity_id: str) -> list[Listed]:
    """Return those that are called just so, of any kind."""
    found = []
    for kind in look.deployment.rules.kinds:
        status = await backing.reader.get(kind, entity_id)
        if status is not None:
            found.append(Listed(kind, entity_id, status))
    return found


async def _beginning(
    backing: Backing, look: Look, wanted: str
) -> tuple[dict[str, list[Listed]], bool]:
    """Return those whose ids begin so, by kind; and whether these are all."""
    found: dict[str, list[Listed]] = {}
    complete = True
    kinds = look.deployment.rules.kinds
    most = min(MOST_FOUND, MOST_ROWS // len(kinds))
    for kind in kinds:
        found[kind], are_all = await begins(backing, kind, wanted, limit=most)
        complete = complete and are_all
    return found, complete
