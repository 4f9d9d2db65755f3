"""Below another path than the root: mounted in an application, or behind a proxy that strips it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
import uvicorn
from playwright.async_api import expect
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.types import ASGIApp, Receive, Scope, Send
from status_tracker.dashboard import create_app
from status_tracker.dashboard.serving import listen

from tests.browser.chromium import Visits
from tests.browser.deployment import Site
from tests.browser.pages import RUNNING, live, row

pytestmark = pytest.mark.asyncio(loop_scope="session")

BELOW = "/ops/status"


def mounted(app: Starlette) -> ASGIApp:
    """Return an application in which another one knows that it is mounted."""
    return Starlette(routes=[Mount(BELOW, app)], lifespan=app.router.lifespan_context)


def stripped(app: Starlette) -> ASGIApp:
    """Return what hands on each path without its beginning, as a proxy that says nothing of it."""

    async def proxy(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            assert scope["path"].startswith(f"{BELOW}/"), "an address leads out of it"
            scope = {**scope, "path": scope["path"].removeprefix(BELOW), "raw_path": b""}
        await app(scope, receive, send)

    return proxy


@asynccontextmanager
async def served(app: ASGIApp) -> AsyncIterator[str]:
    """Serve an application; yield where the pages are."""
    config = uvicorn.Config(app, log_config=None, timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    with listen("127.0.0.1", 0) as own:
        serving = asyncio.create_task(server.serve(sockets=[own]))
        try:
            yield f"http://127.0.0.1:{own.getsockname()[1]}{BELOW}/"
        finally:
            server.should_exit = True
            await serving


@pytest.mark.parametrize("around", [mounted, stripped])
async def test_below_a_path(
    site: Site, visit: Visits, around: Callable[[Starlette], ASGIApp]
) -> None:
    """Links, forms, files and the stream: all of them lead below it."""
    site.begin("below", progress=0.1)
    app = create_app(site.server.url)
    async with served(around(app)) as url:
        page = await visit(url, base_url=url)
        await live(page)
        await page.get_by_role("link", name="running").first.click()
        await page.goto(RUNNING)
        await live(page)
        site.emitter.task("below", "running", progress=0.9)
        await expect(page.locator(row("below"))).to_contain_text("90 %")
        await page.locator(row("below")).get_by_role("link").click()
        await expect(page.locator("h1")).to_contain_text("below")
        await live(page)
        await page.get_by_label("Find an id").fill("belo")
        await page.keyboard.press("Enter")
        await expect(page.locator("main")).to_contain_text("below")
        for name in ("task", "fleet", "Status tracker"):
            await page.get_by_role("link", name=name, exact=True).first.click()
            await live(page)
            assert page.url.startswith(url)
        await visit.close()
