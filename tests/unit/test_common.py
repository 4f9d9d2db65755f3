"""The common way: who takes it, who leaves it, and that nobody is held up or read twice."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial

import msgspec
import pytest
from redis.exceptions import ResponseError
from status_tracker.decode import Entry
from status_tracker.engine.backoff import Backoff
from status_tracker.engine.batch import Batch, Wanted
from status_tracker.engine.common import FEWEST_COUNT, LARGEST, MOST_REJECTED, Common
from status_tracker.engine.limits import Limits
from status_tracker.engine.partition import Partition
from status_tracker.engine.statuses import Statuses
from status_tracker.engine.tally import Ended, Tally
from status_tracker.metadata import Deployment

from tests.events import NOW, id_in, update
from tests.line import RULES, builder, deployed
from tests.unit.memory import MemoryCommonStore, MemoryStore, as_numbers, entry

PARTITIONS = 3

ASSETS_ONLY = msgspec.structs.replace(RULES, kinds={"asset": RULES.kinds["asset"]})


class OwnReads(MemoryStore):
    """A partition's keys, which count how often its own loop looks at them."""

    own_reads = own_commits = attached = 0
    loads: asyncio.Event | None = None
    """Where there is one, statuses that were loaded come when it is set."""

    async def read(self, cursor: str, *, count: int, block: int | None) -> list[Entry]:
        """Read by itself; wait for an entry as the server does, as long as the test takes."""
        self.own_reads += 1
        await until(lambda: self.entries_after(cursor) or block is None)
        return await self.peek(cursor, count)

    def entries_after(self, cursor: str) -> bool:
        """Tell whether there are any."""
        return as_numbers(cursor) < self.last

    async def peek(self, cursor: str, count: int) -> list[Entry]:
        """Be read by the common loop."""
        return await super().read(cursor, count=count, block=None)

    async def load(self, wanted: Wanted) -> Mapping[str, Statuses]:
        """Load statuses; return them as soon as the test wants it."""
        found = await super().load(wanted)
        if self.loads is not None:
            await self.loads.wait()
        return found

    async def commit(self, batch: Batch) -> int:
        """Write a batch of its own loop."""
        self.own_commits += 1
        return await super().commit(batch)


class Together(MemoryCommonStore):
    """All partitions' keys; a read waits for entries, and says so."""

    def __init__(self, stores: list[OwnReads]) -> None:
        super().__init__(*stores)
        self.of = stores
        self.tally = Tally()
        """What the common way counts."""
        self.read_of: list[set[int]] = []
        self.error: Exception | None = None
        """What the next read fails with."""
        self.gives_up = False
        """Whether a read returns without entries."""

    async def read(
        self, cursors: Mapping[int, str], *, count: int, block: int
    ) -> list[tuple[int, list[Entry]]]:
        """Wait for entries of any."""
        self.read_of.append(set(cursors))

        def is_over() -> bool:
            come = any(self.of[number].entries_after(at) for number, at in cursors.items())
            return come or self.gives_up or self.error is not None

        await until(is_over)
        if self.error is not None:
            error, self.error = self.error, None
            raise error
        return await super().read(cursors, count=count, block=block)


@asynccontextmanager
async def running(
    *, batch_entries: int = 1000, revised: int | None = None
) -> AsyncIterator[tuple[Together, list[Partition]]]:
    """Run three partitions, all of which take the common way; one may go by other rules."""
    first = OwnReads()
    stores = [first, *(OwnReads(number, beside=first) for number in range(1, PARTITIONS))]
    together = Together(stores)
    common = Common(
        together, together.tally, linger=0, batch_entries=batch_entries, batch_bytes=10**9
    )
    deployments = [deployed(partitions=PARTITIONS)] * PARTITIONS
    if revised is not None:
        deployments[revised] = deployed(ASSETS_ONLY, revision=2, partitions=PARTITIONS)

    partitions = [
        Partition(
            store.number,
            store,
            builder(deployments[store.number], number=store.number),
            partial(_agreed, deployments[store.number]),
            Tally(),
            backoff=Backoff("server", first_delay=0),
            limits=Limits(entries=batch_entries, size=10**9),
            rejected_key="status:rejected",
            common=common,
            careful_for=0,
        )
        for store in stores
    ]
    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        for number, partition in enumerate(partitions):
            group.create_task(partition.run(), name=f"run {number}")
        await until(lambda: together.read_of[-1:] == [{0, 1, 2}])
        yield together, partitions
        for partition in partitions:
            partition.stop()
    await common.close()


