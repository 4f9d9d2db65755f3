"""One worker process: connect, work in the fleet, stop in good order."""

import asyncio
import gc
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from status_tracker.cancellation import cancelled, together, unless_stopped
from status_tracker.connection.client import UNAVAILABLE, Client
from status_tracker.connection.url import reach, without_secrets
from status_tracker.engine.agreement import Agreement, agree
from status_tracker.engine.backoff import Backoff
from status_tracker.engine.batch import BatchBuilder
from status_tracker.engine.common import Common
from status_tracker.engine.common_store import CommonStore
from status_tracker.engine.fleet import Fleet, unique_name
from status_tracker.engine.leases import Leases
from status_tracker.engine.limits import Limits
from status_tracker.engine.partition import Partition
from status_tracker.engine.statuses import StatusCache
from status_tracker.engine.store import Store
from status_tracker.engine.tally import Tally
from status_tracker.errors import ConfigError
from status_tracker.logs import WORKER
from status_tracker.maintenance.retention import Retention
from status_tracker.maintenance.stalled import Stalled
from status_tracker.maintenance.trimming import Trimming
from status_tracker.maintenance.upkeep import Policy, Upkeep
from status_tracker.metadata import Deployment
from status_tracker.monitoring.watcher import Watcher
from status_tracker.rules import Rules, differences, in_words, load_rules, without_times
from status_tracker.settings import Settings, default_file
from status_tracker.signals import StopSignals

log: logging.Logger = logging.getLogger(__name__)

MOST_DIFFERENCES = 5
"""Between two rules that are told in a line; `status-tracker rules diff` shows all."""

COLLECT_EVERY = 50_000
"""Objects that may be made before Python looks for cycles. Entries come as lists by the thousand,
die without cycles, and would set off its search 70 times as often."""

LOOK_EVERY = 10
"""Heartbeats between two looks at the whole deployment, for metrics and probes."""


