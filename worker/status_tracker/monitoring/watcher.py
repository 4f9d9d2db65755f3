"""What metrics and probes go by: when the worker's loop turned last, and what the server said."""

import asyncio
import logging
import time
from typing import Protocol

from status_tracker.cancellation import together
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
    client: Client | None
    """None until the server was reached for the first time, as are the next two."""
    agreement: Agreement | None
    fleet: Fleet | None

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
        self._failed = False

    @property
    def stuck_for(self) -> float:
        """Seconds since the loop turned last."""
        return time.monotonic() - self._turned

    @property
    def age(self) -> float:
        """Seconds since the server said what it said last; since the start where it did not."""
        return time.monotonic() - self._heard

    async def run(self) -> None:
        """Watch until cancelled."""
        await together([self._beat(), self._poll()])

    async def _beat(self) -> None:
        while True:
            self._turned = time.monotonic()
            await asyncio.sleep(PULSE)

    async def _poll(self) -> None:
        worker = self.worker
        while True:
            if worker.client is not None and worker.agreement is not None:
                try:
                    self.overview = await read_overview(worker.client, worker.agreement.known)
                except UNAVAILABLE as error:
                    # While it is away, the worker's own words say so.
                    if not self._failed and not worker.backoff.troubles:
                        log.warning(
                            "metrics of the deployment stay as they were: %s",
                            error,
                            extra={"event": "overview_failed"},
                        )
                    self._failed = True
                else:
                    self._failed = False
                    self._heard = time.monotonic()
                    worker.tally.server_ahead = self.overview.clock_ahead
                await asyncio.sleep(self.every)
            else:
                await asyncio.sleep(min(self.every, PULSE))
