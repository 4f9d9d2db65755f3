"""What all pages have: what is around them, and what they tell of themselves to be kept up."""

from collections.abc import Awaitable, Callable, Iterable
from functools import wraps
from typing import Any

import msgspec
from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response

from status_tracker.dashboard.deployment import Look, backing_of
from status_tracker.dashboard.live.view import Region, Row, View
from status_tracker.dashboard.pages.attention import concerns
from status_tracker.dashboard.pages.rendering import Looks, page
from status_tracker.dashboard.problems import ProblemError, problem_of
from status_tracker.lifecycle import Lifecycle
from status_tracker.models import Status
from status_tracker.text import escaped, listed

Handler = Callable[[Request], Awaitable[Response]]

_encode = msgspec.json.Encoder().encode


class Listed(Struct, frozen=True):
    """An entity in a list."""

    kind: str
    id: str
    status: Status | None
    since: float | None = None
    """When it entered its phase, in ms since the epoch."""
    stalled: float | None = None
    """Since when it is marked as stalled."""


class Command(Struct, frozen=True):
    """What to type in a shell."""

    text: str
    why: str


def rows_of(entities: Iterable[Listed]) -> list[Row]:
    """Return the rows that show entities."""
    return [Row(each.kind, each.id) for each in entities]


def life_of(look: Look, kind: str) -> Lifecycle:
    """Return the lifecycle of a kind; raises `ProblemError` where there is none."""
    kinds = look.deployment.rules.kinds
    if kind not in kinds:
        raise ProblemError(404, f"kind: {kind}; must be {listed(kinds)}")
    return kinds[kind]


def made(
    request: Request,
    look: Look,
    template: str,
    view: View,
    *,
    title: str,
    status: int = 200,
    **values: Any,
) -> Response:
    """Answer with a page, which is kept up as its view says."""
    shown = msgspec.structs.replace(view, regions=[Region("health"), *view.regions])
    around = {
        "title": title,
        "look": look,
        "looks": Looks(look.deployment.rules),
        "kinds": list(look.deployment.rules.kinds),
        "attention": concerns(look, backing_of(request).seen),
        "now": look.now,
        "view": _encode(shown).decode(),
        "query": "",
        "here": "",
        "acts": request.app.state.acts,
    }
    return page(template, around | values, status)


class PageError(ProblemError):
    """What ends the making of a page, said on one."""

    depth: int = 0
    """How many levels below the pages it is shown."""

    def response(self) -> Response:
        """Return the page."""
        values = {"detail": escaped(self.detail), "problem": self, "root": "../" * self.depth}
        return page("problem.html", values, self.status)


def shows_problems(handler: Handler) -> Handler:
    """Have a page say in words what went wrong."""

    @wraps(handler)
    async def answered(request: Request) -> Response:
        try:
            return await handler(request)
        except Exception as error:
            problem = problem_of(error)
            raise PageError(problem.status, problem.detail) from error

    return answered


def nowhere(request: Request) -> Response:
    """Answer whoever asks for a page that there is not."""
    error = PageError(404, "there is no such page")
    error.depth = request.url.path.removeprefix(request.scope.get("root_path", "")).count("/") - 1
    return error.response()
