"""One open page: what it has been sent, and what it is to be sent next."""

import asyncio
from collections.abc import Collection, Mapping
from typing import Any

from status_tracker.dashboard.live.view import Row, View


class OpenPage:
    """A page whose reader may be slow: only the newest state of each element waits for it."""

    def __init__(self, view: View) -> None:
        self.view = view
        self.is_new: bool = True
        """Whether nothing was drawn for it yet."""
        self.token: str = ""
        self._rows = frozenset(view.rows)
        self._lists = frozenset(view.lists)
        self._sent: dict[str, str] = {}
        self._waiting: dict[str, str] = {}
        self._news = 0
        self._tally = view.tally.count if view.tally else 0
        self._has_gap = False
        self._problem: str | None = None
        self._is_told_of_it = True
        self._now = 0
        self._moved = asyncio.Event()

    def put(self, element: str, html: str) -> None:
        """Have an element of the page look like this."""
        if self._waiting.get(element, self._sent.get(element)) != html:
            self._waiting[element] = html
            self._moved.set()

    def came(self, entered: Mapping[tuple[str, str], Collection[Row]]) -> None:
        """Tell of newcomers to what it lists, from who entered which phase."""
        for of, rows in entered.items():
            new = [row for row in rows if row not in self._rows] if of in self._lists else []
            if new:
                self._news += len(new)
                self._moved.set()

    def rejected(self, count: int) -> None:
        """Tell how many of what it shows were ever rejected."""
        if count > self._tally:
            self._news += count - self._tally
            self._moved.set()
        self._tally = count  # fewer, where the hash that counts them was lost

    def missed(self) -> None:
        """Tell that nobody knows any more who came meanwhile."""
        self._has_gap = True
        self._moved.set()

    def at(self, now: int, token: str, problem: str | None) -> None:
        """Tell the time, by the server's clock, and whether what it shows may be old, and why.

        The token is that of the place in the feed up to which all was told.
        """
        self._now, self.token = now, token
        if problem != self._problem:
            self._problem, self._is_told_of_it = problem, False
        if not self._is_told_of_it:
            self._moved.set()

    async def moved(self) -> None:
        """Wait until there is something to say."""
        await self._moved.wait()

    def take(self) -> dict[str, Any]:
        """Return what there is to say, as JSON has it."""
        said = {
            "now": self._now,
            "html": self._waiting,
            "news": self._news,
            "gap": self._has_gap,
            "problem": self._problem,
        }
        self._sent |= self._waiting
        self._waiting, self._news, self._has_gap, self._is_told_of_it = {}, 0, False, True
        self._moved.clear()
        return said
