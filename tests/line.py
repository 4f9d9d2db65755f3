"""One partition's line, driven step by step: a test does what the loop does by itself."""

from contextlib import suppress

from status_tracker.connection.client import Client
from status_tracker.decode import find_all
from status_tracker.engine.batch import Batch, BatchBuilder
from status_tracker.engine.partition import PartitionKeyspace
from status_tracker.engine.reader import Read, pieces
from status_tracker.engine.statuses import StatusCache
from status_tracker.engine.store import Store
from status_tracker.keys import Keys, Layout, PartitionKeys
from status_tracker.lua.attach import Attached
from status_tracker.lua.commit import StatusChangedError
from status_tracker.metadata import Deployment
from status_tracker.rules import Rules, load_rules, rules_json
from status_tracker.settings import default_file

MAX_EVENT_BYTES = 65_536

RULES = load_rules(default_file("rules.toml"))
"""The contract's rules with its default numbers."""


def deployed(
    rules: Rules = RULES, *, revision: int = 1, layout: Layout = "single", partitions: int = 1
) -> Deployment:
    """Return a deployment that has these rules in force."""
    return Deployment(
        keys=Keys("status", layout),
        partitions=partitions,
        revision=revision,
        rules=rules,
        texts={revision: rules_json(rules)},
    )


def meta_of(deployment: Deployment) -> dict[str, str | None]:
    """Return what the `meta` key of a deployment holds."""
    texts = {f"rules:{number}": text for number, text in deployment.texts.items()}
    return {
        "version": "2",
        "partitions": str(deployment.partitions),
        "layout": deployment.keys.layout,
        "rules": rules_json(deployment.rules),
        "revision": str(deployment.revision),
        **texts,
    }


def builder(
    deployment: Deployment,
    *,
    number: int = 0,
    live_statuses: int = 1_000,
    live_bytes: int = 10**9,
) -> BatchBuilder:
    """Return what folds the entries of a partition."""
    cache = StatusCache(deployment.rules, capacity=live_statuses, size=live_bytes)
    return BatchBuilder(deployment, cache, number=number)


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
        attached = await self.look()
        self.builder.restart(attached.cursor, self.builder.deployment)
        return attached.created

    async def look(self, *, thorough: bool = True) -> Attached:
        """See where the keys stand, and recreate what is missing."""
        return await self.store.attach(self.builder.deployment, thorough=thorough)

    async def fold(self, count: int = 100_000) -> Batch:
        """Read what is there and fold it, without committing."""
        entries = await self.store.read(self.cursor, count=count, block=1)
        if entries:
            for piece in pieces(Read(entries, *find_all(entries), more=False)):
                if piece.removing is None:
                    folding = self.builder.fold(piece.entries, piece.values)
                else:
                    assert len(entries) == 1, "such an entry is folded alone"
                    folding = self.builder.remove(piece.entries[0], piece.removing)
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
    revision: int = 1,
    max_changes: int = 1_000_000,
    max_rejected: int = 1_000_000,
) -> Line:
    """Return the line of a partition on a real server."""
    deployment = deployed(rules, revision=revision, layout=layout, partitions=partitions)
    store = Store(client, deployment, number, max_changes=max_changes, max_rejected=max_rejected)
    return Line(store, deployment.keys.partition(number), builder(deployment, number=number))
