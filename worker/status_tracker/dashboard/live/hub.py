"""Looks on behalf of all open pages: what many show is read, and drawn, once.

    the tail of the feed ──who changed phase──┐
    all rows that are shown, once a second ───┼──▶ rows and regions ──what differs──▶ each page
    the deployment, once a second ────────────┘

While no page is open, nothing is read.
"""

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager

from status_tracker.cancellation import cancelled, started
from status_tracker.dashboard.deployment import Backing, Look
from status_tracker.dashboard.feed import Told, reset
from status_tracker.dashboard.live.drawing import draw_commands, draw_entity, draw_region, draw_row
from status_tracker.dashboard.live.page import OpenPage
from status_tracker.dashboard.live.rows import MOST_SHOWN, Moved, Rows, Shown, moved
from status_tracker.dashboard.live.view import Region, Row, View
from status_tracker.dashboard.pages.rendering import Looks, element
from status_tracker.dashboard.problems import later, problem_of
from status_tracker.engine.notices import Notice
from status_tracker.text import escaped

log: logging.Logger = logging.getLogger(__name__)

TICK = 0.25
"""Seconds for which what moves is gathered: faster than that, people see nothing."""

EVERY = 1.0
"""Seconds between two looks at rows and at the deployment."""

LOOKS_WITHIN = 10.0
"""Seconds."""


