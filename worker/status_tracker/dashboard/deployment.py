"""The deployment behind the application: connected when first asked, closed at the end."""

import asyncio
import time

from msgspec import Struct
from starlette.requests import Request

from status_tracker.client.async_shell import AsyncShell
from status_tracker.client.emitter import AsyncEmitter
from status_tracker.client.reader import AsyncStatusReader
from status_tracker.client.site import Site
from status_tracker.connection.client import UNAVAILABLE, Client
from status_tracker.connection.url import reach
from status_tracker.dashboard.feed import Feed
from status_tracker.dashboard.problems import later
from status_tracker.dashboard.seen import LATELY, Seen
from status_tracker.errors import UnavailableError
from status_tracker.metadata import Deployment, read_deployment
from status_tracker.monitoring.health import Report, Trouble, problems_of, report
from status_tracker.monitoring.overview import Overview, read_overview
from status_tracker.settings import Settings

TRIED_FOR = 1.0
"""Seconds for which a server that is away is asked again."""

LOOK_HOLDS = 0.5
"""Seconds for which a look at the deployment is shown to all who ask."""

MOST_RECALLED = 1_000
"""Rejected entries that are looked at for when they came."""

MOST_OPEN = 1_000
"""Streams and waits that are open at a time."""


class Open:
    """How many streams and waits are open."""

    def __init__(self) -> None:
        self.count: int = 0

    def __enter__(self) -> None:
        self.count += 1

    def __exit__(self, *_: object) -> None:
        self.count -= 1


class Look(Struct, frozen=True):
    """A deployment at about one moment."""

    deployment: Deployment
    overview: Overview
    report: Report
    troubles: list[Trouble]
    """What its problems are about."""
    now: int
    """By the server's clock, in ms since the epoch."""

    def counts(self, kind: str) -> dict[str, int]:
        """Return how many entities are in each phase; one that the rules dropped, if any are."""
        entities = self.overview.entities
        phases = self.deployment.rules.kinds[kind].phases
        others = [phase for of_kind, phase in entities if of_kind == kind and phase not in phases]
        counts = {phase: entities.get((kind, phase), 0) for phase in [*phases, *others]}
        return {phase: n for phase, n in counts.items() if n or phase in phases}

    def rejected(self, reason: str = "") -> int:
        """Return how many entries were ever rejected, also for one reason only."""
        totals = [each.totals.rejected for each in self.overview.fleet.partitions]
        return sum(count for each in totals for name, count in each.items() if reason in ("", name))


class Backing:
    """What answers are made of."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.reader: AsyncStatusReader = AsyncStatusReader(settings, retry_for=TRIED_FOR)
        self.emitter: AsyncEmitter = AsyncEmitter(settings, retry_for=TRIED_FOR)
        self.shell: AsyncShell = AsyncShell(settings)
        """Runs what neither reader nor emitter does, for the deployment at this site."""
        self.site: Site = Site(settings.prefix, TRIED_FOR)
        self.feed: Feed = Feed(self.reader)
        self.seen: Seen = Seen()
        self.open: Open = Open()
        self.stop: asyncio.Event = asyncio.Event()
        """Set, it ends all that is open, for good."""
        self._client: Client | None = None
        self._looking = asyncio.Lock()
        self._last: tuple[float, Look] | None = None

    async def look(self) -> Look:
        """Return what there is to see, at most half a second old.

        Raises `UnavailableError` and `ConfigError`.
        """
        async with self._looking:
            if self._last is None or time.monotonic() - self._last[0] > LOOK_HOLDS:
                self._last = time.monotonic(), await self._look()
            return self._last[1]

    def clock(self) -> int:
        """Return the time by the server's clock, in ms, as far as that is known."""
        ahead = self._last[1].overview.clock_ahead if self._last else 0
        return round(time.time() * 1000 + ahead)

    async def _look(self) -> Look:
        settings = self._settings
        try:
            if self._client is None:
                self._client = await reach(settings.redis_url)
            deployment = await read_deployment(self._client, settings.prefix)
            overview = await read_overview(self._client, deployment)
        except UNAVAILABLE as error:
            await self._disconnect()
            raise UnavailableError(str(error)) from None
        except BaseException:  # nobody knows which replies are still to come
            await self._disconnect()
            raise
        now = round(time.time() * 1000 + overview.clock_ahead)
        if self.seen.is_blank(now):
            self.seen.recall(await self._rejected_lately(now))
        self.seen.add(now, overview.fleet)
        fleet = overview.fleet
        troubles = list(problems_of(fleet, None, lease_ttl=settings.lease_ttl / 1000))
        return Look(deployment, overview, report(fleet, troubles), troubles, now)

    async def _rejected_lately(self, now: int) -> list[int]:
        """Return when entries were rejected of late, in ms: the newest ones, not too many."""
        times: list[int] = []
        place: str | None = None
        while len(times) < MOST_RECALLED:
            page = await self.reader.rejected(newest=True, after=place)
            times += [each.at for each in page.entries]
            place = page.after
            if place is None or min(times, default=now) < now - LATELY:
                break
        return times

    async def _disconnect(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    async def close(self) -> None:
        """End all that is open, and close all connections."""
        self.stop.set()
        await self.feed.close()
        await self.emitter.close(timeout=0.5)
        await self.reader.close()
        await self.shell.close()
        await self._disconnect()


def backing_of(request: Request) -> Backing:
    """Return the deployment of the application."""
    backing: Backing = request.app.state.backing
    return backing


def check_room(backing: Backing) -> None:
    """Refuse one more stream or wait where there is no room for it; raises `ProblemError`."""
    if backing.stop.is_set():
        raise later("the server stops")
    if backing.open.count >= MOST_OPEN:
        raise later(f"{MOST_OPEN:,} streams and waits are open already")
