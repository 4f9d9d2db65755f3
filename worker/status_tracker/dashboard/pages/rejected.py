"""The entries that were not applied: how many for which reason, and each."""

import shlex
from collections import Counter
from collections.abc import AsyncIterator

from msgspec import Struct, field
from starlette.requests import Request
from starlette.responses import Response

from status_tracker.client.documents import Rejected, RejectedPage, entity_in
from status_tracker.dashboard.api.answers import Query
from status_tracker.dashboard.asking import in_time, page_query
from status_tracker.dashboard.deployment import Backing, backing_of
from status_tracker.dashboard.live.view import Tally, View
from status_tracker.dashboard.pages.making import Command, made
from status_tracker.dashboard.pages.overview import Rejection, rejection
from status_tracker.dashboard.pages.reasons import advice_on
from status_tracker.dashboard.pages.words import shown

LOOKED_AT = 10_000
"""Entries, the newest, that a page is made of: there may be millions."""

MOST_BYTES = 16_777_216
"""Bytes of them: each may be as large as an update."""

ON_A_PAGE = 100
"""Entries from which on a page has enough; it has less than two times as many."""

MOST_GROUPS = 50
"""Reasons that are shown: other hands than workers' may write any."""


class OfRejected(Query, frozen=True, kw_only=True):
    """Which of them are meant; "" for any, as forms send it."""

    reason: str = ""
    kind: str = ""
    id: str = ""
    after: str | None = None


class Group(Struct):
    """The entries that were rejected for one reason, of those that were looked at."""

    reason: str
    last: int
    """When the last and the first of them were rejected, in ms since the epoch."""
    example: Rejection
    """The last one."""
    since: int = 0
    count: int = 0
    kinds: Counter[str] = field(default_factory=Counter)


class Found(Struct):
    """What a look found."""

    groups: dict[str, Group] = field(default_factory=dict)
    entries: list[Rejection] = field(default_factory=list)
    """A page of them, the newest first."""
    after: str | None = None
    """Where the next page begins; None at the end."""
    looked_at: int = 0
    is_all: bool = False
    """Whether no older ones are kept."""


async def rejected(request: Request) -> Response:
    """Answer with what was rejected."""
    asked, backing = page_query(request, OfRejected), backing_of(request)
    look = await in_time(backing.look())
    found = await in_time(_look(backing, asked))
    groups = sorted(found.groups.values(), key=lambda each: -each.count)
    is_narrow = bool(asked.kind or asked.id)
    return made(
        request,
        look,
        "rejected.html",
        # Totals tell how many of a reason come, and nothing of whom they are.
        View(tally=None if is_narrow else Tally(asked.reason, look.rejected(asked.reason))),
        title=shown(asked.reason, 60) or "Rejected",
        here="rejected/",
        asked=asked,
        found=found,
        groups=groups[:MOST_GROUPS],
        # They are counted a moment before.
        ever={each.reason: max(look.rejected(each.reason), each.count) for each in groups},
        advice=advice_on(asked.reason) if asked.reason else None,
        commands=_commands(asked),
        is_narrow=is_narrow,
    )


async def _look(backing: Backing, asked: OfRejected) -> Found:
    """Look at the newest; on a later page, only until it has enough."""
    found = Found(after=asked.after)
    is_full = False
    async for page in newest(backing, LOOKED_AT, asked.after):
        for each in page.entries:
            _take(found, each, asked, is_full=is_full)
        found.looked_at += len(page.entries)
        if not is_full:
            found.after = page.after
            is_full = len(found.entries) >= ON_A_PAGE
        found.is_all = page.after is None
        if is_full and asked.after:
            break
    return found


async def newest(
    backing: Backing, most: int, after: str | None = None
) -> AsyncIterator[RejectedPage]:
    """Yield pages of them, the newest first, until it were too many, or too large."""
    count = size = 0
    while True:
        page = await backing.reader.rejected(newest=True, limit=ON_A_PAGE, after=after)
        yield page
        after = page.after
        count += len(page.entries)
        size += sum(len(each.data) for each in page.entries)
        if after is None or count >= most or size >= MOST_BYTES:
            return


def _take(found: Found, entry: Rejected, asked: OfRejected, *, is_full: bool) -> None:
    """Take in an entry, if it is one of those that are meant."""
    if asked.reason not in ("", entry.reason):
        return
    about = entity_in(entry.data)
    if asked.kind not in ("", about.kind) or asked.id not in ("", about.id):
        return
    group = found.groups.get(entry.reason)
    if group is None:
        group = Group(entry.reason, entry.at, rejection(entry))
        found.groups[entry.reason] = group
    group.since = entry.at
    group.count += 1
    group.kinds[about.kind] += 1
    if not is_full:
        found.entries.append(rejection(entry))


def _commands(asked: OfRejected) -> list[Command]:
    """Return what does the same in a shell, for all that are kept."""
    given = {"reason": asked.reason, "kind": asked.kind, "id": asked.id}
    options = [f"--{name}={value}" for name, value in given.items() if value]

    def command(*words: str) -> str:
        return shlex.join(["status-tracker", "rejected", *words])

    found = [Command(command("list", "--each", *options), "list all that are kept")]
    if options:
        found += [
            Command(command("replay", *options, "--dry-run"), "say what each would do now"),
            Command(command("replay", *options), "send them again"),
            Command(command("purge", *options), "say how many; with --yes, take them away"),
        ]
    return found
