"""The entities of a kind, by phase."""

from typing import Annotated, Literal

from msgspec import Meta, Struct
from starlette.requests import Request
from starlette.responses import Response

from status_tracker.dashboard.api.answers import Query
from status_tracker.dashboard.asking import in_time, page_query
from status_tracker.dashboard.deployment import Backing, Look, backing_of
from status_tracker.dashboard.live.view import Region, View
from status_tracker.dashboard.pages.diagram import diagram
from status_tracker.dashboard.pages.making import Listed, life_of, made, rows_of
from status_tracker.dashboard.pages.phases import tone_of
from status_tracker.dashboard.pages.rendering import Looks
from status_tracker.dashboard.problems import ProblemError
from status_tracker.lifecycle import Lifecycle
from status_tracker.text import listed

ON_A_PAGE = 100

STALLED = "stalled"
"""What the tab of those is called; a phase may have that name, too, and then comes first."""


class OfKind(Query, frozen=True, kw_only=True):
    """Which page is meant."""

    kind: str
    phase: str | None = None
    order: Literal["newest", "oldest"] = "newest"
    after: str | None = None
    id: Annotated[str, Meta(max_length=256)] = ""
    """How ids are to begin."""


class Found(Struct, frozen=True):
    """A page of a list."""

    rows: list[Listed]
    after: str | None = None
    notice: str = ""


async def kind(request: Request) -> Response:
    """Answer with a page of the entities of a kind."""
    asked, backing = page_query(request, OfKind), backing_of(request)
    look = await in_time(backing.look())
    life = life_of(look, asked.kind)
    counts = look.counts(asked.kind)
    phase = asked.phase or _first(life, counts)
    if phase not in [*life.phases, STALLED]:
        raise ProblemError(404, f"phase: {phase}; must be {listed(life.phases)}")
    found = await in_time(_found(backing, asked, phase, life))
    is_first = asked.after is None and not asked.id and asked.order == "newest"
    return made(
        request,
        look,
        "kind.html",
        View(
            regions=[Region("phases", asked.kind, phase), Region("lifecycle", asked.kind)],
            rows=rows_of(found.rows),
            lists=[(asked.kind, phase)] if is_first and phase != STALLED else [],
        ),
        title=asked.kind,
        here=asked.kind,
        kind=asked.kind,
        phase=phase,
        order=asked.order,
        beginning=asked.id,
        rows=found.rows,
        after=found.after,
        is_later=asked.after is not None,
        notice=found.notice,
        empty=_empty(look, asked, phase, found),
        lifecycle=diagram(life, counts, Looks(look.deployment.rules), asked.kind),
    )


def _first(life: Lifecycle, counts: dict[str, int]) -> str:
    """Return the phase that people look for: where work is done, or else where anything is."""
    works = [each for each in life.phases if each not in life.initial | life.settled]
    works.sort(key=lambda each: tone_of(life, each) != "works")
    return next((each for each in [*works, *life.phases] if counts[each]), life.phases[0])


async def _found(backing: Backing, asked: OfKind, phase: str, life: Lifecycle) -> Found:
    newest = asked.order == "newest"
    if phase == STALLED and phase not in life.phases:
        page = await backing.reader.stalled(
            asked.kind, newest=newest, limit=ON_A_PAGE, after=asked.after
        )
        rows = [
            Listed(asked.kind, each, at.status, since=at.since, stalled=at.since)
            for each, at in page.entities.items()
        ]
        if not asked.id:
            return Found(rows, page.after)
        rows = [each for each in rows if each.id.startswith(asked.id)]
        return Found(rows, page.after, notice=LOOK_ON if page.after else "")
    if asked.id:
        rows, are_all = await begins(backing, asked.kind, asked.id, phase=phase, limit=ON_A_PAGE)
        return Found(rows, notice="" if are_all else INCOMPLETE)
    listed = await backing.reader.list(
        asked.kind, phase, newest=newest, limit=ON_A_PAGE, after=asked.after
    )
    marks = await backing.reader.stalled_since(asked.kind, listed.statuses)
    return Found(
        [
            Listed(asked.kind, each, status, listed.since[each], marks.get(each))
            for each, status in listed.statuses.items()
        ],
        listed.after,
    )


async def begins(
    backing: Backing, kind: str, text: str, *, phase: str | None = None, limit: int
) -> tuple[list[Listed], bool]:
    """Return entities whose ids begin so, by their ids; and whether these are all."""
    found = await backing.reader.find(kind, beginning(text), phase=phase, limit=limit)
    marks = await backing.reader.stalled_since(kind, found.statuses)
    rows = [
        Listed(kind, each, status, stalled=marks.get(each))
        for each, status in sorted(found.statuses.items())
    ]
    return rows, found.complete


INCOMPLETE = "There may be more: not all ids were looked at. Give more of the id, or all of it."

LOOK_ON = f"Only {ON_A_PAGE} were looked at: go on with the next page."


def beginning(text: str) -> str:
    """Return the pattern, as Redis has it, of what begins so."""
    return "".join(f"\\{each}" if each in "*?[]^\\-" else each for each in text) + "*"


def _empty(look: Look, asked: OfKind, phase: str, found: Found) -> str:
    if asked.id and found.after:
        return f"None of these has an id that begins with {asked.id}."
    if asked.id:
        return f"No {asked.kind} in {phase} has an id that begins with {asked.id}."
    if asked.after:
        return "This is the end of the list."
    if any(look.counts(asked.kind).values()):
        return f"No {asked.kind} is in {phase} now."
    return f"There is no {asked.kind} yet. Send one: status-tracker emit {asked.kind} ID {phase}"
