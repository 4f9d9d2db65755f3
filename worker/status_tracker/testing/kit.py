"""What the fixture `status_tracker` is: a deployment of the test's own, and what became of it."""

from collections.abc import AsyncGenerator, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import msgspec
import redis
import redis.asyncio

from status_tracker.client.documents import Rejected
from status_tracker.client.emitter import AsyncEmitter, Emitter
from status_tracker.client.feed import BEGINNING, Removal, events_of
from status_tracker.client.reader import AsyncStatusReader, StatusReader
from status_tracker.client.updates import clock_of
from status_tracker.connection.blocking import BlockingServer
from status_tracker.connection.url import async_pool, blocking_pool
from status_tracker.engine.batch import BatchBuilder
from status_tracker.engine.heard import Heard
from status_tracker.engine.statuses import StatusCache
from status_tracker.engine.store import Store
from status_tracker.engine.tally import Tally
from status_tracker.errors import ConfigError
from status_tracker.maintenance.retention import Retention
from status_tracker.maintenance.stalled import Stalled
from status_tracker.maintenance.trimming import Trimming
from status_tracker.maintenance.upkeep import Policy
from status_tracker.metadata import Deployment, ensure_deployment, revise
from status_tracker.models import Change, Status
from status_tracker.rules import Rules, load_rules, parse_rules, rules_json
from status_tracker.settings import Settings, default_file, load_settings
from status_tracker.testing.clock import KitClock
from status_tracker.testing.differences import in_words, of_statuses
from status_tracker.testing.immediate import Immediate, close_with_loop, driven
from status_tracker.testing.line import Line
from status_tracker.toml import read_toml

PAGE = 1_000
"""Rejected entries that are read at once."""


