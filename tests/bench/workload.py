"""The backlog that is drained: tasks in flight, each on its way from pending to completed."""

import random
import time
import uuid
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import cache

import msgspec
import redis
from msgspec import Struct

PREFIX = "bench"
STEPS = ["pending", "waiting", *["running"] * 5, "completed"]

LONG_AGO = 1_700_000_000_000
"""The `updatedAt` of what was in the store before the first update."""


class Workload(Struct, frozen=True):
    """How much there is to do; the defaults are what every other size is compared with."""

    events: int = 400_000
    in_flight: int = 2_000
    partitions: int = 4
    begun: bool = False
    """Whether the first tasks in flight are under way: the store has their statuses (`before`)."""
    seed: int = 1
    """Another one has other tasks."""

    def updates(self) -> Iterator[tuple[int, bytes]]:
        """Yield ``(partition, data)``: tasks in flight move on at random, and new ones follow."""
        now = int(time.time() * 1000) - 10_000
        for number, (task, step) in enumerate(self.moves()):
            update: dict[str, object] = {"kind": "task", "id": task, "phase": STEPS[step]}
            if STEPS[step] == "running":
                update["progress"] = progress(step)
            update["updatedAt"] = now + number // 100
            yield zlib.crc32(task.encode()) % self.partitions, msgspec.json.encode(update)

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

    def _take_off(self, chance: random.Random) -> list[tuple[str, int]]:
        """Return tasks and the steps that come next."""
        ids = [_new_id(chance) for _ in range(self.in_flight)]
        return [(task, chance.randrange(1, len(STEPS)) if self.begun else 0) for task in ids]

    def streams(self) -> list[str]:
        """Return the keys of the partitions' streams, as a producer spells them."""
        return [f"{PREFIX}:events:{{{number}}}" for number in range(self.partitions)]

    def load(self, client: redis.Redis) -> dict[str, bytes]:
        """Add the backlog, and return the streams as the server dumps them."""
        streams = self.streams()
        client.delete(*streams)
        add(client, streams, self.updates())
        return {stream: client.dump(stream) or b"" for stream in streams if client.exists(stream)}


def add(client: redis.Redis, streams: Sequence[str], updates: Iterable[tuple[int, bytes]]) -> int:
    """Add updates to the partitions' streams; return how many."""
    number = 0
    pipeline = client.pipeline(transaction=False)
    for number, (partition, data) in enumerate(updates, start=1):
        pipeline.xadd(streams[partition], {"data": data})
        if number % 5_000 == 0:
            pipeline.execute()
    pipeline.execute()
    return number


@cache
def outcome(workload: Workload) -> dict[str, int]:
    """Return the step at which each task stands when all is done."""
    steps = workload.before()
    steps.update(workload.moves())
    return steps


def phases(workload: Workload) -> Counter[str]:
    """Return how many tasks are in each phase when all is done."""
    return Counter(STEPS[step] for step in outcome(workload).values())


def progress(step: int) -> float:
    """Return the progress that a running task tells of."""
    return (step - 2) / 5


def _new_id(chance: random.Random) -> str:
    return str(uuid.UUID(int=chance.getrandbits(128)))


def restore(client: redis.Redis, dumps: dict[str, bytes]) -> None:
    """Empty the database but for the streams."""
    client.flushdb()
    for key, dump in dumps.items():
        client.restore(key, 0, dump)
