"""Servers go away and come back: the page says so, and goes on."""

from pathlib import Path

import pytest
from playwright.async_api import Browser, expect
from status_tracker import Emitter, StatusReader

from tests.acceptance.tracker import tracker
from tests.browser.chromium import Visits
from tests.browser.deployment import Site, serving
from tests.browser.pages import RUNNING, row
from tests.servers import Server, binaries, free_port

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_a_page_outlives_its_servers(browser: Browser, tmp_path: Path) -> None:
    """While the Redis server, or the dashboard itself, is away, what is shown is marked as old."""
    binary = next(iter(binaries().values()))
    port = free_port()
    with (
        Server(binary, tmp_path / "server", "--appendonly", "yes") as server,
        tracker(tmp_path, "--redis-url", server.url) as worker,
        Emitter(server.url) as emitter,
        StatusReader(server.url) as reader,
    ):
        worker.reads(0, 1, 2, 3)
        with serving(tmp_path, server.url, "--port", str(port)) as url:
            site = Site(url, server, emitter, reader)
            site.begin("stays", progress=0.1)
            visits = Visits(browser, url)
            page = await visits(RUNNING)
            live, shown = page.locator("#live"), page.locator(row("stays"))
            await expect(live).to_have_text("live")

            server.stop()
            await expect(live).to_contain_text("old: ")
            await expect(page.locator("body")).to_have_class("old")
            assert visits.faults == []
            server.start()
            emitter.task("stays", "running", progress=0.4)
            await expect(shown).to_contain_text("40 %", timeout=15_000)
            await expect(live).to_have_text("live")
            await expect(page.locator("body")).not_to_have_class("old")

        await expect(live).to_contain_text("old: the connection is lost")
        visits.expects("ERR_CONNECTION_REFUSED", "ERR_INCOMPLETE_CHUNKED_ENCODING", "ERR_ABORTED")
        emitter.task("stays", "running", progress=0.8)
        with serving(tmp_path, server.url, "--port", str(port)):
            await expect(shown).to_contain_text("80 %", timeout=15_000)
            await expect(live).to_have_text("live")
            await visits.close()
    assert visits.faults == []
