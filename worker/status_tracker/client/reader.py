"""`StatusReader` and `AsyncStatusReader`: what a dashboard asks."""

from collections.abc import AsyncGenerator, Generator, Iterable
from typing import Self

from status_tracker.client.async_shell import AsyncShell, AsyncSource
from status_tracker.client.documents import (
    Found,
    Page,
    Rejected,
    RejectedPage,
    Snapshot,
    StalledPage,
)
from status_tracker.client.reading import Reading
from status_tracker.client.site import Site
from status_tracker.client.sync_shell import Source, SyncShell
from status_tracker.client.watching import Changes, FeedEvent, Hub
from status_tracker.models import Change, Status
from status_tracker.rules import Rules

DEFAULT_PREFIX = "status"

History = list[Change]

RETRY_FOR = 5.0
"""Seconds for which a reader tries again where the server cannot be reached."""


def prefix_of(source: object, prefix: str | None) -> str:
    """Return the prefix that was given, or else that of the settings."""
    return prefix or getattr(source, "prefix", None) or DEFAULT_PREFIX


class StatusReader:
    """Reads statuses, and waits for them. It writes nothing; many threads may share one.

    It takes a URL, settings, or a client of redis-py, and connects when it is first asked. Every
    method raises `UnavailableError` where the server cannot be reached for `retry_for` seconds,
    `ConfigError` where there is no deployment, `ValueError` for a kind or phase that there is not.
    """

    def __init__(
        self, source: Source, *, prefix: str | None = None, retry_for: float = RETRY_FOR
    ) -> None:
        self._shell = SyncShell(source)
        self._reading = Reading(Site(prefix_of(source, prefix), retry_for), retry_for)
        self._hub = Hub(self._shell, self._reading)

    def task(self, id: str) -> Status | None:
        """Return the status of a task; None where it has none."""
        return self.get("task", id)

    def asset(self, id: str) -> Status | None:
        """Return the status of an asset; None where it has none."""
        return self.get("asset", id)

    def get(self, kind: str, id: str) -> Status | None:
        """Return the status of an entity; None where it has none."""
        return self._shell.run(self._reading.get(kind, id))

    def get_many(self, kind: str, ids: Iterable[str]) -> dict[str, Status | None]:
        """Return the statuses of entities by their ids, in one round trip."""
        return self._shell.run(self._reading.get_many(kind, ids))

    def list(
        self,
        kind: str,
        phase: str,
        *,
        newest: bool = True,
        limit: int = 100,
        after: str | None = None,
    ) -> Page:
        """Return entities in a phase, by when they entered it, the newest first or last.

        `page.after` begins the next page. Each entity that stays in the phase comes once, whatever
        others do meanwhile.
        """
        reading = self._reading.page(kind, phase, newest=newest, limit=limit, after=after)
        return self._shell.run(reading)

    def stalled(
        self, kind: str, *, newest: bool = True, limit: int = 100, after: str | None = None
    ) -> StalledPage:
        """Return entities without an update for longer than their limit, by when it passed.

        Each with its status and since when. One that has an update meanwhile is not in it.
        `page.after` begins the next page.
        """
        reading = self._reading.stalled(kind, newest=newest, limit=limit, after=after)
        return self._shell.run(reading)

    def stalled_since(self, kind: str, ids: Iterable[str]) -> dict[str, int]:
        """Return since when entities are stalled, by id, in ms; who is not, is not in it."""
        return self._shell.run(self._reading.stalled_since(kind, ids))

    def find(
        self, kind: str, pattern: str, *, phase: str | None = None, limit: int | None = None
    ) -> Found:
        """Return entities whose id fits a pattern, as in Redis' own: ``exp*``.

        In one phase, and at most so many, where that is said. It looks at about 100,000 ids;
        `complete` says whether these were all. One that changes its phase meanwhile may be missing.
        """
        return self._shell.run(self._reading.find(kind, pattern, phase=phase, limit=limit))

    def counts(self, kind: str) -> dict[str, int]:
        """Return how many entities are in each phase, in the order of the rules."""
        return self._shell.run(self._reading.counts(kind))

    def history(self, kind: str, id: str) -> History:
        """Return the last changes of an entity, the newest first, as many as the rules keep."""
        return self._shell.run(self._reading.history(kind, id))

    def rejected(
        self,
        *,
        reason: str | None = None,
        newest: bool = False,
        limit: int = 100,
        after: str | None = None,
    ) -> RejectedPage:
        """Return entries that were not applied, by when they were rejected, the oldest first.

        `page.after` begins the next page. There is one also after the last entry, for those that
        are rejected later; where the newest come first, it is None there.
        """
        reading = self._reading.rejected(reason=reason, newest=newest, limit=limit, after=after)
        return self._shell.run(reading)

    def rejected_entries(self, entries: Iterable[str]) -> dict[str, Rejected | None]:
        """Return entries that were not applied by what they are called; None where one is gone."""
        return self._shell.run(self._reading.rejected_entries(entries))

    def rules(self) -> Rules:
        """Return the rules in force."""
        return self._shell.run(self._reading.rules())

    def snapshot(self, kind: str) -> Snapshot:
        """Return all entities of a kind, and the token with which `changes` keeps them up."""
        return self._shell.run(self._reading.snapshot(kind))

    def feed_end(self) -> str:
        """Return the token of where the feed ends now, for `changes(after=token)`."""
        return self._shell.run(self._reading.feed_end())

    def changes(self, after: str | None = None) -> Generator[FeedEvent, None, None]:
        """Yield what changes, without an end, from a token on, or else from when it is begun.

        It waits out outages. In the layout `cluster` the order is kept for each entity. Raises
        `FeedGapError` where changes after the token are not there any more, and ValueError for a
        token of another deployment.
        """
        changes = Changes(self._shell, self._reading, after)
        try:
            while True:
                yield from self._shell.run(changes.next())
        finally:
            changes.close()

    def wait(
        self,
        kind: str,
        id: str,
        *,
        until: str | Iterable[str] = "settled",
        timeout: float | None = None,
    ) -> Status:
        """Return the status of an entity as soon as it is settled, or in one of the given phases.

        With `timeout=0` it looks once. Raises `TimeoutError`.
        """
        return self._shell.run(self._hub.wait(kind, id, until, timeout))

    def close(self) -> None:
        """Close all connections of its own; a client that was given stays open."""
        self._hub.close()
        self._shell.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class AsyncStatusReader:
    """Reads statuses, and waits for them, in one event loop: `StatusReader` with await.

    However many wait, one connection follows the feed for them (in a cluster: one a partition).
    """

    def __init__(
        self, source: AsyncSource, *, prefix: str | None = None, retry_for: float = RETRY_FOR
    ) -> None:
        self._shell = AsyncShell(source)
        self._reading = Reading(Site(prefix_of(source, prefix), retry_for), retry_for)
        self._hub = Hub(self._shell, self._reading)

    async def task(self, id: str) -> Status | None:
        """Return the status of a task; None where it has none."""
        return await self.get("task", id)

    async def asset(self, id: str) -> Status | None:
        """Return the status of an asset; None where it has none."""
        return await self.get("asset", id)

    async def get(self, kind: str, id: str) -> Status | None:
        """Return the status of an entity; None where it has none."""
        return await self._shell.run(self._reading.get(kind, id))

    async def get_many(self, kind: str, ids: Iterable[str]) -> dict[str, Status | None]:
        """Return the statuses of entities by their ids, in one round trip."""
        return await self._shell.run(self._reading.get_many(kind, ids))

    async def list(
        self,
        kind: str,
        phase: str,
        *,
        newest: bool = True,
        limit: int = 100,
        after: str | None = None,
    ) -> Page:
        """Return entities in a phase; see `StatusReader.list`."""
        reading = self._reading.page(kind, phase, newest=newest, limit=limit, after=after)
        return await self._shell.run(reading)

    async def stalled(
        self, kind: str, *, newest: bool = True, limit: int = 100, after: str | None = None
    ) -> StalledPage:
        """Return entities without an update for too long; see `StatusReader.stalled`."""
        reading = self._reading.stalled(kind, newest=newest, limit=limit, after=after)
        return await self._shell.run(reading)

    async def stalled_since(self, kind: str, ids: Iterable[str]) -> dict[str, int]:
        """Return since when entities are stalled; see `StatusReader.stalled_since`."""
        return await self._shell.run(self._reading.stalled_since(kind, ids))

    async def find(
        self, kind: str, pattern: str, *, phase: str | None = None, limit: int | None = None
    ) -> Found:
        """Return entities whose id fits a pattern; see `StatusReader.find`."""
        return await self._shell.run(self._reading.find(kind, pattern, phase=phase, limit=limit))

    async def counts(self, kind: str) -> dict[str, int]:
        """Return how many entities are in each phase, in the order of the rules."""
        return await self._shell.run(self._reading.counts(kind))

    async def history(self, kind: str, id: str) -> History:
        """Return the last changes of an entity, the newest first, as many as the rules keep."""
        return await self._shell.run(self._reading.history(kind, id))

    async def rejected(
        self,
        *,
        reason: str | None = None,
        newest: bool = False,
        limit: int = 100,
        after: str | None = None,
    ) -> RejectedPage:
        """Return entries that were not applied; see `StatusReader.rejected`."""
        reading = self._reading.rejected(reason=reason, newest=newest, limit=limit, after=after)
        return await self._shell.run(reading)

    async def rejected_entries(self, entries: Iterable[str]) -> dict[str, Rejected | None]:
        """Return entries that were not applied; see `StatusReader.rejected_entries`."""
        return await self._shell.run(self._reading.rejected_entries(entries))

    async def rules(self) -> Rules:
        """Return the rules in force."""
        return await self._shell.run(self._reading.rules())

    async def snapshot(self, kind: str) -> Snapshot:
        """Return all entities of a kind, and the token with which `changes` keeps them up."""
        return await self._shell.run(self._reading.snapshot(kind))

    async def feed_end(self) -> str:
        """Return the token of where the feed ends now; see `StatusReader.feed_end`."""
        return await self._shell.run(self._reading.feed_end())

    async def changes(self, after: str | None = None) -> AsyncGenerator[FeedEvent, None]:
        """Yield what changes, without an end; see `StatusReader.changes`."""
        changes = Changes(self._shell, self._reading, after)
        try:
            while True:
                for event in await self._shell.run(changes.next()):
                    yield event
        finally:
            changes.close()

    async def wait(
        self,
        kind: str,
        id: str,
        *,
        until: str | Iterable[str] = "settled",
        timeout: float | None = None,  # noqa: ASYNC109 - the same as without await
    ) -> Status:
        """Return the status of an entity as soon as it is settled; see `StatusReader.wait`."""
        return await self._shell.run(self._hub.wait(kind, id, until, timeout))

    async def close(self) -> None:
        """Close all connections of its own; a client that was given stays open."""
        self._hub.close()
        await self._shell.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()
