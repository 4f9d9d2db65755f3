"""One worker process: connect, work in the fleet, stop in good order."""

import asyncio
import gc
import logging
from contextlib import suppress
from typing import Literal

from status_tracker.cancellation import unless_stopped
from status_tracker.connection.client import UNAVAILABLE, Client
from status_tracker.connection.url import reach, without_secrets
from status_tracker.engine.backoff import Backoff
from status_tracker.engine.batch import BatchBuilder
from status_tracker.engine.fleet import Fleet, unique_name
from status_tracker.engine.leases import Leases
from status_tracker.engine.limits import Limits
from status_tracker.engine.partition import Partition, Totals
from status_tracker.engine.statuses import StatusCache
from status_tracker.engine.store import Store
from status_tracker.keys import Keys, Layout
from status_tracker.metadata import ensure_deployment
from status_tracker.rules import Rules
from status_tracker.settings import Settings
from status_tracker.signals import StopSignals

log = logging.getLogger(__name__)

COLLECT_EVERY = 50_000
"""Objects that may be made before Python looks for cycles. Entries come as lists by the thousand,
die without cycles, and would set off its search 70 times as often."""


class Worker:
    """Reads its share of a deployment's partitions until it is told to stop."""

    def __init__(self, settings: Settings, rules: Rules, *, sole: bool = False) -> None:
        """Connect when it is run; `sole` says that no other worker can have its name."""
        self.totals = Totals()
        self.name = settings.name or unique_name()
        self._settings = settings
        self._sole = sole
        self._server = without_secrets(settings.redis_url)
        self._rules = rules
        self._stop = asyncio.Event()
        self._backoff = Backoff(self._server)
        # Once decided, `auto` must not be decided otherwise after the keys were flushed.
        self._layout: Layout | Literal["auto"] = settings.layout

    def stop(self) -> None:
        """Finish the current batches, then let `run` return."""
        self._stop.set()

    async def run(self) -> None:
        """Work until `stop` is called.

        Raises `ConfigError` where the deployment is not the one that is configured.
        """
        reached = await unless_stopped(self._reach(), self._stop)
        if reached is None:
            return
        client, keys = reached
        log.info("worker %s: %s at %s", self.name, keys.prefix, self._server)
        fleet = self._fleet(client, keys)
        try:
            await unless_stopped(fleet.run(), self._stop)
        finally:
            try:
                await fleet.shut_down()
            finally:
                await client.close()

    async def _reach(self) -> tuple[Client, Keys]:
        """Wait until the server can be used.

        Raises `ConfigError` for what waiting will not mend at the start, though it may do later.
        """
        while True:
            try:
                client = await reach(self._settings.redis_url)
                try:
                    keys = await self._ensure_deployment(client)
                except BaseException:
                    await client.close()
                    raise
            except UNAVAILABLE as error:
                await self._backoff.wait("start", error, self._stop)
            else:
                self._backoff.succeeded("start")
                return client, keys

    async def _ensure_deployment(self, client: Client) -> Keys:
        settings = self._settings
        keys = await ensure_deployment(client, settings.prefix, settings.partitions, self._layout)
        self._layout = keys.layout
        return keys

    async def _check_deployment(self, client: Client) -> None:
        """Notice, before a partition goes on, that the deployment has become another one."""
        # On a cluster, the master of the meta key may be away while the partition's is not.
        with suppress(*UNAVAILABLE):
            await self._ensure_deployment(client)

    def _fleet(self, client: Client, keys: Keys) -> Fleet:
        settings = self._settings
        leases = Leases(client, keys, settings.partitions, name=self.name, ttl=settings.lease_ttl)
        return Fleet(
            leases,
            lambda number: self._partition(client, keys, number),
            self._backoff,
            heartbeat=settings.heartbeat,
            sole=self._sole,
        )

    def _partition(self, client: Client, keys: Keys, number: int) -> Partition:
        settings = self._settings
        store = Store(
            client,
            keys,
            number,
            rules=self._rules,
            max_changes=settings.max_changes,
            max_rejected=settings.max_rejected,
        )
        builder = BatchBuilder(
            self._rules,
            StatusCache(
                self._rules,
                capacity=settings.live_statuses // settings.partitions,
                size=settings.live_bytes // settings.partitions,
            ),
            stream=keys.events(number),
            number=number,
            partitions=settings.partitions,
        )
        return Partition(
            number,
            store,
            builder,
            lambda: self._check_deployment(client),
            self.totals,
            backoff=self._backoff,
            limits=Limits(entries=settings.batch_entries, size=settings.batch_bytes),
            rejected_key=keys.partition(number).rejected,
        )


async def run(
    settings: Settings, rules: Rules, signals: StopSignals, *, sole: bool = False
) -> None:
    """Run a worker, as all that a process does, until it is told to stop."""
    gc.set_threshold(COLLECT_EVERY)
    worker = Worker(settings, rules, sole=sole)
    signals.call(worker.stop)
    await worker.run()
    totals = worker.totals
    log.info(
        "stopped: %d entries: %d applied, %d duplicates, %d rejected; besides, %d were forwarded",
        totals.ended,
        totals.applied,
        totals.duplicates,
        totals.rejected,
        totals.forwarded,
    )
