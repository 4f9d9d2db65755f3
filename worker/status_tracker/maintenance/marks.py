"""Which entities are marked as stalled, as the keys say when a partition is taken over."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from math import inf

from status_tracker.connection.client import Client
from status_tracker.engine.heard import Heard
from status_tracker.keys import partition_of
from status_tracker.maintenance.index import Share, pages, statuses
from status_tracker.metadata import Deployment
from status_tracker.models import Status


async def learn(
    client: Client, deployment: Deployment, share: Share, owned: Mapping[int, Heard]
) -> None:
    """Read who is marked, of partitions that do not know it, and take away marks that are wrong.

    Until it is known, a commit clears the marks of all that it writes.
    """
    unknown = {number: owned[number] for number in share.numbers if owned[number].marks is None}
    if not unknown:
        return
    for heard in unknown.values():
        heard.cleared = defaultdict(set)
    try:
        await _read(client, deployment, share, unknown)
    finally:
        for heard in unknown.values():
            heard.cleared = None


async def _read(
    client: Client, deployment: Deployment, share: Share, unknown: Mapping[int, Heard]
) -> None:
    """Read it, page by page, while commits go on."""
    eras = {number: heard.era for number, heard in unknown.items()}
    found: dict[int, dict[str, set[str]]] = {number: {} for number in unknown}
    for kind in deployment.rules.kinds:
        for marks in found.values():
            marks[kind] = set()
        async for page in pages(client, share.own.stalled(kind), until=inf):
            ours = [
                (number, entity_id, score)
                for entity_id, score in page.members
                if (number := partition_of(entity_id, deployment.partitions)) in unknown
            ]
            wrong = await _wrong(client, deployment, share, kind, ours)
            for number, entity_id, _ in ours:
                if entity_id in wrong:
                    unknown[number].again[kind].add(entity_id)
                else:
                    found[number][kind].add(entity_id)
            if wrong:
                await client.execute("ZREM", share.own.stalled(kind), *wrong)
    for number, heard in unknown.items():
        if heard.era is eras[number]:
            heard.learned(found[number])


async def _wrong(
    client: Client,
    deployment: Deployment,
    share: Share,
    kind: str,
    marked: Sequence[tuple[int, str, float]],
) -> list[str]:
    """Return who got an update since it was marked, or is not to be marked at all."""
    limits = deployment.rules.kinds[kind].stalled
    held = await statuses(client, share.own, [(kind, entity_id) for _, entity_id, _ in marked])

    def is_right(status: Status | None, score: float) -> bool:
        if status is None or status.phase not in limits:
            return False
        return status.updated_at + limits[status.phase] <= score

    return [each for _, each, score in marked if not is_right(held[kind, each], score)]