async def _agreed(deployment: Deployment) -> Deployment:
    return deployment


async def until(condition: Callable[[], object]) -> None:
    """Wait for a condition; `running` sets the deadline."""
    while not condition():  # noqa: ASYNC110 - what is waited for knows no event
        await asyncio.sleep(0.001)


def first_of(number: int, prefix: str = "e", **fields: str) -> Entry:
    """Return the first update of an entity that belongs to a partition."""
    entity = id_in(number, PARTITIONS, prefix)
    return entry(update(entity, "pending", NOW, **fields), f"{NOW}-{len(prefix)}")


async def test_what_comes_together_is_committed_together() -> None:
    """One read and one commit for all that are ready, and no loop of their own has work."""
    async with running() as (together, _):
        for store in together.of:
            store.add(first_of(store.number))
        await until(lambda: all(store.totals["entries"] for store in together.of))
        assert (together.commits, together.together) == (1, 1)
        assert sum(store.own_reads + store.own_commits for store in together.of) == 0
        assert len(together.of[0].statuses) == PARTITIONS
        assert together.tally.entries == {Ended("task", "applied"): PARTITIONS}
        assert sum(together.tally.latency.counts) == PARTITIONS


async def test_who_goes_by_other_rules_is_committed_apart() -> None:
    """An update is what the rules of its own partition make of it, also in the same read."""
    async with running(revised=1) as (together, _):
        for store in together.of:
            store.add(first_of(store.number))
        await until(lambda: all(store.totals["entries"] for store in together.of))
        assert (together.commits, together.together) == (2, 1)
        assert [store.totals["applied"] for store in together.of] == [1, 0, 1]
        assert together.of[1].totals["rejected:invalid"] == 1


@pytest.mark.parametrize("stops", [False, True])
async def test_who_is_cancelled_in_the_middle_holds_up_nobody(*, stops: bool) -> None:
    """Its lease is lost while another loads statuses: all but its own entries are written."""
    async with running() as (together, partitions):
        together.of[0].loads = asyncio.Event()
        together.of[0].add(entry(update(id_in(0, PARTITIONS, "e"), "running", NOW), f"{NOW}-1"))
        together.of[1].add(first_of(1))
        together.of[2].add(first_of(2))
        await until(lambda: together.of[0].loaded)
        if stops:
            partitions[1].stop()
        [task] = [task for task in asyncio.all_tasks() if task.get_name() == "run 1"]
        task.cancel()
        together.of[0].loads.set()
        await until(lambda: together.of[0].totals["entries"] and together.of[2].totals["entries"])
        assert together.together == 1
        assert not together.of[1].totals["entries"]


@pytest.mark.parametrize("number", [0, 2])
async def test_who_has_a_backlog_leaves(number: int) -> None:
    """It is read by its own loop, and comes back when it is drained."""
    async with running(batch_entries=30) as (together, _):
        backlog = [first_of(number, prefix=f"{n}-") for n in range(50)]
        together.of[number].add(*backlog)
        await until(lambda: together.of[number].totals["entries"] == 50)
        assert together.of[number].own_commits > 0
        assert together.commits == 0
        together.of[number].add(first_of(number))
        await until(lambda: together.read_of[-1] == {0, 1, 2})


