"""A FastStream service that keeps statuses: `python -m tests.bench.faststream_peer URL [EVENTS]`.

Written as its documentation has it, in its fastest way: a subscriber to each stream, in a consumer
group, that takes batches, with msgspec as the serializer and logging off. (One message at a time is
twenty times slower.) The handler does for a batch what the loop by hand does: one MGET, the same
fold, and one MSET. FastStream acknowledges a batch when its handler returns.

Runs in the peers' environment; with a number of events it prints one JSON line.
"""

import asyncio
import json
import sys
import time

import msgspec
from fast_depends.msgspec import MsgSpecSerializer
from faststream import FastStream
from faststream.redis import RedisBroker, StreamSub
from faststream.redis.annotations import Redis

from tests.bench.by_hand import decoded, folded, keys_of
from tests.bench.workload import Workload

STREAMS = Workload().streams()
GROUP = "faststream"


class Entry(msgspec.Struct):
    """A stream entry as its producers write it."""

    data: str


class Service:
    """The subscribers, and how many events they have handled."""

    def __init__(self, url: str, events: int | None = None) -> None:
        self.broker = RedisBroker(url, logger=None, serializer=MsgSpecSerializer())
        self.missing = sys.maxsize if events is None else events
        self.drained = asyncio.Event()
        for stream in STREAMS:
            source = StreamSub(stream, group=GROUP, consumer="one", batch=True, max_records=1000)
            self.broker.subscriber(stream=source)(self.handle)

    async def handle(self, entries: list[Entry], redis: Redis) -> None:
        """Publish what a batch makes of its statuses."""
        updates = decoded(entry.data for entry in entries)
        keys = keys_of(updates)
        changed = folded(updates, keys, await redis.mget(keys))
        if changed:
            await redis.mset(changed)
        self.missing -= len(entries)
        if self.missing <= 0:
            self.drained.set()

    async def make_groups(self) -> None:
        """Make the groups begin with the backlog; FastStream's own begin with what comes next."""
        client = await self.broker.connect()
        for stream in STREAMS:
            await client.xgroup_create(stream, GROUP, "0", mkstream=True)


async def main(url: str, events: int | None = None) -> None:
    """Handle a backlog and say how fast, its start included; without one, work until SIGTERM."""
    service = Service(url, events)
    await service.make_groups()
    if events is None:
        await FastStream(service.broker, logger=None).run()
        return
    began = time.perf_counter()
    await service.broker.start()
    await service.drained.wait()
    seconds = time.perf_counter() - began
    await service.broker.stop()
    print(json.dumps({"rate": events / seconds}))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], *map(int, sys.argv[2:])))
