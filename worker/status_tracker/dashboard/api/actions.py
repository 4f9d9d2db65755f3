"""The endpoints that write: as an emitter does, so that what becomes of it the workers decide."""

from typing import Any

import msgspec
from redis.exceptions import NoPermissionError
from starlette.requests import Request
from starlette.responses import Response

from status_tracker.client.documents import Rejected
from status_tracker.client.feed import id_parts
from status_tracker.client.judging import Judge
from status_tracker.client.rejections import purge as purging
from status_tracker.client.updates import NAMES
from status_tracker.dashboard.api.answers import (
    MOST_SENT,
    DryRun,
    Foreseen,
    Left,
    Purged,
    Replayed,
    Sent,
    ToPurge,
    ToRemove,
    ToReplay,
)
from status_tracker.dashboard.asking import answer, body, in_time
from status_tracker.dashboard.deployment import TRIED_FOR, backing_of
from status_tracker.dashboard.problems import ProblemError
from status_tracker.errors import UnavailableError, UpdateError

MAY_NOT_PURGE = "the user of Redis that the dashboard is may not purge: it lacks XDEL"

_KNOWN = {"kind", "id", "phase", *NAMES.values()}
"""The fields of the wire."""


async def updates(request: Request) -> Response:
    """Take one update, or several in their order."""
    found = await body(request, dict[str, Any] | list[dict[str, Any]])
    several = found if isinstance(found, list) else [found]
    if not 1 <= len(several) <= MOST_SENT:
        raise ProblemError(422, f"send 1 to {MOST_SENT:,} updates at a time")
    sent = 0

    def note(count: int) -> None:
        nonlocal sent
        sent = count

    try:
        await in_time(backing_of(request).emitter.emit_many(several, on_progress=note))
    except UpdateError as error:
        raise ProblemError(422, str(error), field=error.field, accepted=sent) from None
    return answer(Sent(sent), 202)


async def remove(request: Request) -> Response:
    """Take entities away."""
    asked = await body(request, ToRemove)
    return answer(
        Sent(await in_time(backing_of(request).emitter.remove(asked.kind, asked.ids))), 202
    )


async def replay(request: Request) -> Response:
    """Send rejected entries again that may be applied now; they stay where they are kept."""
    asked = await body(request, ToReplay)
    backing = backing_of(request)
    deployment = await in_time(backing.shell.run(backing.site.latest()))
    judge = Judge(deployment, TRIED_FOR)
    found = await in_time(backing.reader.rejected_entries(asked.entries))
    left = [Left(name, "it is not kept any more") for name, each in found.items() if each is None]
    kept = sorted(filter(None, found.values()), key=_place)
    if asked.dry_run:
        verdicts = await in_time(backing.shell.run(judge.foresee(kept)))
        foreseen = [Foreseen(each.entry, "left", each.detail) for each in left]
        foreseen += [
            Foreseen(each.entry, verdict.outcome, verdict.detail)
            for each, verdict in zip(kept, verdicts, strict=True)
        ]
        return answer(DryRun(foreseen))
    sent: list[str] = []
    for each in kept:
        refusal = judge.refusal(each)
        if refusal is not None:
            left.append(Left(each.entry, refusal.detail))
            continue
        try:
            await in_time(backing.emitter.emit_many([_update_in(each)]))
        except UpdateError as error:
            left.append(Left(each.entry, str(error)))
        else:
            sent.append(each.entry)
    return answer(Replayed(sent, left), 202)


def _place(rejected: Rejected) -> tuple[int, int]:
    """Return what tells which of two was rejected first."""
    return id_parts(rejected.entry.rpartition("/")[2])


def _update_in(rejected: Rejected) -> dict[str, Any]:
    """Return the update in an entry that holds one, without what an emitter does not know.

    An emitter refuses that; workers pass over it.
    """
    found: dict[str, Any] = msgspec.json.decode(rejected.data, type=dict[str, Any])
    return {name: value for name, value in found.items() if name in _KNOWN}


async def purge(request: Request) -> Response:
    """Take rejected entries away for good."""
    asked = await body(request, ToPurge)
    backing = backing_of(request)
    deployment = await in_time(backing.shell.run(backing.site.latest()))
    try:
        count = await in_time(backing.shell.run(purging(deployment, asked.entries, TRIED_FOR)))
    except UnavailableError as error:
        if isinstance(error.__cause__, NoPermissionError):
            raise ProblemError(403, MAY_NOT_PURGE) from None
        raise
    return answer(Purged(count))
