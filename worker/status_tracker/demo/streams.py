"""Where the demo's producers send their updates, and their mistakes."""

import asyncio
import time
from collections import deque
from typing import Any

import msgspec
from redis.asyncio import Redis

from status_tracker.client.emitter import AsyncEmitter
from status_tracker.client.updates import fields_of
from status_tracker.decode import FIELD
from status_tracker.keys import Keys, partition_of

Update = dict[str, object]
"""The document of an update; a dict, for by mistake producers send what a struct would refuse."""

REMEMBERED = 500
"""Updates kept in mind: what is sent again by mistake was sent a few seconds ago."""


class Streams:
    """Adds entries to the streams of a deployment: as a producer does, or past all checks."""

    def __init__(self, emitter: AsyncEmitter, client: Redis, keys: Keys, partitions: int) -> None:
        self._emitter = emitter
        self._client = client
        self._keys = keys
        self._partitions = partitions
        # One at a time: when a suspended demo is resumed, everybody wants to send at once.
        self._turn = asyncio.Lock()
        self.added: int = 0
        self.lately: deque[Update] = deque(maxlen=REMEMBERED)

    async def update(self, kind: str, entity_id: str, phase: str, **fields: Any) -> None:
        """Say in which phase an entity is now; `fields` are those of `Emitter.emit`."""
        update = fields_of(kind, entity_id, phase, **fields)
        self.lately.append(update)
        async with self._turn:
            await self._emitter.emit_many([update])
            self.added += 1

    async def send(self, update: Update) -> None:
        """Add an update as it is, which the library would refuse."""
        await self.add(str(update["id"]), msgspec.json.encode(update))

    async def add(self, entity_id: str, data: bytes) -> None:
        """Add an entry, whatever is in it, to the stream of an entity."""
        stream = self._keys.events(partition_of(entity_id, self._partitions))
        async with self._turn:
            await self._client.xadd(stream, {FIELD: data})
            self.added += 1


def now() -> int:
    """Return the time as updates have it: milliseconds since the epoch."""
    return time.time_ns() // 1_000_000
