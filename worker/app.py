"""One worker process: connect, run every partition, stop in good order."""

import asyncio
import gc
import logging
import signal
from collections.abc import Sequence
from typing import Any, Literal

from redis.exceptions import AuthenticationError

from worker.batch import Pipeline
from worker.connection import UNAVAILABLE, Outage, connect, without_secrets
from worker.deployment import agree
from worker.errors import ConfigError
from worker.fold import Rules
from worker.keys import Keys, Layout
from worker.lifecycle import Lifecycles
from worker.partition import Partition, cancelled
from worker.settings import Settings
from worker.store import Store

log = logging.getLogger(__name__)

STOP_WITHIN = 0.8
"""Seconds that partitions have to finish the batch in hand; then they are cut off, which loses
nothing: what was not committed is read again."""

COLLECT_EVERY = 50_000
"""Objects that may be made before Python looks for cycles. Entries come as lists by the thousand,
die without cycles, and would set off its search 70 times as often."""


class Worker:
    """Reads every partition of a deployment until it is told to stop."""

    def __init__(self, settings: Settings, lifecycles: Lifecycles) -> None:
        self._settings = settings
        self._rules = Rules(
            lifecycles,
            max_clock_skew=settings.max_clock_skew,
            clock_skew=settings.clock_skew,
        )
        self._client = connect(settings.redis_url)
        self._stop = asyncio.Event()
        self._outage = Outage(without_secrets(settings.redis_url), self._stop)
        # Once settled, `auto` must not be settled otherwise after the keys were flushed.
        self._layout: Layout | Literal["auto"] = settings.layout
        self.partitions: list[Partition] = []

    def stop(self) -> None:
        """Finish the batches in hand, then let `run` return."""
        self._stop.set()

    async def run(self) -> None:
        """Work until `stop` is called.

        Raises `ConfigError` where the deployment is not the one that is configured.
        """
        gc.set_threshold(COLLECT_EVERY)
        try:
            reaching = asyncio.create_task(self._reach(), name="start")
            await self._until_stopped([reaching])
            if not reaching.cancelled() and (keys := reaching.result()) is not None:
                await self._read_partitions(keys)
        finally:
            await self._client.aclose()

    async def _agree(self) -> Keys:
        settings = self._settings
        keys = await agree(self._client, settings.prefix, settings.partitions, self._layout)
        self._layout = keys.layout
        return keys

    async def _reach(self) -> Keys | None:
        """Wait until the server can be used; None when stopped before that.

        Raises `ConfigError` for what waiting will not mend at the start, though it may do later.
        """
        while not self._stop.is_set():
            try:
                keys = await self._agree()
            except AuthenticationError as error:
                raise ConfigError(
                    f"redis_url: the server refuses user or password: {error}"
                ) from None
            except UNAVAILABLE as error:
                if "DB index" in str(error):
                    raise ConfigError("redis_url: the server has no such database") from None
                await self._outage.wait_out("start", error)
            else:
                self._outage.over("start")
                return keys
        return None

    def _partition(self, keys: Keys, number: int) -> Partition:
        settings = self._settings
        store = Store(
            self._client,
            keys,
            number,
            max_changes=settings.max_changes,
            max_rejected=settings.max_rejected,
        )
        pipeline = Pipeline(
            self._rules,
            stream=keys.events(number),
            number=number,
            partitions=settings.partitions,
            max_event_bytes=settings.max_event_bytes,
            live_statuses=settings.live_statuses // settings.partitions,
        )
        return Partition(
            number,
            store,
            pipeline,
            self._agree,
            batch_entries=settings.batch_entries,
            batch_bytes=settings.batch_bytes,
        )

    async def _read_partitions(self, keys: Keys) -> None:
        self.partitions = [
            self._partition(keys, number) for number in range(self._settings.partitions)
        ]
        log.info(
            "reading %d partitions of %s at %s",
            len(self.partitions),
            self._settings.prefix,
            without_secrets(self._settings.redis_url),
        )
        await self._until_stopped(
            [
                asyncio.create_task(
                    partition.run(self._stop.is_set, self._outage),
                    name=f"partition {partition.number}",
                )
                for partition in self.partitions
            ]
        )

    async def _until_stopped(self, tasks: list[asyncio.Task[Any]]) -> None:
        """Wait for the first task to end or for the stop, and end the others; raise what failed."""
        stopped = asyncio.create_task(self._stop.wait())
        try:
            # A partition ends by itself only when it fails, and one that fails ends the worker.
            await asyncio.wait([*tasks, stopped], return_when=asyncio.FIRST_COMPLETED)
            await asyncio.wait(tasks, timeout=STOP_WITHIN if self._stop.is_set() else 0)
        finally:
            await cancelled([*tasks, stopped])
        for task in tasks:
            if not task.cancelled() and (error := task.exception()):
                raise error


async def run(settings: Settings, lifecycles: Lifecycles, early: Sequence[int]) -> None:
    """Run a worker until SIGTERM or SIGINT; `early` are those that came before."""
    worker = Worker(settings, lifecycles)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, worker.stop)
    if early:
        worker.stop()
    await worker.run()
    totals = [partition.totals for partition in worker.partitions]
    log.info(
        "stopped: %d entries read, of which %d applied, %d duplicates, %d forwarded, %d rejected",
        sum(total.read for total in totals),
        sum(total.applied for total in totals),
        sum(total.duplicates for total in totals),
        sum(total.forwarded for total in totals),
        sum(total.rejected for total in totals),
    )
