"""What must hold of the real loop for any stream, wherever it is cut and whatever goes wrong."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from itertools import count, cycle
from typing import Any, NamedTuple

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from redis.exceptions import ConnectionError as LostConnectionError
from status_tracker.decode import Entry
from status_tracker.engine.backoff import Backoff
from status_tracker.engine.batch import Batch
from status_tracker.engine.common import Common
from status_tracker.engine.limits import Limits
from status_tracker.engine.partition import Partition
from status_tracker.engine.tally import Tally
from status_tracker.keys import partition_of
from status_tracker.metadata import Deployment
from status_tracker.rules import Rules

from tests.line import builder, deployed
from tests.model import Model, canonical, retries
from tests.unit.deployments import DEPLOYMENTS
from tests.unit.deployments import Deployment as Rulebook
from tests.unit.folding import text
from tests.unit.memory import KEYS, OWN, MemoryCommonStore, MemoryStore, as_numbers, entry
from tests.unit.streams import Scene, scenes, trials
from tests.wire import Document

PARTITIONS = 2

HEALTHY, LOST_BEFORE, LOST_AFTER = range(3)
"""What becomes of a commit: it is written, or the connection is lost before that, or after it."""


class Server(MemoryStore):
    """Keys whose stream grows while it is read, and that are lost from time to time."""

    def __init__(
        self,
        scene: Scene,
        arrivals: list[int],
        troubles: list[int],
        between: Callable[[], None] = lambda: None,
        *,
        number: int = 0,
        beside: MemoryStore | None = None,
    ) -> None:
        super().__init__(number, beside=beside)
        self._between = between
        self._waiting = [
            entry(each.data, each.id, b"remove" if each.removes else b"data")
            for each in reversed(scene.stream)
        ]
        self._arrivals = cycle(arrivals)
        self._troubles = cycle(troubles)
        self.drained = asyncio.Event()

    async def read(self, cursor: str, *, count: int, block: int | None) -> list[Entry]:
        """Read entries; between two reads, more come, and what else is to happen then."""
        self._between()
        for _ in range(min(next(self._arrivals), len(self._waiting))):
            self.entries.append(self._waiting.pop())
        found = await super().read(cursor, count=count, block=block)
        if not found and not self._waiting and cursor == self.cursor:
            self.drained.set()
        return found

    async def commit(self, batch: Batch) -> int:
        """Write a batch, or lose the connection."""
        return await self.through(super().commit(batch))

    async def through(self, commit: Coroutine[Any, Any, int]) -> int:
        """Make a commit over a connection that is lost from time to time."""
        trouble = next(self._troubles)
        if trouble == LOST_BEFORE:
            commit.close()
            raise LostConnectionError("lost")
        dropped = await commit
        if trouble == LOST_AFTER:
            raise LostConnectionError("lost")
        return dropped


class CommonServer(MemoryCommonStore):
    """The same keys for several partitions at once."""

    def __init__(self, *servers: Server) -> None:
        super().__init__(*servers)
        self._first = servers[0]

    async def commit(self, batches: Sequence[Batch]) -> int:
        """Write batches, or lose the connection."""
        return await self._first.through(super().commit(batches))


def compare(store: MemoryStore, model: Model, history: int) -> None:
    """Compare all that is written with what the contract wants written."""
    documents = {key: text(document.encode()) for key, document in store.statuses.items()}
    assert documents == {
        f"status:{kind}:{entity_id}": text(document)
        for (kind, entity_id), document in model.statuses.items()
    }
    index = {key: ids for key, ids in store.phases.items() if ids}
    assert index == {
        f"status:phase:{kind}:{phase}": ids for (kind, phase), ids in model.phases.items()
    }
    counts = {
        f"status:phase:{key.rpartition(':')[2]}:{phase}": count
        for key, phases in store.counts.items()
        for phase, count in phases.items()
        if count
    }
    assert counts == {key: len(ids) for key, ids in index.items()}
    assert list(map(canonical, store.changes)) == list(map(canonical, model.changes))
    assert store.histories == {
        OWN.history(*entity): changes for entity, changes in model.histories(history).items()
    }
    assert store.rejected == [(each.reason, each.id, each.data) for each in model.rejected]
    forwards = [(KEYS.events(each.partition), each.data, each.origin) for each in model.forwards]
    assert sorted(store.forwards) == sorted(forwards)
    assert store.totals == model.totals[0]


OWN_LOOP_ONLY = float("inf")
"""Instead of the seconds that a partition stays careful: there is no common way."""


class Circumstances(NamedTuple):
    """What must make no difference to what is written."""

    arrivals: list[int]
    """How many entries come between two reads, over and over."""
    troubles: list[int]
    """What becomes of each commit, over and over."""
    owners: int
    batch_entries: int
    live_statuses: int
    careful_for: float
    """Seconds until a partition takes the common way again: at once, or never after trouble."""


CIRCUMSTANCES = st.builds(
    Circumstances,
    arrivals=st.lists(st.integers(0, 60), min_size=1, max_size=5).filter(any),
    troubles=st.lists(st.sampled_from([HEALTHY, HEALTHY, LOST_BEFORE, LOST_AFTER]), max_size=6).map(
        lambda drawn: [*drawn, HEALTHY]
    ),
    owners=st.sampled_from([1, 1, 2]),
    batch_entries=st.sampled_from([1, 3, 10, 25, 1000]),
    live_statuses=st.sampled_from([0, 1, 2, 1000]),
    careful_for=st.sampled_from([0, 0, 1000, OWN_LOOP_ONLY]),
)


def owners_of(
    servers: Sequence[Server],
    deployment: Deployment,
    agreed: Callable[[], Awaitable[Deployment]],
    totals: Tally,
    circumstances: Circumstances,
) -> list[Partition]:
    """Return what reads all partitions, once for each owner."""
    _, _, owners, batch_entries, live_statuses, careful_for = circumstances
    found = []
    for _ in range(owners):
        common = Common(
            CommonServer(*servers),
            totals,
            linger=0,
            batch_entries=batch_entries,
            batch_bytes=10_000,
        )
        found += [
            Partition(
                server.number,
                server,
                builder(deployment, number=server.number, live_statuses=live_statuses),
                agreed,
                totals,
                backoff=Backoff("server", first_delay=0),
                limits=Limits(entries=batch_entries, size=10_000),
                rejected_key=OWN.rejected,
                common=None if careful_for == OWN_LOOP_ONLY else common,
                careful_for=careful_for,
            )
            for server in servers
        ]
    return found


async def until_drained(servers: Sequence[Server], partitions: Sequence[Partition]) -> None:
    """Run partitions until nothing is left."""
    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        for partition in partitions:
            group.create_task(partition.run())
        for server in servers:
            await server.drained.wait()
        for partition in partitions:
            partition.stop()


def run(scene: Scene, circumstances: Circumstances) -> tuple[Server, Tally]:
    """Run the loop until nothing is left, by one owner or by several who know nothing of it."""
    return asyncio.run(_run(scene, circumstances))


async def _run(
    scene: Scene, circumstances: Circumstances, *, later: Rules | None = None, after: int = 0
) -> tuple[Server, Tally]:
    """Run; other rules are in force after so many reads, of which the first owner is told."""
    deployment = deployed(scene.deployment.rules, partitions=PARTITIONS)
    reads = count()

    async def agreed() -> Deployment:
        return deployment

    def between() -> None:
        nonlocal deployment
        if next(reads) == after and later is not None:
            deployment = deployed(later, revision=2, partitions=PARTITIONS)
            partitions[0].revise()

    server = Server(scene, circumstances.arrivals, circumstances.troubles, between)
    totals = Tally()
    partitions = owners_of([server], deployment, agreed, totals, circumstances)
    await until_drained([server], partitions)
    return server, totals


def modelled(scene: Scene, later: Mapping[str, Document] | None = None, begun: str = "") -> Model:
    """Feed a stream to the model; after an entry it has other kinds."""
    model = Model(PARTITIONS, kinds=scene.deployment.kinds)
    for each in scene.stream:
        if later is not None and as_numbers(each.id) > as_numbers(begun):
            model.kinds = later
        each.feed(model)
    return model


@given(scenes(partitions=PARTITIONS, removed=True), CIRCUMSTANCES)
@trials(100)
def test_what_is_written_is_what_the_contract_wants(
    scene: Scene, circumstances: Circumstances
) -> None:
    """However a stream arrives and is cut, whoever reads it, whatever is lost or let go.

    So it is the same as of one batch, whatever the rules, and no entry has its effect twice.
    """
    server, _ = run(scene, circumstances)
    compare(server, modelled(scene), scene.deployment.rules.history)


@given(scenes(partitions=PARTITIONS, removed=True), CIRCUMSTANCES, DEPLOYMENTS, st.integers(0, 12))
@trials(100)
def test_no_batch_is_folded_across_a_change_of_the_rules(
    scene: Scene, circumstances: Circumstances, other: Rulebook, after: int
) -> None:
    """Every entry counts by the rules that its partition went by, whoever read it ahead.

    An owner that has not heard of them is told by its commit.
    """
    later = msgspec.structs.replace(other.rules, history=scene.deployment.rules.history)
    server, _ = asyncio.run(_run(scene, circumstances, later=later, after=after))
    begun = server.begun.get(2)
    model = modelled(scene) if begun is None else modelled(scene, other.kinds, begun)
    compare(server, model, scene.deployment.rules.history)


@given(
    scenes(partitions=PARTITIONS, removed=True),
    st.sampled_from([1, 10, 1000]),
    st.sampled_from([0, OWN_LOOP_ONLY]),
)
@trials(40)
def test_every_entry_has_one_outcome(scene: Scene, batch_entries: int, careful_for: float) -> None:
    """Each entry is applied, or a duplicate, or forwarded, or rejected: none is lost or doubled.

    So the worker counts it, with the changes of phase and the retries that came of it.
    """
    model = modelled(scene)
    _, tally = run(scene, Circumstances([20], [HEALTHY], 1, batch_entries, 9, careful_for))
    assert tally.read == sum(tally.latency.counts) == len(scene.stream)
    endings: Counter[tuple[str, str]] = Counter()
    for each, number in tally.entries.items():
        endings[each.outcome, each.reason] += number
    assert endings == model.endings
    assert (tally.applied, tally.duplicates) == (model.applied, model.duplicates)
    changes = [each for each in model.changes if "removed" not in each]
    assert tally.changes == Counter((each["kind"], each["phase"]) for each in changes)
    assert tally.retries == retries(model.changes)


SCENES_OF_TWO = DEPLOYMENTS.flatmap(
    lambda deployment: st.tuples(
        *[scenes(st.just(deployment), partitions=PARTITIONS) for _ in range(PARTITIONS)]
    )
)


@given(SCENES_OF_TWO, CIRCUMSTANCES)
@trials(60)
def test_partitions_that_are_committed_together(
    both: tuple[Scene, ...], circumstances: Circumstances
) -> None:
    """What goes wrong with one of them makes no difference to what is written of the others.

    Nor to what is counted, unless a commit was not known to be one.
    """
    rules, kinds = both[0].deployment.rules, both[0].deployment.kinds
    deployment = deployed(rules, partitions=PARTITIONS)

    async def agreed() -> Deployment:
        return deployment

    tally = Tally()

    async def drain() -> list[Server]:
        arrivals, troubles, *_ = circumstances
        first = Server(both[0], arrivals, troubles)
        servers = [first, Server(both[1], arrivals[::-1], troubles, number=1, beside=first)]
        owners = owners_of(servers, deployment, agreed, tally, circumstances)
        await until_drained(servers, owners)
        return servers

    servers = asyncio.run(drain())
    model = Model(PARTITIONS, kinds=kinds)
    for number, scene in enumerate(both):
        for each in scene.stream:
            model.apply(number, each.id, each.data)
    for number, server in enumerate(servers):
        assert server.totals == model.totals[number]
    if LOST_AFTER not in circumstances.troubles:
        entries = sum(len(scene.stream) for scene in both)
        assert tally.read == sum(tally.latency.counts) == entries
        changes = Counter((each["kind"], each["phase"]) for each in model.changes)
        assert (tally.changes, tally.retries) == (changes, retries(model.changes))
    # Those of one partition come before the other one's here, and in turns there.
    servers[0].changes.sort(key=home)
    model.changes.sort(key=home)
    servers[0].rejected.sort()
    model.rejected.sort(key=lambda each: (each.reason, each.id, each.data))
    model.totals[1].clear()
    compare(servers[0], model, rules.history)


def home(change: object) -> int:
    """Return the partition that a change came through."""
    assert isinstance(change, dict)
    return partition_of(change["id"], PARTITIONS)
