"""A FastStream service that keeps statuses: `faststream_peer.py URL [EVENTS]`.

Written as its documentation has it, in its fastest way: a subscriber to each stream, in a consumer
group, that takes batches, with msgspec as the serializer and logging off. (One message at a time is
twenty times slower.) The handler is as careful as the subscriber allows: one MGET and one MSET for
a batch, and every phase checked. FastStream acknowledges a batch when its handler returns.

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

STREAMS = [f"bench:events:{{{number}}}" for number in range(4)]
GROUP = "faststream"

NEXT_PHASES = {
    None: {"pending"},
    "pending": {"waiting", "failed", "cancelled"},
    "waiting": {"running", "failed", "cancelled"},
    "running": {"running", "completed", "failed", "cancelled", "waiting"},
    "failed": {"pending", "waiting"},
}


class Entry(msgspec.Struct):
    """A stream entry as its producers write it."""

    data: str


class Status(msgspec.Struct, omit_defaults=True):
    """What is published."""

    phase: str
    updatedAt: int  # noqa: N815
    progress: float | None = None


class Update(Status):
    """What comes in."""

    kind: str = "task"
    id: str = ""


decode_update = msgspec.json.Decoder(Update).decode
decode_status = msgspec.json.Decoder(Status).decode
encode = msgspec.json.encode


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
        updates = [decode_update(entry.data) for entry in entries]
        keys = list({f"bench:task:{update.id}": None for update in updates})
        texts = await redis.mget(keys)
        statuses = {key: decode_status(text) for key, text in zip(keys, texts, strict=True) if text}
        changed = {}
        for update in updates:
            key = f"bench:task:{update.id}"
            status = statuses.get(key)
            if update.phase in NEXT_PHASES.get(status.phase if status else None, ()):
                statuses[key] = Status(update.phase, update.updatedAt, update.progress)
                changed[key] = statuses[key]
        if changed:
            await redis.mset({key: encode(status) for key, status in changed.items()})
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
