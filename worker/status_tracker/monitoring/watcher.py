"""What metrics and probes go by: when the worker's loop turned last, and what the server said."""

import asyncio
import logging
import time
from typing import Protocol

from status_tracker.connection.client import UNAVAILABLE, Client
from status_tracker.engine.agreement import Agreement
from status_tracker.engine.backoff import Backoff
from status_tracker.engine.fleet import Fleet
from status_tracker.engine.tally import Tally
from status_tracker.monitoring.overview import Overview, read_overview

log: logging.Logger = logging.getLogger(__name__)

PULSE = 0.5
"""Seconds between two signs of life of the loop."""


class Watched(Protocol):
    """A worker, as far as metrics and probes look at it (`app.py`)."""

    tally: Tally
    backoff: Backoff
    agreement: Agreement | None
    fleet: Fleet | None
    """None until the server was reached for the first time, as is the one before."""

    @property
    def is_stopping(self) -> bool:
        """Whether it was told to stop."""


class Watcher:
    """Looks at one worker and at its deployment, apart from those who ask.

    So nobody who asks waits for the server, and what it said last is there while it is away.
    """

    def __init__(self, worker: Watched, *, every: float, lease_ttl: float, max_lag: float) -> None:
        """Ask the server again after so many seconds.

        A worker lives for `lease_ttl` seconds after a heartbeat. One that lags for more than
        `max_lag` seconds is not ready; any lag will do for 0.
        """
        self.worker = worker
        self.lease_ttl = lease_ttl
        self.max_lag = max_lag
        self.every = every
        self.overview: Overview | None = None
        """What the server said last; None before it said anything."""
        # When the loop turned last, and when the server was asked with success.
        self._turned = self._heard = time.monotonic()

    @property
    def stuck_for(self) -> float:
        """Seconds since the loop turned last."""
        return time.monotonic() - self._turned

    @property
    def age(self) -> float:
        """Seconds since the server said what it said last; since the start where it did not."""
        return time.monotonic() - self._heard

    async def beat(self) -> None:
        """Show that the loop turns, until cancelled."""
        while True:
            self._turned = time.monotonic()
            await asyncio.sleep(PULSE)

    async def poll(self, client: Client, agreement: Agreement) -> None:
        """Ask the server now and then, until cancelled."""
        worker = self.worker
        has_failed = False
        while True:
            try:
                self.overview = await read_overview(client, agreement.known)
            except UNAVAILABLE as error:
                # While the server is away, the worker's own words say so.
                if not has_failed and not worker.backoff.troubles:
                    log.warning(
                        "metrics of the deployment stay as they were: %s",
                        error,
                        extra={"event": "overview_failed"},
                    )
                has_failed = True
            else:
                has_failed = False
                self._heard = time.monotonic()
                worker.tally.server_ahead = self.overview.clock_ahead
            await asyncio.sleep(self.every)
