"""All that there is of one entity."""

import asyncio
import shlex

from starlette.requests import Request
from starlette.responses import Response

from status_tracker.client.documents import entity_in
from status_tracker.dashboard.api.answers import OfEntity
from status_tracker.dashboard.asking import in_time, page_query
from status_tracker.dashboard.deployment import Backing, Look, backing_of
from status_tracker.dashboard.live.view import Row, View
from status_tracker.dashboard.pages.making import Command, life_of, made
from status_tracker.dashboard.pages.overview import Rejection, rejection
from status_tracker.dashboard.pages.rejected import newest
from status_tracker.keys import partition_of
from status_tracker.models import Status

LOOKED_AT = 1_000
"""Rejected entries, the newest, among which those of an entity are looked for: fewer large ones."""


async def entity(request: Request) -> Response:
    """Answer with the page of an entity; 404 where it has no status, and what is known though."""
    asked, backing = page_query(request, OfEntity), backing_of(request)
    look = await in_time(backing.look())
    life_of(look, asked.kind)  # is there such a kind?
    reader = backing.reader
    status, history, marks, (rejected, looked_at) = await in_time(
        asyncio.gather(
            reader.get(asked.kind, asked.id),
            reader.history(asked.kind, asked.id),
            reader.stalled_since(asked.kind, [asked.id]),
            _rejections(backing, asked),
        )
    )
    return made(
        request,
        look,
        "entity.html",
        View(rows=[Row(asked.kind, asked.id)], detail=True),
        status=404 if status is None else 200,
        title=asked.id,
        here=asked.kind,
        kind=asked.kind,
        id=asked.id,
        found=status,
        stalled=marks.get(asked.id),
        history=history,
        rejected=rejected,
        looked_at=looked_at,
        commands=commands(look, asked.kind, asked.id, status),
    )


async def _rejections(backing: Backing, asked: OfEntity) -> tuple[list[Rejection], int]:
    """Return what was lately rejected of an entity, and among how many entries that is."""
    found, count = [], 0
    async for page in newest(backing, LOOKED_AT):
        named = [(each, entity_in(each.data)) for each in page.entries]
        found += [each for each, of in named if (of.kind, of.id) == (asked.kind, asked.id)]
        count += len(named)
    return list(map(rejection, found)), count


def commands(look: Look, kind: str, entity_id: str, status: Status | None) -> list[Command]:
    """Return what helps to look at an entity, or to mend it."""
    who = shlex.join([kind, *(["--"] if entity_id.startswith("-") else []), entity_id])
    keys = look.deployment.keys.partition(partition_of(entity_id, look.deployment.partitions))
    rejected = shlex.join(["--kind", kind, f"--id={entity_id}"])
    found = [
        Command(f"status-tracker watch {who}", "follow it"),
        Command(shlex.join(["redis-cli", "GET", keys.status(kind, entity_id)]), "its key"),
        Command(f"status-tracker rejected list --each {rejected}", "what was rejected of it"),
    ]
    life = look.deployment.rules.kinds.get(kind)
    if life is None:
        return found
    if status is None:
        first = next(phase for phase in life.phases if phase in life.initial)
        return [*found, Command(f"status-tracker emit {who} {first}", "begin it")]
    found += [
        Command(f"status-tracker set {who} {phase}", f"set it to {phase}")
        for phase in life.edges.get(status.phase, {})
    ]
    return [*found, Command(f"status-tracker forget {who}", "take it away")]