@pytest.mark.parametrize(
    "entries",
    [
        pytest.param([entry(b"bad") for _ in range(FEWEST_COUNT + MOST_REJECTED + 1)], id="junk"),
        pytest.param([first_of(1)], id="misplaced"),
        pytest.param([first_of(0, errorMessage="x" * LARGEST)], id="large"),
    ],
)
async def test_who_has_something_rare_or_large_leaves(entries: list[Entry]) -> None:
    """It is handled by its own loop, in a commit of its own, and the others by the common one."""
    async with running() as (together, _):
        together.of[0].add(*entries)
        together.of[2].add(first_of(2))
        await until(lambda: together.of[0].totals["entries"] == len(entries))
        await until(lambda: together.of[2].totals["entries"])
        assert together.of[0].own_commits == 1
        assert together.of[2].own_commits == 0


async def test_a_few_rejected_entries_hold_up_nobody() -> None:
    """They are kept by the common commit, each with its partition's tally."""
    async with running() as (together, _):
        together.of[0].add(entry(b"bad"))
        together.of[1].add(entry(b"worse"), first_of(1))
        await until(lambda: together.of[0].totals["entries"] and together.of[1].totals["entries"])
        assert together.together == 1
        assert [data for _, _, data in together.of[0].rejected] == [b"bad", b"worse"]
        assert together.of[1].totals["rejected:malformed"] == 1


async def test_a_refused_commit_is_tried_by_each_alone() -> None:
    """An entity of one partition that is not new costs the others a read, and no effect."""
    async with running() as (together, _):
        entity = id_in(1, PARTITIONS, "e")
        text = '{"phase":"waiting","retries":0,"updatedAt":1600000000000}'
        together.of[0].statuses[f"status:task:{entity}"] = text
        for store in together.of:
            store.add(first_of(store.number))
        await until(lambda: all(store.totals["entries"] for store in together.of))
        assert together.of[0].refused == 1
        assert [reason for reason, *_ in together.of[0].rejected] == ["illegal_transition"]
        assert [store.totals["applied"] for store in together.of] == [1, 0, 1]
        assert together.of[0].statuses[f"status:task:{entity}"] == text


async def test_a_read_that_fails_is_everybodys_trouble_once() -> None:
    """One stream of another type fails the whole read, without a name: each looks at its own."""
    async with running() as (together, _):
        together.error = ResponseError("WRONGTYPE")
        for store in together.of:
            store.add(first_of(store.number))
        await until(lambda: all(store.totals["entries"] for store in together.of))
        await until(lambda: together.read_of[-1] == {0, 1, 2})
        assert all(store.totals["entries"] == 1 for store in together.of)


async def test_a_cursor_that_moved_is_noticed_while_nothing_comes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A restored backup moves it: what was kept in memory does not outlive that."""
    monkeypatch.setattr("status_tracker.engine.common.LOOK_EVERY", 0.01)
    async with running() as (together, _):
        together.of[1].add(first_of(1))
        await until(lambda: together.of[1].totals["entries"])
        together.of[1].cursor = "0-0"
        together.of[0].statuses.clear()
        together.of[0].phases.clear()
        together.gives_up = True
        await until(lambda: together.of[1].totals["entries"] == 2)


async def test_a_stop_does_not_wait_for_a_read() -> None:
    """Who is to end does so at once; the others are read on."""
    async with running() as (together, partitions):
        partitions[1].stop()
        together.of[0].add(first_of(0))
        await until(lambda: together.read_of[-1] == {0, 2})


async def test_who_joins_does_not_wait_for_a_read() -> None:
    """A read that waits for others is begun anew, so that a partition is heard of soon."""
    async with running(batch_entries=30) as (together, _):
        together.of[0].add(*(first_of(0, prefix=f"{n}-") for n in range(50)))
        await until(lambda: {1, 2} in together.read_of)
        await until(lambda: together.read_of[-1] == {0, 1, 2})
        assert together.commits == 0, "nothing came that would have ended the read"
