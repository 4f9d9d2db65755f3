"""The endpoints that read."""

import asyncio
from contextlib import suppress

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from status_tracker.cancellation import unless_stopped
from status_tracker.client.documents import Rejected, entity_in
from status_tracker.dashboard.api.answers import (
    Counts,
    Entities,
    Entity,
    HistoryOf,
    KindInfo,
    Kinds,
    Listed,
    OfChanges,
    OfEntity,
    OfPage,
    OfRejected,
    OfStalled,
    OfWait,
    Query,
    RejectedEntries,
    RejectedEntry,
    Waited,
)
from status_tracker.dashboard.api.telling import NDJSON, SSE, telling
from status_tracker.dashboard.asking import answer, in_time, query, tagged
from status_tracker.dashboard.deployment import backing_of, check_room
from status_tracker.dashboard.problems import ProblemError, later, refusals
from status_tracker.dashboard.streaming import Stream
from status_tracker.lifecycle import Lifecycle
from status_tracker.text import decoded, listed


async def life_of(request: Request, kind: str) -> Lifecycle:
    """Return the lifecycle of a kind; raises `ProblemError` where there is none."""
    rules = await in_time(backing_of(request).reader.rules())
    if kind not in rules.kinds:
        raise ProblemError(404, f"kind: {kind}; must be {listed(rules.kinds)}", field="kind")
    return rules.kinds[kind]


async def kinds(request: Request) -> Response:
    """Answer with the kinds of the rules in force."""
    query(request, Query)
    rules = await in_time(backing_of(request).reader.rules())
    return tagged(request, Kinds([KindInfo.of(kind, life) for kind, life in rules.kinds.items()]))


async def counts(request: Request) -> Response:
    """Answer with how many entities are in each phase."""
    query(request, Query)
    kind = request.path_params["kind"]
    await life_of(request, kind)
    return answer(Counts(kind, await in_time(backing_of(request).reader.counts(kind))))


async def entities(request: Request) -> Response:
    """Answer with a page of the entities in a phase."""
    asked, kind = query(request, OfPage), request.path_params["kind"]
    await life_of(request, kind)
    page = await in_time(
        backing_of(request).reader.list(
            kind,
            asked.phase,
            newest=asked.order == "newest",
            limit=asked.limit,
            after=asked.after,
        )
    )
    found = [Listed(each, status, page.since[each]) for each, status in page.statuses.items()]
    return answer(Entities(kind, found, page.after))


async def stalled(request: Request) -> Response:
    """Answer with a page of the entities without an update for too long."""
    asked = query(request, OfStalled)
    await life_of(request, asked.kind)
    newest = asked.order == "newest"
    page = await in_time(
        backing_of(request).reader.stalled(
            asked.kind, newest=newest, limit=asked.limit, after=asked.after
        )
    )
    found = [Listed(each, at.status, at.since) for each, at in page.entities.items()]
    return answer(Entities(asked.kind, found, page.after))


async def entity(request: Request) -> Response:
    """Answer with the status of an entity."""
    asked = query(request, OfEntity)
    life = await life_of(request, asked.kind)
    status = await in_time(backing_of(request).reader.get(asked.kind, asked.id))
    if status is not None:
        return tagged(request, Entity(asked.kind, asked.id, status))
    goes = [phase for phase in life.phases if phase in life.retention]
    why = "it never had one, unless somebody took it away"
    if goes:
        why = f"it never had one, or it was taken away some time after it was {listed(goes)}"
    raise ProblemError(
        404,
        f"{asked.kind} {asked.id} has no status: {why}",
        field="id",
        may_have_been_removed=bool(goes),
    )


async def history(request: Request) -> Response:
    """Answer with the last changes of an entity."""
    asked = query(request, OfEntity)
    await life_of(request, asked.kind)
    changes = await in_time(backing_of(request).reader.history(asked.kind, asked.id))
    return answer(HistoryOf(asked.kind, asked.id, changes))


async def wait(request: Request) -> Response:
    """Answer as soon as an entity is settled, or in one of some phases, or the time is up."""
    asked, backing = query(request, OfWait), backing_of(request)
    life = await life_of(request, asked.kind)
    until = None if asked.until == "settled" else asked.until.split(",")
    for phase in until or ():
        if phase not in life.phases:
            may = listed(["settled", *life.phases])
            raise ProblemError(400, f"until: {phase}; must be {may}", field="until")
    check_room(backing)
    waiting = backing.reader.wait(
        asked.kind, asked.id, until=until or "settled", timeout=asked.timeout
    )
    gone = asyncio.Event()
    with backing.open, suppress(TimeoutError):
        watching = asyncio.create_task(_tell_gone(request, backing.stop, gone))
        try:
            status = await unless_stopped(waiting, gone)
        finally:
            watching.cancel()
        if status is None:
            raise later("the server stops")
        return answer(Waited(asked.kind, asked.id, True, status))
    status = await in_time(backing.reader.get(asked.kind, asked.id))
    return answer(Waited(asked.kind, asked.id, False, status))


async def _tell_gone(request: Request, stop: asyncio.Event, gone: asyncio.Event) -> None:
    """Tell when whoever asks is gone, or all is over."""

    async def left() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    await unless_stopped(left(), stop)
    gone.set()


async def rejected(request: Request) -> Response:
    """Answer with a page of the entries that were not applied."""
    asked = query(request, OfRejected)
    page = await in_time(
        backing_of(request).reader.rejected(
            reason=asked.reason,
            newest=asked.order == "newest",
            limit=asked.limit,
            after=asked.after,
        )
    )
    return answer(RejectedEntries(list(map(_rejected, page.entries)), page.after))


def _rejected(found: Rejected) -> RejectedEntry:
    about = entity_in(found.data)
    return RejectedEntry(
        entry=found.entry,
        rejected_at=found.at,
        kind=about.kind,
        id=about.id,
        reason=found.reason,
        detail=found.detail,
        stream=found.stream,
        event=found.id,
        data=decoded(found.data),
    )


async def fleet(request: Request) -> Response:
    """Answer with who reads what, and what is wrong."""
    query(request, Query)
    return answer((await in_time(backing_of(request).look())).report)


class Changes:
    """Answers with the change feed, without an end."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        request = Request(scope, receive)
        asked, backing = query(request, OfChanges), backing_of(request)
        # Whoever reconnects has it from the last event, and `after` from long before.
        after = request.headers.get("last-event-id") or asked.after or None
        form = NDJSON if _wants_lines(request.headers.get("accept", "")) else SSE
        await in_time(backing.feed.open())
        if after is not None:
            with refusals():
                backing.feed.since(after)  # is it a token?
        check_room(backing)  # last: others may have come meanwhile
        with backing.open:
            stream = Stream(form.media_type, telling(backing.feed, form, after), backing.stop)
            await stream(scope, receive, send)


def _wants_lines(accept: str) -> bool:
    """Tell whether lines are wanted rather than events: what is named first."""
    for each in accept.split(","):
        media_type = each.partition(";")[0].strip().lower()
        if media_type in (SSE.media_type, NDJSON.media_type):
            return media_type == NDJSON.media_type
    return False
