"""What a deployment publishes, in a form that is the same wherever its keys are."""

from collections import Counter, defaultdict
from typing import Any, NamedTuple

from status_tracker.keys import Keys, partition_of

from tests.model import KINDS
from tests.servers import Redis

Entity = tuple[str, str]


class Published(NamedTuple):
    """All statuses, as they are; each entity's scores by phase, its history; the counts."""

    statuses: dict[Entity, bytes]
    scores: dict[Entity, dict[str, bytes]]
    histories: dict[Entity, list[bytes]]
    counts: Counter[Entity]


def published(client: Redis, keys: Keys, partitions: int) -> Published:
    """Read a deployment by a client whose replies are bytes; each entity is where it belongs."""
    found = Published({}, defaultdict(dict), {}, Counter())
    # In the layout `single` all partitions have one index.
    for number in range(partitions if keys.layout == "cluster" else 1):
        own = keys.partition(number)
        for kind, table in KINDS.items():
            for phase, count in client.hgetall(own.counts(kind)).items():
                found.counts[kind, phase.decode()] += int(count)
            for phase in table["phases"]:
                flat = client.execute_command("ZRANGE", own.phase(kind, phase), 0, -1, "WITHSCORES")
                for entity_id, score in zip(flat[::2], flat[1::2], strict=True):
                    found.scores[kind, entity_id.decode()][phase] = score
                    assert keys.layout == "single" or (
                        partition_of(entity_id.decode(), partitions) == number
                    )
    pipeline = client.pipeline(transaction=False)
    for kind, entity_id in found.scores:
        own = keys.partition(partition_of(entity_id, partitions))
        pipeline.get(own.status(kind, entity_id))
        pipeline.lrange(own.history(kind, entity_id), 0, -1)
    replies: list[Any] = pipeline.execute()
    for entity, status, history in zip(found.scores, replies[::2], replies[1::2], strict=True):
        if status is not None:
            found.statuses[entity] = status
        if history:
            found.histories[entity] = history
    return found._replace(counts=+found.counts, scores=dict(found.scores))
