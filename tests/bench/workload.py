"""The backlog that is drained: tasks in flight, each on its way from pending to completed."""

import random
import time
import uuid
import zlib
from collections.abc import Iterator

import msgspec
import redis
from msgspec import Struct

PREFIX = "bench"
STEPS = ["pending", "waiting", *["running"] * 5, "completed"]


class Workload(Struct, frozen=True):
    """How much there is to do; the defaults are what every other size is compared with."""

    events: int = 400_000
    in_flight: int = 2_000
    partitions: int = 4

    def updates(self) -> Iterator[tuple[int, bytes]]:
        """Yield ``(partition, data)``: tasks in flight move on at random, and new ones follow."""
        random.seed(1)
        now = int(time.time() * 1000) - 10_000
        flight = [(_new_id(), 0) for _ in range(self.in_flight)]
        for number in range(self.events):
            place = random.randrange(self.in_flight)
            task, step = flight[place]
            update: dict[str, object] = {"kind": "task", "id": task, "phase": STEPS[step]}
            if STEPS[step] == "running":
                update["progress"] = (step - 2) / 5
            update["updatedAt"] = now + number // 100
            yield zlib.crc32(task.encode()) % self.partitions, msgspec.json.encode(update)
            done = step + 1 == len(STEPS)
            flight[place] = (_new_id(), 0) if done else (task, step + 1)

    def streams(self) -> list[str]:
        """Return the keys of the partitions' streams, as a producer spells them."""
        return [f"{PREFIX}:events:{{{number}}}" for number in range(self.partitions)]

    def load(self, client: redis.Redis) -> dict[str, bytes]:
        """Add the backlog, and return the streams as the server dumps them."""
        streams = self.streams()
        client.delete(*streams)
        pipeline = client.pipeline(transaction=False)
        for number, (partition, data) in enumerate(self.updates(), start=1):
            pipeline.xadd(streams[partition], {"data": data})
            if number % 5_000 == 0:
                pipeline.execute()
        pipeline.execute()
        return {stream: client.dump(stream) or b"" for stream in streams}


def _new_id() -> str:
    return str(uuid.UUID(int=random.getrandbits(128)))


def restore(client: redis.Redis, dumps: dict[str, bytes]) -> None:
    """Empty the database but for the streams."""
    client.flushdb()
    for key, dump in dumps.items():
        client.restore(key, 0, dump)
