"""The backlog that is drained, and what is in the store before it comes."""

import random
import time
import uuid
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from itertools import islice
from typing import TypeVar

import msgspec
import redis
from msgspec import Struct
from status_tracker.keys import Keys

T = TypeVar("T")

PREFIX = "bench"
KEYS = Keys(PREFIX, "single")
OWN = KEYS.partition(0)
"""Also the keys that a deployment has once."""
STEPS = ["pending", "waiting", *["running"] * 5, "completed"]

DAY = 86_400_000
LAST_DAY = (int(time.time() * 1000) // DAY - 1) * DAY
"""The `updatedAt` of what was completed long before: the rules let it stay."""

AT_ONCE = 5_000
"""Commands or entities that go to the server together."""


class Task(Struct, frozen=True, gc=False):
    """A task as the store has it."""

    id: str
    phase: str
    document: bytes = b""
    at: int = LAST_DAY
    """When it entered its phase."""


class Workload(Struct, frozen=True):
    """How much there is to do."""

    events: int = 400_000
    in_flight: int = 2_000
    partitions: int = 4
    under_way: bool = False
    """Whether the first tasks in flight are in mid-life, with their statuses in the store. Else
    they begin with the backlog, which is what it is then about where they are many."""
    stored: int = 0
    """How many more tasks are in the store, all of them completed a day ago."""
    ahead: int = 0
    """Milliseconds that the producer's clock is ahead."""
    seed: int = 1
    """Another one has other tasks."""

    def updates(self) -> Iterator[tuple[int, bytes]]:
        """Yield ``(partition, data)``: tasks in flight move on at random, and new ones follow.

        Each is of the time at which it is taken.
        """
        for task, step in self.moves():
            yield spell(task, step, int(time.time() * 1000) + self.ahead, self.partitions)

    def moves(self) -> Iterator[tuple[str, int]]:
        """Yield ``(task, step)`` for each update; the same ones every time."""
        chance = random.Random(self.seed)
        flight = self._take_off(chance)
        last = len(STEPS) - 1
        for _ in range(self.events):
            place = chance.randrange(self.in_flight)
            task, step = flight[place]
            yield task, step
            flight[place] = (task, step + 1) if step < last else (_new_id(chance), 0)

    def before(self) -> dict[str, int]:
        """Return the step at which each task stands that is under way before the first update."""
        return {task: step - 1 for task, step in self._take_off(random.Random(self.seed)) if step}

    def tasks_before(self, at: int) -> Iterator[Task]:
        """Yield what is in the store before the first update: what is under way, since `at`."""
        for task, step in self.before().items():
            yield Task(task, STEPS[step], _document(step, at), at)
        chance = random.Random("stored")
        document = _document(len(STEPS) - 1, LAST_DAY)
        for _ in range(self.stored):
            yield Task(_new_id(chance), STEPS[-1], document)

    def _take_off(self, chance: random.Random) -> list[tuple[str, int]]:
        """Return tasks and the steps that come next."""
        ids = [_new_id(chance) for _ in range(self.in_flight)]
        return [(task, chance.randrange(1, len(STEPS)) if self.under_way else 0) for task in ids]

    def streams(self) -> list[str]:
        """Return the keys of the partitions' streams."""
        return [KEYS.events(number) for number in range(self.partitions)]


def spell(task: str, step: int, at: int, partitions: int) -> tuple[int, bytes]:
    """Return an update as its producer sends it: ``(partition, data)``."""
    told = _told(step) if STEPS[step] == "running" else {"phase": STEPS[step]}
    update = {"kind": "task", "id": task, **told, "updatedAt": at}
    return zlib.crc32(task.encode()) % partitions, msgspec.json.encode(update)


def _document(step: int, at: int) -> bytes:
    """Return a status as an update leaves it."""
    return msgspec.json.encode({**_told(step), "retries": 0, "updatedAt": at})


def _told(step: int) -> dict[str, object]:
    """Return the phase and, where there is some, the progress after a step."""
    progress = {} if step < 2 else {"progress": (step - 2) / 5}
    return {"phase": STEPS[step], **progress}


def _new_id(chance: random.Random) -> str:
    return str(uuid.UUID(int=chance.getrandbits(128)))


@cache
def outcome(workload: Workload) -> dict[str, int]:
    """Return the step at which each task of the backlog stands when all is done."""
    steps = workload.before()
    steps.update(workload.moves())
    return steps


def phases(workload: Workload) -> Counter[str]:
    """Return how many tasks are in each phase when all is done."""
    counts = Counter(STEPS[step] for step in outcome(workload).values())
    counts[STEPS[-1]] += workload.stored
    return +counts


def status_key(task: str) -> str:
    """Return the key of a task's status."""
    return OWN.status("task", task)


def pieces(items: Iterable[T], size: int = AT_ONCE) -> Iterator[list[T]]:
    """Yield items by the thousand."""
    source = iter(items)
    while some := list(islice(source, size)):
        yield some


def add(client: redis.Redis, streams: Sequence[str], updates: Iterable[tuple[int, bytes]]) -> None:
    """Add updates to the partitions' streams."""
    for some in pieces(updates):
        pipeline = client.pipeline(transaction=False)
        for partition, data in some:
            pipeline.xadd(streams[partition], {"data": data})
        pipeline.execute()
