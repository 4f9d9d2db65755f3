"""Updates as a producer writes them."""

import json
from typing import Any

from status_tracker.keys import Keys, partition_of

from tests.servers import Redis

NOW = 1_700_000_000_000
"""An `updatedAt` long ago, so that no server's clock finds it in the future."""


def update(entity_id: str, phase: str, at: float = NOW, kind: str = "task", **fields: Any) -> bytes:
    """Return an update's bytes."""
    event = {"kind": kind, "id": entity_id, "phase": phase, "updatedAt": at, **fields}
    return json.dumps(event).encode()


def add(client: Redis, data: bytes, *, keys: Keys, partitions: int = 4) -> str:
    """Add an update to its entity's stream, as a careful producer does; return the entry's ID."""
    number = partition_of(json.loads(data)["id"], partitions)
    return str(client.xadd(keys.events(number), {"data": data}))


def id_in(number: int, partitions: int = 4, prefix: str = "entity") -> str:
    """Return an id that belongs to a partition."""
    candidates = (f"{prefix}-{n}" for n in range(1000))
    return next(each for each in candidates if partition_of(each, partitions) == number)