class Kit:
    """A deployment of the test's own. Updates are folded where the test says so: `settle`.

    What tells of statuses settles first, so that it tells of all that was emitted.
    """

    def __init__(self, url: str, prefix: str) -> None:
        self.url = url
        """For `Emitter`, `StatusReader` and settings. In memory, only they know such a URL."""
        self.prefix = prefix
        """What every key begins with."""
        self._settings = load_settings(environment={})
        self._client = Immediate(BlockingServer(blocking_pool(url)))
        self._shipped = load_rules(default_file("rules.toml"))
        self._deployment = self._agreed(None)
        # When entities were heard of is remembered from settle to settle, as by an owner.
        self._heard = {number: Heard() for number in range(self._deployment.partitions)}
        self._policies = self._policies_of(self._settings)
        clock = clock_of(blocking_pool(url).connection_kwargs)
        self.clock: KitClock = KitClock(clock, self._keep_up)
        """The time: of the server, and of emitters."""
        self._closing: list[AsyncGenerator[None, None]] = []
        # Entries that `redeliver` added, and what of them was rejected.
        self._repeats: set[tuple[str, bytes]] = set()
        self._of_repeats: set[Rejected] = set()

    @cached_property
    def client(self) -> redis.Redis:
        """A client of redis-py; replies are bytes."""
        return redis.Redis(connection_pool=blocking_pool(self.url))

    @cached_property
    def async_client(self) -> redis.asyncio.Redis:
        """A client of redis-py, for the test's event loop."""
        client = redis.asyncio.Redis.from_pool(async_pool(self.url))
        self._closing.append(close_with_loop(client.aclose))
        return client

    @cached_property
    def emitter(self) -> Emitter:
        """What adds updates."""
        return Emitter(self.url, prefix=self.prefix)

    @cached_property
    def async_emitter(self) -> AsyncEmitter:
        """What adds updates, in the test's event loop."""
        emitter = AsyncEmitter(self.url, prefix=self.prefix)
        self._closing.append(close_with_loop(emitter.close))
        return emitter

    @cached_property
    def reader(self) -> StatusReader:
        """What reads statuses: those that were there when the kit last settled."""
        return StatusReader(self.url, prefix=self.prefix)

    @cached_property
    def async_reader(self) -> AsyncStatusReader:
        """What reads statuses, in the test's event loop."""
        reader = AsyncStatusReader(self.url, prefix=self.prefix)
        self._closing.append(close_with_loop(reader.close))
        return reader

    def settle(self) -> None:
        """Fold all updates that were emitted; readers see what became of them."""
        self._fold()

    def task(self, entity_id: str) -> Status | None:
        """Return the status of a task; None where it has none."""
        return self.get("task", entity_id)

    def asset(self, entity_id: str) -> Status | None:
        """Return the status of an asset; None where it has none."""
        return self.get("asset", entity_id)

    def get(self, kind: str, entity_id: str) -> Status | None:
        """Return the status of an entity; None where it has none."""
        self.settle()
        return self.reader.get(kind, entity_id)

    def phases(self, entity_id: str, kind: str | None = None) -> list[str]:
        """Return all phases that an entity went through, in their order.

        Raises ValueError where entities of several kinds have that id, and no kind is given.
        """
        found = [
            change
            for change in self.changes
            if isinstance(change, Change) and change.id == entity_id and kind in (None, change.kind)
        ]
        kinds = sorted({change.kind for change in found})
        if len(kinds) > 1:
            raise ValueError(f"kind: give one of {', '.join(kinds)}: each has a {entity_id}")
        return [change.phase for change in found]

    @property
    def changes(self) -> list[Change | Removal]:
        """The change feed: each change of phase, and each entity that was removed, in order."""
        self.settle()
        stream = self._deployment.keys.partition(0).changes
        return [
            event.what
            for entry_id, values in self._entries(stream)
            for event in events_of(stream, BEGINNING, entry_id.decode(), values)
        ]

    @property
    def rejected(self) -> list[Rejected]:
        """What was not applied, with its reason, in order; without what `redeliver` repeated."""
        self.settle()
        return [entry for entry in self._all_rejected() if entry not in self._of_repeats]

    def redeliver(self) -> None:
        """Add all updates once more, as a producer may that lost a reply. Nothing may change.

        Raises AssertionError, with the difference, where a status is another one afterwards. In
        the change feed a repeat may be seen, where it is within the rules' `clock_skew`.
        """
        __tracebackhide__ = True  # the line of the test is what counts
        self.settle()
        before, rejected = self._statuses(), self._all_rejected()
        for number in range(self._deployment.partitions):
            stream = self._deployment.keys.events(number)
            for entry_id, values in self._entries(stream):
                # What is forwarded is so again by the repeat of its first entry.
                if (stream, entry_id) not in self._repeats and b"from" not in values[::2]:
                    self._repeats.add((stream, self._ask("XADD", stream, "*", *values)))
        self.settle()
        self._of_repeats |= set(self._all_rejected()) - set(rejected)
        found = of_statuses(before, self._statuses())
        if found:
            raise AssertionError("\n".join(["a repeat changed statuses:", *found]))

    def rules(self, file: Path | str | None = None, /, **keys: Any) -> Rules:
        """Put rules in force: those of a file, or those there are, with keys as the file has them.

        ``rules(export={"phases": …})`` adds a kind. Returns the rules; raises `ConfigError` where
        they cannot work.
        """
        self.settle()
        found: Mapping[str, Any]
        if file is None:
            found = msgspec.json.decode(rules_json(self._deployment.rules))
        else:
            found = read_toml(Path(file))
        try:
            rules = parse_rules({**found, **keys})
        except ValueError as error:
            raise ConfigError(f"{file or 'rules'}: {error}") from None
        if rules != self._deployment.rules:
            self._deployment = driven(revise(self._client, self._deployment, rules))
        return rules

    def close(self) -> None:
        """Close all connections but those of asyncio, which end with the test's event loop."""
        for made in ("emitter", "reader", "client"):
            if made in vars(self):
                vars(self)[made].close()
        driven(self._client.close())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def report(self) -> Iterator[str]:
        """Yield what there is to say of a test that failed, without folding anything."""
        changes = self._deployment.keys.partition(0).changes
        ways: dict[tuple[str, str], list[str]] = {}
        for entry_id, values in self._entries(changes):
            for event in events_of(changes, BEGINNING, entry_id.decode(), values):
                phase = event.what.phase if isinstance(event.what, Change) else "(removed)"
                ways.setdefault((event.what.kind, event.what.id), []).append(phase)
        for (kind, entity_id), phases in ways.items():
            yield f"{kind} {entity_id}: {' -> '.join(phases)}"
        for entry in self._all_rejected():
            if entry not in self._of_repeats:
                yield in_words(entry)
        unread = 0
        for number in range(self._deployment.partitions):
            own = self._deployment.keys.partition(number)
            cursor = self._ask("HGET", own.partition, "cursor") or b"0-0"
            unread += len(self._ask("XRANGE", own.events, b"(" + cursor, "+"))
        if unread:
            yield f"updates that are not folded yet: {unread}; status_tracker.settle() folds them"

    def _fold(self) -> bool:
        """Fold all updates that were emitted; return whether there were any."""
        self._deployment = self._agreed(self._deployment)
        lines = [self._line(number) for number in range(self._deployment.partitions)]
        turns = 0
        # Until none has any left: one partition may forward to another.
        while any(driven(line.turn()).entries for line in lines):
            turns += 1
        return turns > 0

    def _keep_up(self) -> None:
        """Fold what was emitted, and do what workers do by the time, until nothing is left."""
        self._fold()
        is_due = True
        while is_due:
            now = self.clock.now()
            looks = [driven(policy.look(now)) for policy in self._policies]
            is_due = self._fold() or any(looks)

    def _policies_of(self, settings: Settings) -> list[Policy]:
        def deployment() -> Deployment:
            return self._deployment

        def owned() -> dict[int, Heard]:
            return self._heard

        return [
            Stalled(self._client, deployment, owned, owner=""),
            Retention(self._client, deployment, owned),
            Trimming(
                self._client,
                deployment,
                owned,
                Tally(),
                retention=settings.events_retention,
                group_retention=settings.events_retention_for_groups,
            ),
        ]

    def _agreed(self, known: Deployment | None) -> Deployment:
        """Return the deployment with the rules in force, which somebody else may have changed."""
        return driven(
            ensure_deployment(
                self._client,
                self.prefix,
                partitions=self._settings.partitions,
                layout="single",
                rules=self._shipped,
                known=known,
            )
        )

    def _line(self, number: int) -> Line:
        """Return the line of a partition, which stands where its keys say."""
        deployment, settings = self._deployment, self._settings
        store = Store(
            self._client,
            deployment,
            number,
            max_changes=settings.max_changes,
            max_rejected=settings.max_rejected,
        )
        cache = StatusCache(
            deployment.rules, capacity=settings.live_statuses, size=settings.live_bytes
        )
        builder = BatchBuilder(deployment, cache, number=number, heard=self._heard[number])
        line = Line(store, deployment.keys.partition(number), builder)
        driven(line.attach())
        return line

    def _statuses(self) -> dict[tuple[str, str], Status]:
        """Return all statuses, by kind and id."""
        return {
            (kind, entity_id): status
            for kind in self._deployment.rules.kinds
            for entity_id, status in self.reader.snapshot(kind).statuses.items()
        }

    def _all_rejected(self) -> list[Rejected]:
        found: list[Rejected] = []
        after = None
        while True:
            page = self.reader.rejected(limit=PAGE, after=after)
            found += page.entries
            if len(page.entries) < PAGE:
                return found
            after = page.after

    def _entries(self, stream: str) -> list[tuple[bytes, list[bytes]]]:
        found: list[tuple[bytes, list[bytes]]] = self._ask("XRANGE", stream, "-", "+")
        return found

    def _ask(self, *command: str | bytes | int) -> Any:
        return driven(self._client.execute(*command))
