"""Entities in the store, with index and counts, written as the tracker would have left them."""

import random
import uuid
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from itertools import islice

import msgspec
import redis
from msgspec import Struct

from tests.bench.tracker import KEYS, keys, status_key
from tests.bench.workload import LONG_AGO, STEPS, Workload, outcome, progress

AT_ONCE = 5_000
"""Entities per command."""

MIX: list[tuple[str, float | None]] = [("completed", 1.0)] * 15
"""Phases and progress of what gathers in a store over the years: most of it is done."""
MIX += [("pending", None), ("waiting", None), ("running", 0.5), ("failed", 0.5), ("cancelled", 0.5)]


class Task(Struct, frozen=True, gc=False):
    """An entity that is stored."""

    id: str
    phase: str
    progress: float | None = None

    def document(self) -> bytes:
        """Return its status."""
        document: dict[str, object] = {"phase": self.phase}
        if self.progress is not None:
            document["progress"] = self.progress
        return msgspec.json.encode(document | {"retries": 0, "updatedAt": LONG_AGO})


def gathered(entities: int) -> Iterator[Task]:
    """Yield so many tasks, none of which is one of a workload's."""
    chance = random.Random("gathered")
    for number in range(entities):
        yield Task(str(uuid.UUID(int=chance.getrandbits(128))), *MIX[number % len(MIX)])


def under_way(workload: Workload) -> Iterator[Task]:
    """Yield the tasks of a workload that are in flight before its first update."""
    for task, step in workload.before().items():
        phase = STEPS[step]
        yield Task(task, phase, progress(step) if phase == "running" else None)


def store(client: redis.Redis, tasks: Iterable[Task]) -> Counter[str]:
    """Write tasks; return how many are in each phase."""
    own = keys()
    source = iter(tasks)
    counts: Counter[str] = Counter()
    while some := list(islice(source, AT_ONCE)):
        entered: defaultdict[str, dict[str, float]] = defaultdict(dict)
        for task in some:
            entered[task.phase][task.id] = LONG_AGO
        pipeline = client.pipeline(transaction=False)
        pipeline.mset({status_key(task.id): task.document() for task in some})
        for phase, scores in entered.items():
            pipeline.zadd(own.phases["task"][phase], scores)
        pipeline.execute()
        counts.update(task.phase for task in some)
    if counts:
        _count(client, counts)
    return counts


def take_back(client: redis.Redis, workload: Workload, counts: Counter[str]) -> None:
    """Remove all that a drain made, so that what was stored before is there as it was."""
    own = keys()
    left = list(outcome(workload).items())
    for first in range(0, len(left), AT_ONCE):
        some = left[first : first + AT_ONCE]
        pipeline = client.pipeline(transaction=False)
        pipeline.delete(*[status_key(task) for task, _ in some])
        for phase in {STEPS[step] for _, step in some}:
            ids = [task for task, step in some if STEPS[step] == phase]
            pipeline.zrem(own.phases["task"][phase], *ids)
        pipeline.execute()
    made = [own.counts["task"], own.changes, own.rejected]
    for number in range(workload.partitions):
        made += [KEYS.partition(number).partition, KEYS.events(number), KEYS.lease(number)]
    client.delete(*made)
    _count(client, counts)


def _count(client: redis.Redis, counts: Counter[str]) -> None:
    for phase, count in counts.items():
        client.hset(keys().counts["task"], phase, str(count))
