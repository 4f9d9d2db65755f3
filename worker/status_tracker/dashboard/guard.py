"""What every request passes: who asks, from where, and what no answer may lack or show."""

import logging
from collections.abc import Collection
from urllib.parse import urlsplit

from msgspec import Struct
from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from status_tracker.dashboard.auth import Auth
from status_tracker.dashboard.problems import ProblemError, problem_of
from status_tracker.engine.notices import Notice
from status_tracker.errors import ConfigError, UnavailableError
from status_tracker.text import escaped

log: logging.Logger = logging.getLogger(__name__)

HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
"""Of each answer, unless it says otherwise."""

_SAFE = ("GET", "HEAD", "OPTIONS")


class Policy(Struct, frozen=True):
    """Who may ask what."""

    auth: Auth | None
    hosts: frozenset[str] | None
    """Names by which the server may be called; None for any. Without auth, a page elsewhere could
    have its own name lead here."""
    origins: frozenset[str]
    """Of pages elsewhere that may ask, too."""


class Boundary:
    """Adds headers to all that comes from within, and answers what failed there."""

    def __init__(self, app: ASGIApp, origins: Collection[str]) -> None:
        self._app = app
        self._headers = dict(HEADERS)
        self._unanswered = Notice()  # there may be many a second
        if origins:
            self._headers["Cross-Origin-Resource-Policy"] = "cross-origin"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = False

        async def guarded(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                headers = MutableHeaders(scope=message)
                for name, value in self._headers.items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            await self._app(scope, receive, guarded)
        except Exception as error:  # noqa: BLE001 - no traceback leaves it
            problem = problem_of(error)
            self._log(error.__cause__ or error, is_bug=problem.status == 500)
            if not started:
                await problem.response()(scope, receive, guarded)

    def _log(self, error: BaseException, *, is_bug: bool) -> None:
        if is_bug:
            log.error("a request met a bug", exc_info=error, extra={"event": "request_failed"})
        elif isinstance(error, UnavailableError | ConfigError | TimeoutError):
            self._unanswered.add([escaped(str(error)) or "the server did not answer in time"])
            for why, count in self._unanswered.take().items():
                log.warning("%s", why, extra={"event": "requests_unanswered", "count": count})


class Guard:
    """Lets through who may ask."""

    def __init__(self, app: ASGIApp, policy: Policy) -> None:
        self._app = app
        self._policy = policy

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on; raises `ProblemError`."""
        if scope["type"] == "http":
            self._check(HTTPConnection(scope), scope["method"])
        await self._app(scope, receive, send)

    def _check(self, connection: HTTPConnection, method: str) -> None:
        policy = self._policy
        host = connection.headers.get("host", "")
        if policy.hosts is not None and _name(host) not in policy.hosts:
            raise ProblemError(421, "Host: it is served by the names of this machine only")
        if policy.auth is not None and not policy.auth.allows(connection):
            challenge = policy.auth.challenge
            headers = {"WWW-Authenticate": challenge} if challenge else {}
            raise ProblemError(401, "say who you are", headers=headers)
        if method not in _SAFE:
            self._check_origin(connection, host)

    def _check_origin(self, connection: HTTPConnection, host: str) -> None:
        """Refuse what a page elsewhere has a browser send; programs say nothing of origins."""
        origin = connection.headers.get("origin")
        if origin is not None and origin in self._policy.origins:
            return
        site = connection.headers.get("sec-fetch-site", "same-origin")
        if site not in ("same-origin", "none"):
            raise ProblemError(403, "Sec-Fetch-Site: only pages of this origin may act")
        if origin is not None and urlsplit(origin).netloc.lower() != host.lower():
            raise ProblemError(403, "Origin: only pages of this origin may act")


def _name(host: str) -> str:
    """Return the name in a Host header, without its port."""
    return host.rpartition("]")[0] + "]" if host.startswith("[") else host.partition(":")[0].lower()
