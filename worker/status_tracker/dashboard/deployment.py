"""The deployment behind the application: connected when first asked, closed at the end."""

import asyncio
import time

from status_tracker.client.emitter import AsyncEmitter
from status_tracker.client.reader import AsyncStatusReader
from status_tracker.connection.client import UNAVAILABLE
from status_tracker.connection.url import reach
from status_tracker.dashboard.feed import Feed
from status_tracker.errors import UnavailableError
from status_tracker.metadata import read_deployment
from status_tracker.monitoring.fleet import read_fleet
from status_tracker.monitoring.health import Report, report
from status_tracker.settings import Settings

TRIED_FOR = 1.0
"""Seconds for which a server that is away is asked again."""

FLEET_HOLDS = 1.0
"""Seconds for which a look at the fleet is shown to all who ask."""

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


class Backing:
    """What answers are made of."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.reader: AsyncStatusReader = AsyncStatusReader(settings, retry_for=TRIED_FOR)
        self.emitter: AsyncEmitter = AsyncEmitter(settings, retry_for=TRIED_FOR)
        self.feed: Feed = Feed(self.reader)
        self.open: Open = Open()
        self.stop: asyncio.Event = asyncio.Event()
        """Set, it ends all that is open, for good."""
        self._looking = asyncio.Lock()
        self._fleet: tuple[float, Report] | None = None

    async def fleet(self) -> Report:
        """Return what there is to say of the fleet; raises `UnavailableError`, `ConfigError`."""
        async with self._looking:
            if self._fleet is None or time.monotonic() - self._fleet[0] > FLEET_HOLDS:
                self._fleet = time.monotonic(), await self._look()
            return self._fleet[1]

    async def _look(self) -> Report:
        settings = self._settings
        try:
            client = await reach(settings.redis_url)
            try:
                deployment = await read_deployment(client, settings.prefix)
                found = await read_fleet(client, deployment)
            finally:
                await client.close()
        except UNAVAILABLE as error:
            raise UnavailableError(str(error)) from None
        return report(found, None, lease_ttl=settings.lease_ttl / 1000)

    async def close(self) -> None:
        """End all that is open, and close all connections."""
        self.stop.set()
        await self.feed.close()
        await self.emitter.close(timeout=0.5)
        await self.reader.close()