class Hub:
    """All open pages, and the one loop that looks for them."""

    def __init__(self, backing: Backing) -> None:
        self._backing = backing
        self._pages: set[OpenPage] = set()
        self._rows = Rows()
        self._drawn: dict[Row, str] = {}
        """Rows of lists, as they look now."""
        self._chunk = 0
        """The next one of the feed."""
        self._token = ""
        """Of the place in the feed up to which pages were told."""
        self._due_at = 0.0
        self._seen: Look | None = None
        self._joined = asyncio.Event()
        self._unanswered = Notice()
        self._task: asyncio.Task[None] | None = None

    @contextmanager
    def keeping_up(self, view: View) -> Iterator[OpenPage]:
        """Keep a page up while it is open; raises `ProblemError` where too much is shown."""
        if not self._rows.has_room(view):
            raise later(f"open pages show {MOST_SHOWN:,} entities already")
        page = OpenPage(view)
        is_first = self._task is None or self._task.done()
        if is_first:
            self._chunk, self._token = self._backing.feed.end, self._backing.feed.head
        page.at(self._backing.clock(), self._token, None)
        self._tell_missed(page)
        self._pages.add(page)
        self._rows.add(page)
        self._joined.set()
        if is_first:
            self._task = started(self._run(), "status-tracker dashboard live")
        try:
            yield page
        finally:
            self._pages.discard(page)
            self._rows.discard(page)
            for row in page.view.rows:
                if row not in self._rows.viewers:
                    self._drawn.pop(row, None)

    async def close(self) -> None:
        """End it."""
        if self._task is not None:
            await cancelled([self._task])

    async def _run(self) -> None:
        while self._pages:
            began = time.monotonic()
            problem = None
            try:
                async with asyncio.timeout(LOOKS_WITHIN):
                    await self._look()
            except Exception as error:  # noqa: BLE001 - or all pages would stand still for ever
                problem = self._failed(error)
            for page in self._pages:
                page.at(self._backing.clock(), self._token, problem)
            await asyncio.sleep(max(0.0, TICK - (time.monotonic() - began)))
            await self._idle()

    def _failed(self, error: Exception) -> str:
        """Log why a look failed; return what pages are told, in which there is nothing of ours."""
        problem = problem_of(error)
        if problem.status == 500:
            log.error(
                "the live pages met a bug", exc_info=error, extra={"event": "background_ended"}
            )
        else:
            self._unanswered.add([escaped(str(error)) or "the server did not answer in time"])
            for why, count in self._unanswered.take().items():
                log.warning("%s", why, extra={"event": "looks_unanswered", "count": count})
        return problem.detail

    async def _idle(self) -> None:
        """Wait until the feed moves, a page comes, or it is time to look again."""
        left = self._due_at - time.monotonic()
        if left <= 0 or self._joined.is_set():
            return
        waits = [
            started(self._backing.feed.moved(self._chunk), "status-tracker dashboard moved"),
            started(self._joined.wait(), "status-tracker dashboard joined"),
        ]
        try:
            await asyncio.wait(waits, timeout=left, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await cancelled(waits)

    async def _look(self) -> None:
        """Read what may have moved, and tell each page what did."""
        self._joined.clear()
        told = self._told()
        events = moved(told)
        self._rows.apply(events)
        self._tell_newcomers(events)
        if any(each.name == "reset" for each in told):
            self._tell_gap()
        is_due = self._seen is None or time.monotonic() >= self._due_at
        if is_due:
            self._due_at = time.monotonic() + EVERY
            self._seen = None  # where this look fails, the next one makes up for it
        look = self._seen or await self._backing.look()
        # The rules may have lost a kind since a page was made, and the reader know it first.
        kinds = (await self._backing.reader.rules()).kinds
        rows = [*self._rows.unknown(kinds), *(self._rows.due() if is_due else ())]
        await self._rows.read(self._backing.reader, [row for row in rows if row.kind in kinds])
        new = [page for page in self._pages if page.is_new]
        self._draw_rows(look, new)
        await self._draw_entities(look, kinds)
        self._draw_regions(look, self._pages if is_due else new)
        for page in self._pages:
            if page.view.tally:
                page.rejected(look.rejected(page.view.tally.reason))
        for page in new:
            page.is_new = False
        self._seen = look

    def _told(self) -> list[Told]:
        """Return what the feed told since the last look; a reset where that is not all."""
        feed = self._backing.feed
        found = []
        if self._chunk < feed.first:
            found.append(reset(feed.head))
            self._chunk = feed.first
        while self._chunk < feed.end:
            chunk = feed.chunk(self._chunk)
            self._chunk += 1
            if chunk is not None:
                self._token = chunk.events[-1].token
                found += chunk.events
        return found

    def _tell_missed(self, page: OpenPage) -> None:
        """Tell a page that comes back who came while it was away."""
        if not page.view.after:
            return
        feed = self._backing.feed
        missed = feed.since(page.view.after)
        if missed is None:
            page.missed()
            return
        # The last ones are still to be told to all pages.
        coming = [feed.chunk(number) for number in range(self._chunk, feed.end)]
        told = len(missed) - sum(len(chunk.events) for chunk in coming if chunk is not None)
        page.came(_entered(moved(event for event, _ in missed[: max(0, told)])))

    def _tell_newcomers(self, events: Iterable[Moved]) -> None:
        entered = _entered(events)
        for page in self._pages if entered else ():
            page.came(entered)

    def _tell_gap(self) -> None:
        """Tell all pages that nobody knows who came, nor which changes there were."""
        for shown in self._rows.shown.values():
            shown.is_told = False
        for page in self._pages:
            page.missed()

    def _draw_rows(self, look: Look, new: Iterable[OpenPage]) -> None:
        """Draw those that moved, for all who show them, and all there are for new pages."""
        looks = Looks(look.deployment.rules)
        for row, shown in self._rows.shown.items():
            if not shown.is_drawn:
                shown.is_drawn = True
                self._drawn[row] = draw_row(look, looks, row, shown)
                for page in self._rows.viewers[row]:
                    page.put(element(row.kind, row.id), self._drawn[row])
        for page in new:
            for row in page.view.rows:
                if row in self._drawn:
                    page.put(element(row.kind, row.id), self._drawn[row])

    async def _draw_entities(self, look: Look, kinds: Collection[str]) -> None:
        """Draw entities that have a page of their own, for it."""
        drawn: dict[Row, Mapping[str, str]] = {}
        for page in [each for each in self._pages if each.view.detail]:
            row = next(iter(page.view.rows), None)
            shown = None if row is None else self._rows.shown.get(row)
            if row is None or shown is None:
                continue
            if row not in drawn:
                if row.kind in kinds:
                    await self._read_history(row, shown)
                drawn[row] = {
                    "entity": draw_entity(look, row, shown),
                    "commands": draw_commands(look, row, shown),
                }
            for name, html in drawn[row].items():
                page.put(name, html)

    async def _read_history(self, row: Row, shown: Shown) -> None:
        if not shown.is_told:
            shown.history = await self._backing.reader.history(row.kind, row.id)
            shown.is_told = True

    def _draw_regions(self, look: Look, pages: Iterable[OpenPage]) -> None:
        drawn: dict[Region, str] = {}
        for page in pages:
            for region in page.view.regions:
                if region not in drawn:
                    drawn[region] = draw_region(look, self._backing.seen, region)
                page.put(region.name, drawn[region])


def _entered(events: Iterable[Moved]) -> Mapping[tuple[str, str], set[Row]]:
    """Return who entered which phase, by kind and phase."""
    found: defaultdict[tuple[str, str], set[Row]] = defaultdict(set)
    for row, change in events:
        if change is not None:
            found[row.kind, change.phase].add(row)
    return found
