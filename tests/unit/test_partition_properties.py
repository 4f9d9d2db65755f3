"""What must hold of the real loop for any stream, wherever it is cut and whatever goes wrong."""

import asyncio
from collections.abc import Callable, Mapping
from itertools import count, cycle
from typing import NamedTuple

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from redis.exceptions import ConnectionError as LostConnectionError
from status_tracker.decode import Entry
from status_tracker.engine.backoff import Backoff
from status_tracker.engine.batch import Batch
from status_tracker.engine.limits import Limits
from status_tracker.engine.partition import Partition, Totals
from status_tracker.metadata import Deployment
from status_tracker.rules import Rules

from tests.line import builder, deployed
from tests.model import Document, Model, canonical
from tests.unit.deployments import DEPLOYMENTS
from tests.unit.deployments import Deployment as Rulebook
from tests.unit.folding import text
from tests.unit.memory import KEYS, OWN, MemoryStore, as_numbers, entry
from tests.unit.streams import Scene, scenes, trials

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
    ) -> None:
        super().__init__()
        self._between = between
        self._waiting = [entry(each.data, each.id) for each in reversed(scene.stream)]
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
        trouble = next(self._troubles)
        if trouble == LOST_BEFORE:
            raise LostConnectionError("lost")
        dropped = await super().commit(batch)
        if trouble == LOST_AFTER:
            raise LostConnectionError("lost")
        return dropped


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


class Circumstances(NamedTuple):
    """What must make no difference to what is written."""

    arrivals: list[int]
    """How many entries come between two reads, over and over."""
    troubles: list[int]
    """What becomes of each commit, over and over."""
    owners: int
    batch_entries: int
    live_statuses: int


CIRCUMSTANCES = st.builds(
    Circumstances,
    arrivals=st.lists(st.integers(0, 60), min_size=1, max_size=5).filter(any),
    troubles=st.lists(st.sampled_from([HEALTHY, HEALTHY, LOST_BEFORE, LOST_AFTER]), max_size=6).map(
        lambda drawn: [*drawn, HEALTHY]
    ),
    owners=st.sampled_from([1, 1, 2]),
    batch_entries=st.sampled_from([1, 3, 10, 25, 1000]),
    live_statuses=st.sampled_from([0, 1, 2, 1000]),
)


def run(scene: Scene, circumstances: Circumstances) -> tuple[Server, Totals]:
    """Run the loop until nothing is left, by one owner or by several who know nothing of it."""
    return asyncio.run(_run(scene, circumstances))


async def _run(
    scene: Scene, circumstances: Circumstances, *, later: Rules | None = None, after: int = 0
) -> tuple[Server, Totals]:
    """Run; other rules are in force after so many reads, of which the first owner is told."""
    arrivals, troubles, owners, batch_entries, live_statuses = circumstances
    deployment = deployed(scene.deployment.rules, partitions=PARTITIONS)
    reads = count()

    async def agreed() -> Deployment:
        return deployment

    def between() -> None:
        nonlocal deployment
        if next(reads) == after and later is not None:
            deployment = deployed(later, revision=2, partitions=PARTITIONS)
            partitions[0].revise()

    server, totals = Server(scene, arrivals, troubles, between), Totals()
    partitions = [
        Partition(
            0,
            server,
            builder(deployment, live_statuses=live_statuses),
            agreed,
            totals,
            backoff=Backoff("server", first_delay=0),
            limits=Limits(entries=batch_entries, size=10_000),
            rejected_key=OWN.rejected,
        )
        for _ in range(owners)
    ]
    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        for partition in partitions:
            group.create_task(partition.run())
        await server.drained.wait()
        for partition in partitions:
            partition.stop()
    return server, totals


def modelled(scene: Scene, later: Mapping[str, Document] | None = None, begun: str = "") -> Model:
    """Feed a stream to the model; after an entry it has other kinds."""
    model = Model(PARTITIONS, kinds=scene.deployment.kinds)
    for each in scene.stream:
        if later is not None and as_numbers(each.id) > as_numbers(begun):
            model.kinds = later
        model.apply(0, *each)
    return model


@given(scenes(partitions=PARTITIONS), CIRCUMSTANCES)
@trials(200)
def test_what_is_written_is_what_the_contract_wants(
    scene: Scene, circumstances: Circumstances
) -> None:
    """However a stream arrives and is cut, whoever reads it, whatever is lost or let go.

    So it is the same as of one batch, whatever the rules, and no entry has its effect twice.
    """
    server, _ = run(scene, circumstances)
    compare(server, modelled(scene), scene.deployment.rules.history)


@given(scenes(partitions=PARTITIONS), CIRCUMSTANCES, DEPLOYMENTS, st.integers(0, 12))
@trials(200)
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


@given(scenes(partitions=PARTITIONS), st.sampled_from([1, 10, 1000]))
@trials(60)
def test_every_entry_has_one_outcome(scene: Scene, batch_entries: int) -> None:
    """Each entry is applied, or a duplicate, or forwarded, or rejected: none is lost or doubled."""
    model = modelled(scene)
    _, totals = run(scene, Circumstances([20], [HEALTHY], 1, batch_entries, 9))
    assert totals.read == len(scene.stream)
    assert totals.applied == model.applied
    assert totals.duplicates == model.duplicates
    assert totals.forwarded == len(model.forwards)
    assert totals.rejected == len(model.rejected)