class Worker:
    """Reads its share of a deployment's partitions until it is told to stop."""

    def __init__(
        self, settings: Settings, *, rules: Rules | None = None, sole: bool = False
    ) -> None:
        """Connect when it is run.

        `rules` are to be in force, and those of a deployment that is created; without any, what is
        in force counts, or the shipped ones. `sole` says that no other worker can have its name.
        """
        self.tally: Tally = Tally()
        self.name: str = settings.name or unique_name()
        self._settings = settings
        self._sole = sole
        self._server = without_secrets(settings.redis_url)
        self._rules = rules
        self._stop = asyncio.Event()
        self.backoff: Backoff = Backoff(self._server)
        self.agreement: Agreement | None = None
        self.fleet: Fleet | None = None
        """None until the server was reached, as is the one before."""
        self._watcher = Watcher(
            self,
            every=LOOK_EVERY * settings.heartbeat / 1000,
            lease_ttl=settings.lease_ttl / 1000,
            max_lag=settings.ready_max_lag / 1000,
        )

    @property
    def is_stopping(self) -> bool:
        """Whether it was told to stop."""
        return self._stop.is_set()

    def stop(self) -> None:
        """Finish the current batches, then let `run` return."""
        self._stop.set()

    async def run(self) -> None:
        """Work until `stop` is called.

        Raises `ConfigError` where the deployment is not the one that is configured.
        """
        WORKER.set(self.name)
        async with self._watched():
            reached = await unless_stopped(self._reach(), self._stop)
            if reached is not None:
                await self._work(*reached)

    @asynccontextmanager
    async def _watched(self) -> AsyncIterator[None]:
        """Serve metrics and answer probes meanwhile, where that is wanted.

        Raises `ConfigError` where it cannot be.
        """
        settings = self._settings
        if not settings.metrics_port:
            yield
            return
        try:
            # Who wants no metrics need not have the extra.
            from status_tracker.monitoring.endpoint import serving  # noqa: PLC0415
        except ModuleNotFoundError:
            raise ConfigError(
                "metrics_port: what serves metrics is not installed: "
                "pip install 'status-tracker[metrics]'"
            ) from None
        with serving(self._watcher, host=settings.metrics_host, port=settings.metrics_port):
            beating = asyncio.create_task(self._watcher.beat(), name="pulse")
            try:
                yield
            finally:
                await cancelled([beating])

    async def _work(self, client: Client, agreement: Agreement) -> None:
        """Work in the fleet until told to stop."""
        log.info(
            "worker %s: %s at %s",
            self.name,
            agreement.known.keys.prefix,
            self._server,
            extra={"event": "worker_started"},
        )
        common = self._common(client, agreement)
        fleet = self._fleet(client, agreement, common)
        upkeep = self._upkeep(client, agreement, fleet)
        self.agreement, self.fleet = agreement, fleet
        try:
            works = [fleet.run(), upkeep.run()]
            if self._settings.metrics_port:
                works.append(self._watcher.poll(client, agreement))
            await unless_stopped(together(works), self._stop)
        finally:
            try:
                await fleet.shut_down()
            finally:
                if common is not None:
                    await common.close()
                await client.close()

    async def _reach(self) -> tuple[Client, Agreement]:
        """Wait until the server can be used.

        Raises `ConfigError` for what waiting will not mend at the start, though it may do later.
        """
        while True:
            try:
                client = await reach(self._settings.redis_url)
                try:
                    agreement = await self._agree(client)
                except BaseException:
                    await client.close()
                    raise
            except UNAVAILABLE as error:
                await self.backoff.wait("start", error, self._stop)
            else:
                self.backoff.succeeded("start")
                return client, agreement

    async def _agree(self, client: Client) -> Agreement:
        settings = self._settings
        shipped = load_rules(default_file("rules.toml"))
        agreement = await agree(
            client,
            settings.prefix,
            partitions=settings.partitions,
            layout=settings.layout,
            rules=self._rules or shipped,
            # Nothing of it was ever taken away: that is to begin when somebody says so.
            old_rules=self._rules or without_times(shipped),
        )
        if self._rules is not None:
            check_rules(agreement.known, self._rules, str(settings.rules))
        return agreement

    def _common(self, client: Client, agreement: Agreement) -> Common | None:
        """Return the common way, where one command may use the keys of several partitions."""
        settings, keys = self._settings, agreement.known.keys
        if keys.layout == "cluster":
            return None
        store = CommonStore(
            client,
            keys,
            settings.partitions,
            max_changes=settings.max_changes,
            max_rejected=settings.max_rejected,
        )
        return Common(
            store,
            self.tally,
            linger=settings.linger,
            batch_entries=settings.batch_entries,
            batch_bytes=settings.batch_bytes,
        )

    def _fleet(self, client: Client, agreement: Agreement, common: Common | None) -> Fleet:
        settings = self._settings
        leases = Leases(
            client,
            agreement.known.keys,
            settings.partitions,
            name=self.name,
            ttl=settings.lease_ttl,
        )
        return Fleet(
            leases,
            agreement,
            lambda number: self._partition(client, agreement, number, common),
            self.backoff,
            heartbeat=settings.heartbeat,
            sole=self._sole,
        )

    def _upkeep(self, client: Client, agreement: Agreement, fleet: Fleet) -> Upkeep:
        settings = self._settings

        def deployment() -> Deployment:
            return agreement.known

        policies: list[Policy] = [
            Stalled(client, deployment, fleet.owned, owner=self.name),
            Retention(client, deployment, fleet.owned),
            Trimming(
                client,
                deployment,
                fleet.owned,
                self.tally,
                retention=settings.events_retention,
                group_retention=settings.events_retention_for_groups,
            ),
        ]
        return Upkeep(client, policies, self.backoff, key=agreement.known.keys.meta)

    def _partition(
        self, client: Client, agreement: Agreement, number: int, common: Common | None
    ) -> Partition:
        settings = self._settings
        deployment = agreement.known
        store = Store(
            client,
            deployment,
            number,
            max_changes=settings.max_changes,
            max_rejected=settings.max_rejected,
        )
        cache = StatusCache(
            deployment.rules,
            capacity=settings.live_statuses // settings.partitions,
            size=settings.live_bytes // settings.partitions,
        )
        return Partition(
            number,
            store,
            BatchBuilder(deployment, cache, number=number),
            agreement.current,
            self.tally,
            backoff=self.backoff,
            limits=Limits(entries=settings.batch_entries, size=settings.batch_bytes),
            rejected_key=deployment.keys.partition(number).rejected,
            common=common,
        )


def check_rules(deployment: Deployment, rules: Rules, file: str) -> None:
    """Refuse the rules of a file that a deployment never had; warn where newer ones count.

    Raises `ConfigError`.
    """
    revision = deployment.had(rules)
    if revision is None:
        found = differences(deployment.rules, rules)
        lines = [
            f"{each.key}: the deployment has {in_words(each.before)}, "
            f"{file} says {in_words(each.after)}"
            for each in found[:MOST_DIFFERENCES]
        ]
        if len(found) > MOST_DIFFERENCES:
            lines.append(f"{len(found) - MOST_DIFFERENCES} more")
        raise ConfigError(
            f"{'; '.join(lines)}. This deployment never had the rules of {file}: to put them in "
            f"force, status-tracker rules apply {file}"
        )
    if revision < deployment.revision:
        log.warning(
            "%s: these are the rules of revision %d; those of revision %d are in force, and count",
            file,
            revision,
            deployment.revision,
            extra={"event": "rules_outdated"},
        )


async def run(
    settings: Settings, signals: StopSignals, *, rules: Rules | None = None, sole: bool = False
) -> None:
    """Run a worker, as all that a process does, until it is told to stop."""
    gc.set_threshold(COLLECT_EVERY)
    worker = Worker(settings, rules=rules, sole=sole)
    signals.call(worker.stop)
    await worker.run()
    tally = worker.tally
    counts = {
        "entries": tally.read - tally.forwarded,
        "applied": tally.applied,
        "duplicates": tally.duplicates,
        "rejected": tally.rejected,
        "forwarded": tally.forwarded,
    }
    log.info(
        "stopped: %d entries: %d applied, %d duplicates, %d rejected; besides, %d were forwarded",
        *counts.values(),
        extra={"event": "worker_stopped", **counts},
    )
