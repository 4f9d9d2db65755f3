"""One partition's store and pipeline on a real server."""

from collections.abc import AsyncIterator, Callable

import pytest
import redis.asyncio
from status_tracker.connection.url import connect
from status_tracker.decode import find_all
from status_tracker.engine.batch import Batch, Pipeline
from status_tracker.engine.store import StatusChangedError, Store
from status_tracker.fold import Rules
from status_tracker.keys import Keys, Layout
from status_tracker.lifecycle import load_lifecycles
from status_tracker.settings import default_file

from tests.servers import Server

RULES = Rules(
    load_lifecycles(default_file("lifecycles.toml")), max_clock_skew=60_000, clock_skew=1_000
)


class Line:
    """What a partition's loop drives, step by step."""

    def __init__(
        self,
        client: redis.asyncio.Redis,
        *,
        number: int,
        layout: Layout,
        partitions: int,
        max_changes: int,
        max_rejected: int,
    ) -> None:
        self.keys = Keys("status", layout)
        self.own = self.keys.partition(number)
        self.store = Store(
            client, self.keys, number, max_changes=max_changes, max_rejected=max_rejected
        )
        self.pipeline = Pipeline(
            RULES,
            stream=self.own.events,
            number=number,
            partitions=partitions,
            max_event_bytes=65_536,
            live_statuses=1_000,
        )

    @property
    def cursor(self) -> str:
        """The ID of the last entry that was folded."""
        return self.pipeline.in_hand.cursor

    async def attach(self) -> tuple[str, ...]:
        """Take the cursor from the keys; return what was made anew."""
        attached = await self.store.attach()
        self.pipeline.start(attached.cursor)
        return attached.made

    async def fold(self, count: int = 100_000) -> Batch:
        """Read what is there and fold it, without committing."""
        entries = await self.store.read(self.cursor, count=count, block=1)
        self.pipeline.decode(entries, find_all(entries)[0])
        while unknown := self.pipeline.fold():
            self.pipeline.learn(await self.store.load(unknown))
        return self.pipeline.close()

    async def turn(self, count: int = 100_000) -> Batch:
        """Read, fold and commit; once more where an entity was taken for new and is not."""
        batch = await self.fold(count)
        try:
            await self.store.commit(batch)
        except StatusChangedError as error:
            if error.was_known:
                raise
            self.pipeline.doubt()
            await self.attach()
            batch = await self.fold(count)
            await self.store.commit(batch)
        self.pipeline.settle(batch)
        return batch


@pytest.fixture
async def line(server: Server) -> AsyncIterator[Callable[..., Line]]:
    """Make a line for partition 0, or for another one."""
    client = connect(server.url)

    def make(
        number: int = 0,
        layout: Layout = "single",
        partitions: int = 4,
        max_changes: int = 1_000_000,
        max_rejected: int = 1_000_000,
    ) -> Line:
        return Line(
            client,
            number=number,
            layout=layout,
            partitions=partitions,
            max_changes=max_changes,
            max_rejected=max_rejected,
        )

    yield make
    await client.aclose()
