"""Walking through the phase index, a page at a time, so that no step takes the server long."""

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import NamedTuple

from status_tracker.client.documents import status_in
from status_tracker.connection.client import Client
from status_tracker.keys import PartitionKeys
from status_tracker.lua.page import BEGINNING, Place, page
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


class Page(NamedTuple):
    """Some members of a set."""

    members: list[tuple[str, float]]
    """Ids with their scores."""
    last: Place
    """Where it ends."""


async def pages(
    client: Client, key: str, *, after: Place = BEGINNING, until: float
) -> AsyncIterator[Page]:
    """Yield all that stand behind a place, up to a score; the last page is not full.

    Whoever leaves meanwhile, of those that stay nobody is passed over.
    """
    while True:
        found = await page(client, key, after=after, count=PAGE)
        within = [(member, score) for member, score in found if score <= until]
        if within:
            member, score = within[-1]
            after = Place(score, member)
        yield Page([(decoded(each), score) for each, score in within], after)
        if len(within) < PAGE:
            return


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
