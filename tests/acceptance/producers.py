"""Thousands of updates, as disorderly as those of real producers, from a seed."""

import json
import random
import time
from collections.abc import Iterator, Mapping

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
"""The life that most entities of a kind lead, over and over."""
BAD = [
    b"",
    b"hello",
    b"\xff\x00",
    b'{"kind":"task"}',
    b'{"kind":"task","id":"a b","phase":"pending"}',
    b'{"kind":"nobody","id":"a","phase":"pending","updatedAt":1700000000000}',
    b'{"kind":"task","id":"a","phase":"pending","updatedAt":1700000000000,"attempt":0}',
    b'{"kind":"asset","id":"a","phase":"ready","updatedAt":1700000000000,"force":"yes"}',
]


def updates(seed: int, count: int, paths: Mapping[str, list[str]] = PATHS) -> Iterator[bytes]:
    """Yield updates: most are an entity's next step; others repeat, skip, come late, or are bad.

    Some have an attempt, which counts an entity's lives, or one that is over; some have force.
    """
    chance = random.Random(seed)
    at = int(time.time() * 1000) - count - 60_000
    entities = count // (8 * len(paths))
    ids = [(kind, f"{seed}-{number}é") for kind in paths for number in range(entities)]
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
            life, step = divmod(steps[entity], len(paths[kind]))
            phase = paths[kind][step]
            if luck > 0.15:
                steps[entity] += 1
            elif luck > 0.1:
                phase = chance.choice(sorted(set(paths[kind])))
            update = {"kind": kind, "id": entity_id, "phase": phase, "updatedAt": at}
            if chance.random() < 0.1:
                update["updatedAt"] = at - chance.choice([1, 500, 1500, 0.5])
            if chance.random() < 0.5:
                update["progress"] = round(chance.random(), 2)
            if phase == "failed" or chance.random() < 0.05:
                update["errorMessage"] = f"broke at {at}"
            if chance.random() < 0.02:
                update["restart"] = True
            if chance.random() < 0.2:
                update["attempt"] = life + chance.choice([2, 2, 2, 1])  # 1: it is over
            if chance.random() < (0.02 if step else 0.3):  # the first step leads out of the end
                update["force"] = True
            last = json.dumps(update).encode()
        yield last


def removal(data: bytes, chance: random.Random) -> str:
    """Return what takes an update's entity away: if nothing happened since, or in any case."""
    try:
        last = json.loads(data)
        entity = [last["kind"], last["id"]]
        condition = [last["updatedAt"], last["phase"]]
    except (ValueError, KeyError):
        return data.decode(errors="replace")
    return json.dumps([[*entity, *condition] if chance.random() < 0.7 else entity])


def produce(
    client: Redis,
    keys: Keys,
    seed: int,
    count: int,
    partitions: int = 4,
    *,
    paths: Mapping[str, list[str]] = PATHS,
) -> None:
    """Add updates to their streams; some to the wrong one, some with no `data`."""
    chance = random.Random(seed)
    pipeline = client.pipeline(transaction=False)
    for number, data in enumerate(updates(seed, count, paths), start=1):
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
        if chance.random() < 0.01:
            pipeline.xadd(keys.events(home), {"remove": removal(data, chance)})
        if number % 500 == 0:
            pipeline.execute()
    pipeline.execute()
