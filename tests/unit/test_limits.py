"""How much is asked for and committed at once, on a link and a server that cannot take all."""

import asyncio

from redis.exceptions import TimeoutError as NoAnswerError
from status_tracker.decode import Entry, size_of
from status_tracker.engine.backoff import Backoff
from status_tracker.engine.batch import Batch, Wanted
from status_tracker.engine.limits import LONGEST_PATIENCE, QUICK, SLOW, Limits
from status_tracker.engine.notices import Notice
from status_tracker.engine.partition import Partition
from status_tracker.engine.reader import FIRST_COUNT, LINGER
from status_tracker.engine.statuses import Statuses
from status_tracker.engine.tally import Tally
from status_tracker.metadata import Deployment

from tests.events import NOW, update
from tests.line import builder, deployed
from tests.unit.memory import OWN, MemoryStore, arguments, entry

MESSAGE = "x" * 60_000


class SlowLink(MemoryStore):
    """Keys at the other end of a link that carries only so many bytes before the deadline."""

    def __init__(self, capacity: int) -> None:
        super().__init__()
        self._capacity = capacity
        self.failures = 0

    async def read(self, cursor: str, *, count: int, block: int | None) -> list[Entry]:
        """Read entries, if all of them come in time."""
        found = await super().read(cursor, count=count, block=block)
        self._carry(sum(map(size_of, found)))
        return found

    async def read_cut(self, cursor: str, *, count: int, size: int) -> list[Entry]:
        """Read entries that are cut on the other end."""
        found = self.cut(await super().read(cursor, count=count, block=None), size)
        self._carry(sum(map(size_of, found)))
        return found

    async def load(self, wanted: Wanted) -> dict[str, Statuses]:
        """Load statuses, if all of them come in time."""
        keys = [OWN.status(kind, entity_id) for kind in wanted for entity_id in wanted[kind]]
        self._carry(sum(len(self.statuses.get(key, "")) for key in keys))
        return dict(await super().load(wanted))

    async def commit(self, batch: Batch) -> int:
        """Commit, if all of it goes in time."""
        self._carry(sum(map(len, arguments(batch).args)))
        return await super().commit(batch)

    def _carry(self, size: int) -> None:
        if size > self._capacity:
            self.failures += 1
            raise NoAnswerError("no answer within 5 s")


def partition_of(store: MemoryStore) -> Partition:
    """Return the real loop over a store."""
    return Partition(
        0,
        store,
        builder(deployed()),
        _as_it_was,
        Tally(),
        backoff=Backoff("server", first_delay=0),
        limits=Limits(entries=2_000, size=8 * 2**20),
        rejected_key=OWN.rejected,
    )


async def drain(store: MemoryStore, *, until: str | None = None) -> None:
    """Let the real loop read up to an entry, or everything."""
    last = until or store.entries[-1][0].decode()
    partition = partition_of(store)
    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        group.create_task(partition.run())
        while store.cursor != last:  # noqa: ASYNC110 - it is all in memory
            await asyncio.sleep(0)
        partition.stop()


async def _as_it_was() -> Deployment:
    """Find the deployment as it was."""
    return deployed()


class StalledLink(MemoryStore):
    """Keys at the other end of a link that is slow, and over which nothing comes after one read."""

    async def read(self, cursor: str, *, count: int, block: int | None) -> list[Entry]:
        """Read entries once."""
        await asyncio.sleep(LINGER)
        if cursor != "0-0":
            await asyncio.Event().wait()
        return await super().read(cursor, count=count, block=block)


async def test_a_batch_does_not_wait_for_what_does_not_come() -> None:
    """What was read is committed, though there are more entries and the batch is not full."""
    link = StalledLink()
    link.add(*(entry(update(f"t{n}", "pending")) for n in range(50)))
    await drain(link, until=link.entries[FIRST_COUNT - 1][0].decode())
    assert len(link.statuses) == FIRST_COUNT


async def test_updates_that_are_large_pass_a_slow_link() -> None:
    """300 updates of 60 KB where only 1 MB passes in time: not all at once, but all of them."""
    link = SlowLink(1_000_000)
    link.add(*(entry(update(f"t{n}", "pending", errorMessage=MESSAGE)) for n in range(300)))
    await drain(link)
    assert len(link.statuses) == 300
    assert link.failures < 20


async def test_an_entry_that_cannot_pass_is_read_cut() -> None:
    """An entry of 30 MB is only going to be rejected: what is behind it must not wait for it."""
    link = SlowLink(1_000_000)
    link.add(entry(b"x" * 30_000_000), entry(update("a", "pending")))
    await drain(link)
    assert [reason for reason, _, _ in link.rejected] == ["oversized"]
    assert len(link.rejected[0][2]) == 65_536
    assert len(link.statuses) == 1


async def test_statuses_that_are_large_are_loaded_in_parts() -> None:
    """300 small updates of entities with messages of 60 KB: 18 MB are too much to load at once."""
    link = SlowLink(1_000_000)
    ids = [f"t{n}" for n in range(300)]
    for each in ids:
        link.statuses[OWN.status("task", each)] = (
            f'{{"phase":"waiting","errorMessage":"{MESSAGE}","retries":0,"updatedAt":{NOW}}}'
        )
    link.phases[OWN.phase("task", "waiting")] = dict.fromkeys(ids, NOW)
    link.add(*(entry(update(each, "running", NOW + 1)) for each in ids))
    await drain(link)
    assert len(link.changes) == 300


def test_limits_halve_and_double() -> None:
    """A failure halves them, quick commits double them, up to the settings and down to one."""
    limits = Limits(entries=100, size=10**6)
    limits.shrink()
    assert (limits.entries, limits.size) == (50, 500_000)
    for _ in range(20):
        limits.shrink()
    assert (limits.entries, limits.size) == (1, 65_536)
    for _ in range(LONGEST_PATIENCE + 20):
        limits.commit_took(QUICK / 2)
    assert (limits.entries, limits.size) == (100, 10**6)


def test_what_fails_again_is_tried_more_seldom() -> None:
    """A size that a server refuses at once must not make every second commit fail."""
    limits = Limits(entries=100, size=10**6)
    failures = 0
    for _ in range(1_000):
        if limits.entries > 30:
            failures += 1
            limits.shrink()
        else:
            limits.commit_took(0.001)
    assert failures < 10


def test_limits_do_not_grow_into_the_next_failure() -> None:
    """What is nearly too late is made smaller, and nothing grows while one direction is slow."""
    limits = Limits(entries=100, size=10**6)
    limits.commit_took(SLOW * 1.1)
    assert limits.entries == 50
    limits.read_took((QUICK + SLOW) / 2)
    for _ in range(LONGEST_PATIENCE):
        limits.commit_took(0.001)
    assert limits.entries == 50
    limits.read_took(0.001)
    limits.commit_took(0.001)
    assert limits.entries == 100


def test_what_comes_often_is_said_seldom() -> None:
    """The first time it is said at once; then it is counted until it is time again."""
    seldom, often = Notice(), Notice(every=0)
    for notice in (seldom, often):
        notice.add(["stale", "stale", "invalid"])
        assert notice.take() == {"stale": 2, "invalid": 1}
        assert not notice.take()
        notice.add(["stale"])
    assert not seldom.take()
    assert often.take() == {"stale": 1}
