"""Walking through the phase index, a page at a time, so that no step takes the server long."""

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import NamedTuple

from status_tracker.client.documents import status_in
from status_tracker.connection.client import Client
from status_tracker.keys import PartitionKeys
from status_tracker.metadata import Deployment
from status_tracker.models import Status
from status_tracker.text import decoded

PAGE = 1_000
"""Ids that are read by one command; it takes the server about a millisecond."""


class Share(NamedTuple):
    """Partitions that have an index in common, and its keys."""

    own: PartitionKeys
    numbers: frozenset[int]


def shares(deployment: Deployment, numbers: Iterable[int]) -> list[Share]:
    """Return partitions by their index: `single` has one for all, `cluster` one for each."""
    found = frozenset(numbers)
    if deployment.keys.layout == "cluster":
        groups = [frozenset({number}) for number in sorted(found)]
    else:
        groups = [found] if found else []
    return [Share(deployment.keys.partition(min(group)), group) for group in groups]


async def members(
    client: Client, key: str, *, rank: int = 0, until: float
) -> AsyncIterator[list[tuple[str, float]]]:
    """Yield ids with their scores, from a rank on, up to a score; the last page is not full.

    Who leaves the set meanwhile moves others to a smaller rank, so some may be missing.
    """
    while True:
        flat = await client.execute("ZRANGE", key, rank, rank + PAGE - 1, "WITHSCORES")
        found = zip(map(decoded, flat[::2]), map(float, flat[1::2]), strict=True)
        page = [(entity_id, score) for entity_id, score in found if score <= until]
        yield page
        if len(page) < PAGE:
            return
        rank += PAGE


async def statuses(
    client: Client, own: PartitionKeys, entities: Sequence[tuple[str, str]]
) -> Mapping[tuple[str, str], Status | None]:
    """Return the statuses of entities, by kind and id; None for what is none."""
    found: dict[tuple[str, str], Status | None] = {}
    for first in range(0, len(entities), PAGE):
        some = entities[first : first + PAGE]
        documents = await client.execute("MGET", *(own.status(*each) for each in some))
        found |= zip(some, map(status_in, documents), strict=True)
    return found
