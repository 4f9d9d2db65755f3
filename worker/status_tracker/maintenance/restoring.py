"""Making entities what a rebuild says that they are to be, while workers run.

No lease is needed. An entity changes only together with its status: so the script that writes it
compares that, and leaves whatever changed since the look to the next one. A worker that has another
status in memory is told so by its next commit, and loads it.
"""

from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import NamedTuple

from status_tracker.connection.client import Client
from status_tracker.keys import PartitionKeys
from status_tracker.lua.restore import Restored, restore
from status_tracker.maintenance.differences import Pair, differences
from status_tracker.maintenance.snapshot import Entity, bytes_of
from status_tracker.metadata import Deployment

AT_ONCE = 100
"""Entities that one script writes: a millisecond or two of the server's time."""


class Outcome(NamedTuple):
    """What became of the entities that differ."""

    restored: int
    left: int
    """How many changed since the look."""


async def restore_entities(
    client: Client, deployment: Deployment, number: int, pairs: Iterable[Pair]
) -> Outcome:
    """Write the entities of a partition, which come by their kinds, as they are expected."""
    own, phases = deployment.keys.partition(number), deployment.phases()
    restored = left = 0
    for kind, of_kind in groupby(pairs, lambda pair: pair.kind):
        sets = {phase: own.phase(kind, phase) for phase in phases[kind]}
        for some in _batches(_restored(own, pair) for pair in of_kind if any(differences(pair))):
            moved = await restore(client, counts=own.counts(kind), phases=sets, entities=some)
            restored += len(some) - moved
            left += moved
    return Outcome(restored, left)


def _restored(own: PartitionKeys, pair: Pair) -> Restored:
    expected = pair.expected or Entity(kind=pair.kind, id=pair.id)
    return Restored(
        id=pair.id,
        status_key=own.status(pair.kind, pair.id),
        history_key=own.history(pair.kind, pair.id),
        found=_status(pair.found),
        status=_status(expected),
        scores=expected.index,
        history=list(map(bytes_of, expected.history)),
    )


def _status(entity: Entity | None) -> bytes:
    if entity is None or entity.status is None:
        return b""
    return bytes_of(entity.status)


def _batches(entities: Iterable[Restored]) -> Iterator[list[Restored]]:
    batch: list[Restored] = []
    for each in entities:
        batch.append(each)
        if len(batch) == AT_ONCE:
            yield batch
            batch = []
    if batch:
        yield batch
