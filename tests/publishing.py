"""Statuses as workers publish them, written by hand: for tests of those who read them."""

import json
from typing import Any

from status_tracker.keys import partition_of
from status_tracker.metadata import Deployment

from tests.events import NOW
from tests.line import deployed, meta_of
from tests.servers import Redis


class Publisher:
    """Writes the keys of a deployment as its workers' commits do."""

    def __init__(self, client: Redis, deployment: Deployment | None = None) -> None:
        self.client = client
        self.deployment = deployment or deployed(partitions=4)
        self.phases: dict[tuple[str, str], str] = {}
        """The phase of each entity that is there."""
        self.clock = NOW
        client.hset(self.deployment.keys.meta, mapping=meta_of(self.deployment))

    def change(self, entity_id: str, phase: str, *, kind: str = "task", **fields: Any) -> None:
        """Let an entity be in a phase, a millisecond later than all before."""
        self.clock += 1
        own = self.deployment.keys.partition(partition_of(entity_id, self.deployment.partitions))
        retries = {"retries": 0} if kind == "task" else {}
        status = {"phase": phase, **retries, **fields, "updatedAt": self.clock}
        before = self.phases.get((kind, entity_id))
        left = {} if before is None else {"from": before}
        change = {**status, "kind": kind, "id": entity_id, **left, "event": f"{self.clock}-0"}
        commit = self.client.pipeline(transaction=self.deployment.keys.layout == "single")
        commit.set(own.status(kind, entity_id), json.dumps(status))
        if before is not None:
            commit.zrem(own.phase(kind, before), entity_id)
            commit.hincrby(own.counts(kind), before, -1)
        commit.zadd(own.phase(kind, phase), {entity_id: self.clock})
        commit.zrem(own.stalled(kind), entity_id)
        commit.hincrby(own.counts(kind), phase, 1)
        commit.lpush(own.history(kind, entity_id), json.dumps(change))
        commit.xadd(own.changes, {"data": json.dumps(change)})
        commit.execute()
        self.phases[kind, entity_id] = phase

    def mark(self, entity_id: str, since: float, *, kind: str = "task") -> None:
        """Mark an entity as stalled."""
        own = self.deployment.keys.partition(partition_of(entity_id, self.deployment.partitions))
        self.client.zadd(own.stalled(kind), {entity_id: since})

    def remove(self, *ids: str, kind: str = "task") -> None:
        """Take entities of one partition away."""
        own = self.deployment.keys.partition(partition_of(ids[0], self.deployment.partitions))
        commit = self.client.pipeline(transaction=self.deployment.keys.layout == "single")
        for entity_id in ids:
            commit.delete(own.status(kind, entity_id), own.history(kind, entity_id))
            phase = self.phases.pop((kind, entity_id))
            commit.zrem(own.phase(kind, phase), entity_id)
            commit.hincrby(own.counts(kind), phase, -1)
            commit.zrem(own.stalled(kind), entity_id)
        commit.xadd(own.changes, {"removed": json.dumps([[kind, each] for each in ids])})
        commit.execute()

    def reject(self, entity_id: str, reason: str, data: bytes = b"{}") -> None:
        """Have an update rejected."""
        own = self.deployment.keys.partition(partition_of(entity_id, self.deployment.partitions))
        entry = {"reason": reason, "detail": f"{entity_id} is wrong", "data": data}
        self.client.xadd(own.rejected, {**entry, "stream": own.events, "id": "1-1"})
