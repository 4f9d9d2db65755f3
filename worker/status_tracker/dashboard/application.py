"""The ASGI application: its routes, and what stands around them."""

from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Mount, Route

from status_tracker.dashboard.api import actions, reads
from status_tracker.dashboard.api.answers import Query
from status_tracker.dashboard.api.openapi import document
from status_tracker.dashboard.asking import in_time, query, tagged
from status_tracker.dashboard.auth import Auth
from status_tracker.dashboard.deployment import Backing
from status_tracker.dashboard.guard import Boundary, Guard, Policy
from status_tracker.dashboard.live.hub import Hub
from status_tracker.dashboard.live.stream import Live
from status_tracker.dashboard.pages import routes as pages
from status_tracker.dashboard.pages.making import nowhere
from status_tracker.dashboard.problems import respond
from status_tracker.settings import Settings, load_settings

API = "/api/v1"

READS = {
    "/kinds": reads.kinds,
    "/kinds/{kind}/counts": reads.counts,
    "/kinds/{kind}/entities": reads.entities,
    "/entity": reads.entity,
    "/entity/history": reads.history,
    "/entity/wait": reads.wait,
    "/rejected": reads.rejected,
    "/fleet": reads.fleet,
    "/stalled": reads.stalled,
}
ACTIONS = {
    "/updates": actions.updates,
    "/rejected/replay": actions.replay,
    "/rejected/purge": actions.purge,
    "/remove": actions.remove,
}


def create_app(
    source: str | Settings,
    *,
    prefix: str | None = None,
    auth: Auth | None = None,
    allow_actions: bool = False,
    hosts: Collection[str] | None = None,
    origins: Sequence[str] = (),
) -> Starlette:
    """Return the dashboard of a deployment, by its URL or settings; it can be mounted anywhere.

    Below `/api/v1` is the HTTP API, and around it are the pages.

    It connects when it is first asked. Without `allow_actions`, which ask for `auth`, it only
    reads. `hosts` are the names by which it may be called (None: any), `origins` those of pages
    elsewhere that may ask. Where it is mounted, give the application around it this one's lifespan,
    `app.router.lifespan_context`, so that its connections are closed. Raises ValueError for actions
    without auth, and `ConfigError` for a URL that cannot be.
    """
    if allow_actions and auth is None:
        raise ValueError("allow_actions: whoever may act has to say who it is: give auth, too")
    if isinstance(source, str):
        source = load_settings(None, options={"redis_url": source})
    if prefix is not None:
        source = msgspec.structs.replace(source, prefix=prefix)
    backing = Backing(source)
    hub = Hub(backing)

    async def openapi(request: Request) -> Response:
        query(request, Query)
        rules = await in_time(backing.reader.rules())
        challenge = auth.challenge if auth else None
        found = document(
            rules, actions=allow_actions, challenge=challenge, has_auth=auth is not None
        )
        return tagged(request, found)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        try:
            yield
        finally:
            await hub.close()
            await backing.close()

    routes: list[BaseRoute] = [Route(API + path, each) for path, each in READS.items()]
    routes += [Route(f"{API}/changes", reads.Changes(), methods=["GET"])]
    routes += [Route(f"{API}/openapi.json", openapi)]
    routes += [Route("/live", Live(backing, hub), methods=["POST"]), *pages.routes()]
    if allow_actions:
        routes += [Route(API + path, each, methods=["POST"]) for path, each in ACTIONS.items()]
    allowed = frozenset(origins)
    policy = Policy(auth, None if hosts is None else frozenset(hosts), allowed)
    cors = Middleware(
        CORSMiddleware,
        allow_origins=origins,
        allow_methods=["GET", "POST"],
        allow_headers=["Authorization", "Content-Type", "If-None-Match", "Last-Event-ID"],
        expose_headers=["ETag", "Retry-After"],
    )
    app = Starlette(
        routes=routes,
        middleware=[
            # Outside, so that a page elsewhere can read what went wrong, too.
            *([cors] if origins else []),
            Middleware(Boundary, origins=allowed),
            Middleware(Guard, policy=policy),
        ],
        exception_handlers={HTTPException: _refused},
        lifespan=lifespan,
    )
    # A redirect to another path would name a host and a scheme, which a proxy may have changed.
    app.router.redirect_slashes = False
    app.state.backing = backing
    app.state.acts = allow_actions
    return app


async def _refused(request: Request, error: Exception) -> Response:
    """Answer what no route takes: a browser by a page, and programs by a problem."""
    wants_page = "text/html" in request.headers.get("accept", "")
    is_missing = isinstance(error, HTTPException) and error.status_code == 404
    if is_missing and wants_page and f"{API}/" not in request.url.path:
        return nowhere(request)
    return await respond(request, error)


def below(path: str, app: Starlette) -> Starlette:
    """Return the same application below a path, for whoever serves it alone: ``/status``."""

    async def enter(_: Request) -> Response:
        return RedirectResponse(f"{path.rpartition('/')[2]}/")

    outer = Starlette(
        routes=[Route(path, enter), Mount(path, app)], lifespan=app.router.lifespan_context
    )
    outer.state.backing = app.state.backing
    return outer
