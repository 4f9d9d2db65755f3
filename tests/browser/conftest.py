"""One browser and one deployment for all of these tests, and pages for each of them."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser

from tests.browser.chromium import Visits, chromium, launched
from tests.browser.deployment import Site, deployment
from tests.browser.hostile import fill
from tests.servers import Server, binaries


@pytest_asyncio.fixture(scope="package", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    """The browser."""
    async with launched(chromium()) as found:
        yield found


@pytest.fixture(scope="package")
def site(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A deployment in which the hostile have been; without a browser there is no need of it."""
    folder: Path = tmp_path_factory.mktemp("site")
    binary = next(iter(binaries().values()))
    with Server(binary, folder / "server") as server, deployment(folder, server) as found:
        fill(found)
        yield found


@pytest_asyncio.fixture(loop_scope="session")
async def visit(browser: Browser, site: Site) -> AsyncIterator[Visits]:
    """Opens pages of it; the test fails where anything goes wrong in them."""
    visits = Visits(browser, site.url)
    try:
        yield visits
    finally:
        await visits.close()
    assert visits.faults == []
