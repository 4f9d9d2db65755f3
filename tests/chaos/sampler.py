"""Looks at the keys of a fleet, all the time, as anybody could who watches one."""

import threading
import time
from typing import NamedTuple, Self

import redis
from status_tracker.keys import Keys

from tests.chaos.sites import PARTITIONS, Site
from tests.servers import Redis

EVERY = 0.02
"""Seconds between two looks: no figure is more exact than that."""


class Sample(NamedTuple):
    """What the keys said at one time; of each partition in their order."""

    at: float
    workers: frozenset[str]
    owners: tuple[str | None, ...]
    cursors: tuple[str | None, ...]
    unread: tuple[bool, ...]
    """Whether there were entries after the cursor."""

    @property
    def balanced(self) -> bool:
        """Whether every partition has a live owner, and shares differ by one at most."""
        shares = [self.owners.count(worker) for worker in self.workers]
        return bool(shares) and sum(shares) == PARTITIONS and max(shares) - min(shares) <= 1


class Sampler:
    """Takes samples in a thread of its own, on a connection of its own."""

    def __init__(self, site: Site) -> None:
        self.samples: list[Sample] = []
        self._site = site
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sampler")

    def __enter__(self) -> Self:
        with self._site.client() as client:
            self.samples.append(sample(client, self._site.keys))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._thread.join()

    @property
    def last(self) -> Sample:
        """The newest sample."""
        return self.samples[-1]

    def _run(self) -> None:
        with self._site.client() as client:
            while not self._ending.wait(EVERY):
                self.samples.append(sample(client, self._site.keys))


def sample(client: Redis, keys: Keys) -> Sample:
    """Look once, at everything on a server in the same moment."""
    numbers = range(PARTITIONS)
    pipeline = client.pipeline(transaction=not isinstance(client, redis.RedisCluster))
    pipeline.zrange(keys.workers, 0, -1)
    for number in numbers:
        pipeline.get(keys.lease(number))
    for number in numbers:
        pipeline.hget(keys.partition(number).partition, "cursor")
    for number in numbers:
        pipeline.xrevrange(keys.events(number), count=1)
    workers, *rest = pipeline.execute()
    owners, cursors, newest = (
        rest[begin : begin + PARTITIONS] for begin in range(0, len(rest), PARTITIONS)
    )
    unread = tuple(
        bool(entries) and entries[0][0] != cursor
        for cursor, entries in zip(cursors, newest, strict=True)
    )
    return Sample(time.monotonic(), frozenset(workers), tuple(owners), tuple(cursors), unread)
