"""What can go wrong, as RFC 9457 has it: one line that names what to change, and nothing of ours.

No Redis URL, no key of the server's and no traceback is in an answer; the log has them.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from status_tracker.dashboard.api.answers import Problem
from status_tracker.errors import BacklogError, ConfigError, UnavailableError, UpdateError
from status_tracker.text import escaped

AGAIN_AFTER = "1"
"""Seconds."""

MEDIA_TYPE = "application/problem+json"


class ProblemError(Exception):
    """What ends a request."""

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        headers: dict[str, str] | None = None,
        **members: Any,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers: dict[str, str] = headers or {}
        self.members: dict[str, Any] = members

    def response(self) -> Response:
        """Return the answer."""
        problem = Problem(
            title=HTTPStatus(self.status).phrase,
            status=self.status,
            detail=escaped(self.detail),
            **self.members,
        )
        return Response(
            msgspec.json.encode(problem),
            status_code=self.status,
            media_type=MEDIA_TYPE,
            headers=self.headers,
        )


def later(detail: str, status: int = 503) -> ProblemError:
    """Return what asks to try again in a moment."""
    return ProblemError(status, detail, headers={"Retry-After": AGAIN_AFTER})


@contextmanager
def refusals() -> Iterator[None]:
    """Take what the reader refuses, naming the parameter first, for a wrong request."""
    try:
        yield
    except UpdateError:
        raise
    except ValueError as error:
        raise ProblemError(400, str(error), field=str(error).partition(":")[0]) from None


def problem_of(error: Exception) -> ProblemError:
    """Return what is said of an error; of one that should not have been, that it was logged."""
    match error:
        case ProblemError():
            return error
        case HTTPException(status_code=status, headers=headers):
            return ProblemError(status, HTTPStatus(status).description, headers=dict(headers or {}))
        case UpdateError(field=field):
            return ProblemError(422, str(error), field=field)
        case BacklogError():
            return later("the workers are too far behind")
        case UnavailableError():
            return later("the Redis server cannot be used now")
        case ConfigError():
            return later("there is no deployment that could be read; the log says why")
        case TimeoutError():
            return later("the Redis server did not answer in time")
    return ProblemError(500, "this is a bug; the log has more")


async def respond(_: Request, error: Exception) -> Response:
    """Answer a request that ended in an error."""
    return problem_of(error).response()
