"""A producer that goes on through outages, and knows what it has added."""

import json
import random
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from itertools import islice
from typing import NamedTuple

import redis
from status_tracker.keys import Keys, partition_of

from tests.acceptance.producers import updates
from tests.chaos.sites import PARTITIONS
from tests.chaos.system import FindingError
from tests.servers import Redis, Server

BATCH = 25
"""Updates that are sent at once."""

TRY_AGAIN_AFTER = 0.02
"""Seconds."""

GIVE_UP_AFTER = 60.0
"""Seconds: no fault lasts so long, and nobody waits for ever for one that could not be healed."""

MISPLACED = 0.1
"""The part of the updates that go to any stream, so that most of them must be forwarded."""

ServerOf = Callable[[int], Server]
"""Which server has a partition now."""

NUMBER = "n"
"""A field beside `data`, which forwarding leaves out: it tells an update from its copies."""


class Entry(NamedTuple):
    """An update on its way to a stream."""

    number: int
    """How many were added before it."""
    partition: int
    fields: dict[str, bytes | int]


class Producer:
    """Adds updates, in their order and at a given rate, until it is told to stop."""

    def __init__(self, server_of: ServerOf, keys: Keys, seed: int, rate: float) -> None:
        self.rate = rate
        """Updates per second; what an outage held up is made up for."""
        self.added = 0
        """How many there are, each of which was surely added, and once."""
        self._server_of = server_of
        self._keys = keys
        # As far as is known; after trouble nothing is.
        self._servers: dict[int, Server] = {}
        self._clients: dict[Server, Redis] = {}
        self._chance = random.Random(seed)
        self._closing = ExitStack()
        self._ending = threading.Event()
        # The last entry of each stream that the server has answered for.
        self._last: dict[str, str] = defaultdict(lambda: "0-0")

    def stop(self) -> None:
        """Let `run` return when the updates in hand are added."""
        self._ending.set()

    def run(self) -> None:
        """Add updates until `stop`."""
        entries = self._entries()
        due = time.monotonic()
        with self._closing:
            while not self._ending.wait(max(due - time.monotonic(), 0)):
                batch: dict[int, list[Entry]] = defaultdict(list)
                for entry in islice(entries, BATCH):
                    batch[entry.partition].append(entry)
                for number, each in batch.items():
                    self._add(number, each)
                self.added += BATCH
                due += BATCH / self.rate

    def _entries(self) -> Iterator[Entry]:
        """Yield updates; some for the wrong stream, some with no `data`."""
        chance = self._chance
        for number, data in enumerate(self._updates()):
            try:
                home = partition_of(json.loads(data)["id"], PARTITIONS)
            except (ValueError, KeyError):
                home = chance.randrange(PARTITIONS)
            if chance.random() < MISPLACED:
                home = chance.randrange(PARTITIONS)
            field = "data" if chance.random() > 0.002 else "payload"
            fields: dict[str, bytes | int] = {field: data, NUMBER: number}
            if number % 3 == 0:
                fields = {NUMBER: number, field: data}
            yield Entry(number, home, fields)

    def _updates(self) -> Iterator[bytes]:
        while True:
            yield from updates(self._chance.randrange(10**9), 16_000)

    def _client(self, number: int) -> Redis:
        """Return the client of the server that has a partition."""
        if number not in self._servers:
            self._servers[number] = self._server_of(number)
        server = self._servers[number]
        if server not in self._clients:
            self._clients[server] = self._closing.enter_context(server.client())
        return self._clients[server]

    def _add(self, number: int, entries: list[Entry]) -> None:
        """Add a partition's entries until all of them are there, none of them twice."""
        unsure = False
        deadline = time.monotonic() + GIVE_UP_AFTER
        while entries:
            client = self._client(number)
            stream = self._keys.events(number)
            try:
                if unsure:
                    entries, unsure = self._absent(client, stream, entries), False
                entries = self._refused(client, stream, entries)
            except redis.ConnectionError:
                # The server has given up the connection: what it has not added, it will not.
                unsure = True
            except redis.ResponseError:
                pass  # too busy to say what is there, or it is there no more
            if entries:
                if time.monotonic() > deadline:
                    raise FindingError(f"no update could be added for {GIVE_UP_AFTER:g} s")
                time.sleep(TRY_AGAIN_AFTER)
                self._servers.pop(number)

    def _refused(self, client: Redis, stream: str, entries: list[Entry]) -> list[Entry]:
        """Send entries once; return those that the server refused."""
        pipeline = client.pipeline(transaction=False)
        for entry in entries:
            pipeline.xadd(stream, entry.fields)
        refused = []
        for entry, reply in zip(entries, pipeline.execute(raise_on_error=False), strict=True):
            if isinstance(reply, Exception):
                refused.append(entry)
            else:
                self._last[stream] = reply
        return refused

    def _absent(self, client: Redis, stream: str, entries: list[Entry]) -> list[Entry]:
        """Return those of entries that may have been added, but are not in their stream."""
        added = client.xrange(stream, min=f"({self._last[stream]}")
        there = {fields.get(NUMBER) for _, fields in added}
        return [entry for entry in entries if str(entry.number) not in there]


@contextmanager
def producing(server_of: ServerOf, keys: Keys, seed: int, rate: float) -> Iterator[Producer]:
    """Let a producer run beside what is done meanwhile."""
    producer = Producer(server_of, keys, seed, rate)
    with ThreadPoolExecutor(1, "producer") as threads:
        try:
            running = threads.submit(producer.run)
            yield producer
        finally:
            producer.stop()
        running.result()
