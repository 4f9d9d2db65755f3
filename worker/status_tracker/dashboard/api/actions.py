"""The endpoints that write: as an emitter does, so that what becomes of it the workers decide."""

from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from status_tracker.client.documents import Rejected
from status_tracker.client.updates import NAMES
from status_tracker.dashboard.api.answers import MOST_SENT, Left, Replayed, Sent, ToRemove, ToReplay
from status_tracker.dashboard.asking import answer, body, in_time
from status_tracker.dashboard.deployment import backing_of
from status_tracker.dashboard.problems import ProblemError
from status_tracker.errors import UpdateError

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
    found = await in_time(backing.reader.rejected_entries(asked.entries))
    sent: list[str] = []
    left: list[Left] = []
    for name, rejected in found.items():
        try:
            await in_time(backing.emitter.emit_many([_update_in(rejected)]))
        except UpdateError as error:
            left.append(Left(name, str(error)))
        else:
            sent.append(name)
    return answer(Replayed(sent, left), 202)


def _update_in(rejected: Rejected | None) -> dict[str, Any]:
    """Return the update in a rejected entry; raises `UpdateError` where there is none."""
    if rejected is None:
        raise UpdateError("it is not kept any more")
    if rejected.reason == "oversized":
        raise UpdateError("oversized: only its beginning is kept")
    try:
        found: dict[str, Any] = msgspec.json.decode(rejected.data, type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise UpdateError("it holds no update") from None
    if "updatedAt" not in found:
        raise UpdateError("updatedAt: missing")  # an emitter would fill in that of now
    # An emitter refuses what it does not know; workers pass over it.
    return {name: value for name, value in found.items() if name in _KNOWN}
