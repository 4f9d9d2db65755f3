"""One partition's line, driven step by step: a test does what the loop does by itself."""

from contextlib import suppress

from status_tracker.connection.client import Client
from status_tracker.decode import find_all
from status_tracker.engine.batch import Batch, BatchBuilder
from status_tracker.engine.partition import PartitionKeyspace
from status_tracker.engine.statuses import StatusCache
from status_tracker.engine.store import Store
from status_tracker.keys import Keys, Layout, PartitionKeys
from status_tracker.lua.commit import StatusChangedError
from status_tracker.rules import Rules, load_rules
from status_tracker.settings import default_file

MAX_EVENT_BYTES = 65_536

RULES = load_rules(default_file("rules.toml"))
"""The contract's rules with its default numbers."""


def builder(
    *,
    stream: str,
    rules: Rules = RULES,
    number: int = 0,
    partitions: int = 1,
    live_statuses: int = 1_000,
    live_bytes: int = 10**9,
) -> BatchBuilder:
    """Return what folds the entries of a partition."""
    return BatchBuilder(
        rules,
        StatusCache(rules, capacity=live_statuses, size=live_bytes),
        stream=stream,
        number=number,
        partitions=partitions,
    )


class Line:
    """A partition's keys, and the folding of its entries."""

    def __init__(self, store: PartitionKeyspace, own: PartitionKeys, builder: BatchBuilder) -> None:
        self.store = store
        self.own = own
        self.builder = builder

    @property
    def cursor(self) -> str:
        """The ID of the last entry that was folded."""
        return self.builder.batch.cursor

    async def attach(self) -> tuple[str, ...]:
        """Take the cursor from the keys; return what was created."""
        attached = await self.store.attach(thorough=True)
        self.builder.restart(attached.cursor)
        return attached.created

    async def fold(self, count: int = 100_000) -> Batch:
        """Read what is there and fold it, without committing."""
        entries = await self.store.read(self.cursor, count=count, block=1)
        if entries:
            folding = self.builder.fold(entries, find_all(entries)[0])
            with suppress(StopIteration):
                wanted = next(folding)
                while True:
                    wanted = folding.send(await self.store.load(wanted))
        return self.builder.close()

    async def turn(self, count: int = 100_000) -> Batch:
        """Read, fold and commit; once more where an entity was created that has a status."""
        batch = await self.fold(count)
        try:
            await self.store.commit(batch)
        except StatusChangedError as error:
            if error.was_known:
                raise
            self.builder.suspend_optimistic_creates()
            await self.attach()
            batch = await self.fold(count)
            await self.store.commit(batch)
        self.builder.committed(batch)
        return batch


def server_line(
    client: Client,
    number: int = 0,
    *,
    rules: Rules = RULES,
    layout: Layout = "single",
    partitions: int = 4,
    max_changes: int = 1_000_000,
    max_rejected: int = 1_000_000,
) -> Line:
    """Return the line of a partition on a real server."""
    keys = Keys("status", layout)
    own = keys.partition(number)
    store = Store(
        client,
        keys,
        number,
        rules=rules,
        max_changes=max_changes,
        max_rejected=max_rejected,
    )
    folding = builder(stream=own.events, rules=rules, number=number, partitions=partitions)
    return Line(store, own, folding)
