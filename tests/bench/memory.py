"""How much memory an entity takes on the server, beside its document alone."""

from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any

import msgspec
import redis
from msgspec import Struct

from tests.bench.figures import Figure, Report
from tests.bench.kinds import Kind, connect, version
from tests.bench.processes import await_that
from tests.bench.rounds import Plan, say
from tests.bench.tracker import check, drain_tracker, keys, status_key
from tests.bench.workload import Workload, add, outcome

AT_ONCE = 5_000

STILL = 50
"""Readings alike, 20 ms apart: by then the server has moved hash tables that had grown."""

NOISE = 4_096
"""Bytes by which they may differ."""


class Entity(Struct, gc=False):
    """A task as the tracker left it."""

    id: str
    document: bytes
    phase: str


class _Shown(Struct):
    """What is read of a document."""

    phase: str


Write = Callable[[redis.Redis, Sequence[Entity]], None]

_decode = msgspec.json.Decoder(_Shown).decode


def measure(kind: Kind, plan: Plan) -> Report:
    """Let the tracker write entities, then twice as many, and write the same without it.

    The growth over a doubling is what an entity takes on average, whenever hash tables grow.
    """
    half = Workload(plan.sized(400_000))
    with kind.serve() as url:
        report = Report(version(url), kind.append_only)
        ours, stages = _by_tracker(url, half, Workload(2 * half.events))
        documents = _by(url, write_documents, stages)
        indexed = _by(url, write_documents_and_index, stages)
    say(f"bytes per entity: {ours:.0f}, its document alone {documents:.0f}, indexed {indexed:.0f}")
    report.figures = [
        Figure(
            "server: memory per entity, beside a bare SET",
            "server_memory",
            ours / documents,
            target=1.6,
            at_least=False,
            detail=f"{ours:.0f} and {documents:.0f} bytes",
        ),
        Figure(
            "… of SET and ZADD alone, beside that",
            "server_memory_floor",
            indexed / documents,
            detail=f"{indexed:.0f} and {documents:.0f} bytes",
        ),
    ]
    return report


def _by_tracker(url: str, half: Workload, whole: Workload) -> tuple[float, list[list[Entity]]]:
    """Drain both halves of a backlog; return the bytes per entity, and what each half left."""
    updates = whole.updates()
    used, stages = [], []
    for workload in (half, whole):
        with connect(url) as client:
            add(client, whole.streams(), islice(updates, half.events))
            drain_tracker(url, whole, events=half.events)
            check(client, workload)
            stages.append(_entities(client, workload))
            for stream in whole.streams():
                client.xtrim(stream, maxlen=0, approximate=False)
            client.delete(keys().changes)
        used.append(settled_memory(url))
    return _per_entity(used, stages), stages


def _entities(client: redis.Redis, workload: Workload) -> list[Entity]:
    tasks = list(outcome(workload))
    found = []
    for first in range(0, len(tasks), AT_ONCE):
        some = tasks[first : first + AT_ONCE]
        documents: Any = client.mget([status_key(task) for task in some])
        found += [
            Entity(task, document, _decode(document).phase)
            for task, document in zip(some, documents, strict=True)
        ]
    return found


def _by(url: str, write: Write, stages: Sequence[Sequence[Entity]]) -> float:
    """Write the entities of each stage to an empty server; return the bytes per entity."""
    used = []
    with connect(url) as client:
        client.flushdb(asynchronous=False)
    for stage in stages:
        with connect(url) as client:
            for first in range(0, len(stage), AT_ONCE):
                write(client, stage[first : first + AT_ONCE])
        used.append(settled_memory(url))
    return _per_entity(used, stages)


def write_documents(client: redis.Redis, entities: Sequence[Entity]) -> None:
    """Write what a dashboard reads, and nothing else."""
    pipeline = client.pipeline(transaction=False)
    for entity in entities:
        pipeline.set(status_key(entity.id), entity.document)
    pipeline.execute()


def write_documents_and_index(client: redis.Redis, entities: Sequence[Entity]) -> None:
    """Write what the contract has per entity: the document, and the id in its phase's set."""
    write_documents(client, entities)
    pipeline = client.pipeline(transaction=False)
    for phase, key in keys().phases["task"].items():
        ids = [entity.id for entity in entities if entity.phase == phase]
        others = [entity.id for entity in entities if entity.phase != phase]
        if ids:
            pipeline.zadd(key, dict.fromkeys(ids, 1_700_000_000_000))
        if others:
            pipeline.zrem(key, *others)
    pipeline.execute()


def _per_entity(used: Sequence[int], stages: Sequence[Sequence[Entity]]) -> float:
    return (used[1] - used[0]) / (len(stages[1]) - len(stages[0]))


def settled_memory(url: str) -> int:
    """Return the bytes that the server uses, when nothing is freed or moved about any more.

    Nobody else may be connected: buffers of a client are memory, too.
    """
    with connect(url) as client:
        readings: list[int] = []

        def still() -> bool:
            info = client.info("memory")
            readings.append(info["used_memory"])
            last = readings[-STILL:]
            idle = not info["lazyfree_pending_objects"] and max(last) - min(last) < NOISE
            return idle and len(last) == STILL

        await_that(still, "the server's memory to settle")
        return readings[-1]
