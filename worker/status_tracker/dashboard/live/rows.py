"""The entities that open pages show: read once, however many pages show them."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from itertools import islice
from typing import NamedTuple

import msgspec
from msgspec import Struct, field

from status_tracker.client.documents import status_of
from status_tracker.client.reader import AsyncStatusReader
from status_tracker.dashboard.feed import Told
from status_tracker.dashboard.live.page import OpenPage
from status_tracker.dashboard.live.view import Row, View
from status_tracker.models import Change, Status

MOST_READ = 5_000
"""Rows that are read again in one look, and for the first time; where there are more, they take
turns."""

MOST_SHOWN = 100_000
"""Rows of all open pages: about 2 KB each."""

_change = msgspec.json.Decoder(Change).decode
_row = msgspec.json.Decoder(Row).decode


class Moved(NamedTuple):
    """What the feed told of an entity."""

    row: Row
    change: Change | None
    """None where it was taken away."""


def moved(events: Iterable[Told]) -> list[Moved]:
    """Return what events of the feed tell."""
    found = []
    for told in events:
        if told.name == "change":
            change = _change(told.data)
            found.append(Moved(Row(change.kind, change.id), change))
        elif told.name == "removed":
            found.append(Moved(_row(told.data), None))
    return found


class Shown(Struct):
    """What is known of an entity that some page shows."""

    status: Status | None
    stalled: float | None
    """Since when it is marked, in ms."""
    since: float | None = None
    """When it entered its phase, where that happened while it was shown."""
    has_left: bool = False
    """Whether it left the phase in which it was when the page was made."""
    history: Sequence[Change] = ()
    """Only where a page of its own is open."""
    is_drawn: bool = False
    """Whether it is drawn as it is."""
    is_told: bool = False
    """Whether `history` has all its changes."""


class Rows(Struct):
    """All that are shown."""

    viewers: defaultdict[Row, set[OpenPage]] = field(default_factory=lambda: defaultdict(set))
    shown: dict[Row, Shown] = field(default_factory=dict)
    """What is known of them; nothing until they were read."""
    _turn: int = 0

    def has_room(self, view: View) -> bool:
        """Tell whether those of one more page may be taken up."""
        return len(self.viewers) + len(view.rows) <= MOST_SHOWN

    def add(self, page: OpenPage) -> None:
        """Take up those of a page."""
        for row in page.view.rows:
            self.viewers[row].add(page)

    def discard(self, page: OpenPage) -> None:
        """Let go of those that no other page shows."""
        for row in page.view.rows:
            self.viewers[row].discard(page)
            if not self.viewers[row]:
                del self.viewers[row]
                self.shown.pop(row, None)

    def due(self) -> list[Row]:
        """Return those that are read next."""
        rows = list(self.viewers)
        if len(rows) <= MOST_READ:
            return rows
        first = self._turn % len(rows)
        self._turn = first + MOST_READ
        return [*rows, *rows][first : first + MOST_READ]

    def unknown(self, kinds: Collection[str]) -> list[Row]:
        """Return those, of kinds that there are, that are read for the first time next."""
        unread = (row for row in self.viewers if row not in self.shown and row.kind in kinds)
        return list(islice(unread, MOST_READ))

    async def read(self, reader: AsyncStatusReader, rows: Iterable[Row]) -> None:
        """Read statuses and marks, by one command for all that share a slot."""
        by_kind: defaultdict[str, list[str]] = defaultdict(list)
        for row in dict.fromkeys(rows):
            by_kind[row.kind].append(row.id)
        for kind, ids in by_kind.items():
            statuses = await reader.get_many(kind, ids)
            marks = await reader.stalled_since(kind, ids)
            for entity_id, status in statuses.items():
                row = Row(kind, entity_id)
                if row in self.viewers:  # its page may be gone by now
                    self._take(row, status, marks.get(entity_id))

    def _take(self, row: Row, status: Status | None, stalled: float | None) -> None:
        shown = self.shown.setdefault(row, Shown(status, stalled))
        if (shown.status, shown.stalled) == (status, stalled):
            return
        if shown.status is None or status is None or shown.status.phase != status.phase:
            shown.since, shown.has_left, shown.is_told = None, True, False
        shown.status, shown.stalled, shown.is_drawn = status, stalled, False

    def apply(self, events: Iterable[Moved]) -> None:
        """Take in what the feed told; a status that was read meanwhile may be newer."""
        for row, change in events:
            shown = self.shown.get(row)
            if shown is None:
                continue
            shown.is_drawn = shown.is_told = False
            shown.has_left = True
            if change is None:
                shown.status = shown.since = shown.stalled = None
                continue
            if shown.status is None or change.updated_at >= shown.status.updated_at:
                shown.status, shown.stalled = status_of(change), None
            if shown.status.phase == change.phase:
                shown.since = change.updated_at
