"""One entry that was not applied: why, its bytes, and what would become of it now."""

import shlex

from starlette.requests import Request
from starlette.responses import Response

from status_tracker.client.documents import Entity, Rejected, entity_in
from status_tracker.client.judging import Judge, Verdict
from status_tracker.dashboard.api.answers import Query
from status_tracker.dashboard.asking import in_time, page_query
from status_tracker.dashboard.deployment import TRIED_FOR, Backing, Look, backing_of
from status_tracker.dashboard.live.view import View
from status_tracker.dashboard.pages.contents import contents
from status_tracker.dashboard.pages.making import Command, made
from status_tracker.dashboard.pages.overview import rejection
from status_tracker.dashboard.pages.reasons import advice_on
from status_tracker.dashboard.pages.words import shown
from status_tracker.decode import invalid_id
from status_tracker.errors import UnavailableError


class OfEntry(Query, frozen=True, kw_only=True):
    """Which one is meant."""

    entry: str


async def rejected_entry(request: Request) -> Response:
    """Answer with the page of an entry; 404 where it is not kept any more."""
    asked, backing = page_query(request, OfEntry), backing_of(request)
    look = await in_time(backing.look())
    kept = await in_time(backing.reader.rejected_entries([asked.entry]))
    found = kept[asked.entry]
    if found is None:
        return made(
            request,
            look,
            "rejected_entry.html",
            View(),
            status=404,
            title=asked.entry,
            here="rejected/",
            entry=asked.entry,
            found=None,
        )
    about = entity_in(found.data)
    return made(
        request,
        look,
        "rejected_entry.html",
        View(),
        title=shown(f"{found.reason} {about.id}".strip(), 80),
        here="rejected/",
        found=found,
        shown=rejection(found),
        about=about,
        has_page=_has_page(look, about),
        contents=contents(found.data),
        verdict=await in_time(_foreseen(backing, look, found)),
        advice=advice_on(found.reason),
        commands=_commands(found.entry),
    )


def _has_page(look: Look, about: Entity) -> bool:
    """Tell whether the entity can have a page of its own."""
    is_an_id = 0 < len(about.id) <= 256 and invalid_id(about.id) is None
    return about.kind in look.deployment.rules.kinds and is_an_id


async def _foreseen(backing: Backing, look: Look, found: Rejected) -> Verdict | None:
    """Return what would become of it now; None where that cannot be told now."""
    judge = Judge(look.deployment, TRIED_FOR)
    try:
        [verdict] = await backing.shell.run(judge.foresee([found]))
    except UnavailableError:
        return None
    return verdict


def _commands(entry: str) -> list[Command]:
    def command(*words: str) -> str:
        return shlex.join(["status-tracker", "rejected", *words])

    return [
        Command(command("show", entry), "show it"),
        Command(command("replay", entry, "--dry-run"), "say what it would do now"),
        Command(command("replay", entry), "send it again; with --yes, purge it then"),
        Command(command("purge", entry, "--yes"), "take it away for good"),
    ]
