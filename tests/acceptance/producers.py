"""Thousands of updates, as disorderly as those of real producers, from a seed."""

import json
import random
import time
from collections.abc import Iterator

from status_tracker.keys import Keys, partition_of

from tests.servers import Redis

PATHS = {
    "task": [
        "pending",
        "waiting",
        "running",
        "running",
        "failed",
        "waiting",
        "running",
        "completed",
    ],
    "asset": ["uploading", "waiting", "processing", "processing", "ready", "deleting", "deleted"],
}
PHASES = {kind: sorted(set(path)) for kind, path in PATHS.items()}
BAD = [
    b"",
    b"hello",
    b"\xff\x00",
    b'{"kind":"task"}',
    b'{"kind":"task","id":"a b","phase":"pending"}',
]


def updates(seed: int, count: int) -> Iterator[bytes]:
    """Yield updates: most are an entity's next step; others repeat, skip, come late, or are bad."""
    chance = random.Random(seed)
    at = int(time.time() * 1000) - count - 60_000
    ids = [(kind, f"{seed}-{number}é") for kind in PATHS for number in range(count // 16)]
    steps = dict.fromkeys(ids, 0)
    last = b""
    for _ in range(count):
        at += 1
        luck = chance.random()
        if luck < 0.01:
            last = chance.choice(BAD)
        elif luck > 0.03:  # in between: the last one again
            entity = chance.choice(ids)
            kind, entity_id = entity
            phase = PATHS[kind][steps[entity] % len(PATHS[kind])]
            if luck > 0.15:
                steps[entity] += 1
            elif luck > 0.1:
                phase = chance.choice(PHASES[kind])
            update = {"kind": kind, "id": entity_id, "phase": phase, "updatedAt": at}
            if chance.random() < 0.1:
                update["updatedAt"] = at - chance.choice([1, 500, 1500, 0.5])
            if chance.random() < 0.5:
                update["progress"] = round(chance.random(), 2)
            if phase == "failed" or chance.random() < 0.05:
                update["errorMessage"] = f"broke at {at}"
            if chance.random() < 0.02:
                update["restart"] = True
            last = json.dumps(update).encode()
        yield last


def produce(client: Redis, keys: Keys, seed: int, count: int, partitions: int = 4) -> None:
    """Add updates to their streams; some to the wrong one, some with no `data`."""
    chance = random.Random(seed)
    pipeline = client.pipeline(transaction=False)
    for number, data in enumerate(updates(seed, count), start=1):
        try:
            home = partition_of(json.loads(data)["id"], partitions)
        except (ValueError, KeyError):
            home = chance.randrange(partitions)
        if chance.random() < 0.02:
            home = chance.randrange(partitions)
        field = "data" if chance.random() > 0.002 else "payload"
        pipeline.xadd(
            keys.events(home), {"note": "ignored", field: data} if number % 3 else {field: data}
        )
        if number % 500 == 0:
            pipeline.execute()
    pipeline.execute()
