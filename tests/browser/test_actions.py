"""Replay and purge from the page: by who may, after a question, by keyboard."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.async_api import HttpCredentials, Page, expect

from tests.browser.axe import SCRIPT, serious
from tests.browser.chromium import Visits
from tests.browser.deployment import Site, reject, serving, update
from tests.browser.pages import address, live
from tests.servers import wait_until

pytestmark = pytest.mark.asyncio(loop_scope="session")

ME = HttpCredentials(username="me", password="letters" * 3)


@pytest.fixture
def acting(site: Site, tmp_path: Path) -> Iterator[str]:
    """A dashboard that may act."""
    pair = tmp_path / "pair"
    pair.write_text(f"{ME['username']}:{ME['password']}")
    options = ("--auth", f"basic:file:{pair}", "--allow-actions")
    with serving(tmp_path, site.server.url, *options) as url:
        yield url


def rejected_of(site: Site, entity_id: str) -> str:
    """Have an update of an entity come before its time; return what it is kept as."""
    site.send(entity_id, "pending")
    soon = time.time() * 1000 + 20_000
    reject(site, update(kind="task", id=entity_id, phase="completed", updatedAt=soon))

    def entry() -> str | None:
        kept = site.reader.rejected(limit=1_000, reason="illegal_transition").entries
        return next((each.entry for each in kept if entity_id.encode() in each.data), None)

    return wait_until(entry)


async def press(page: Page, name: str) -> None:
    """Go to a button by Tab, and press it."""
    button = page.get_by_role("button", name=name, exact=True)
    await expect(button).to_be_visible()
    for _ in range(40):
        if await button.evaluate("(each) => each === document.activeElement"):
            break
        await page.keyboard.press("Tab")
    await page.keyboard.press("Enter")


async def test_an_entry_is_replayed_and_purged(site: Site, visit: Visits, acting: str) -> None:
    """What it would do is said before, what it did after; and nothing goes by itself."""
    entry = rejected_of(site, "replayed")
    where = acting + address("rejected-entry", entry=entry)
    page = await visit(where, http_credentials=ME)
    await live(page)
    await press(page, "Replay…")
    await expect(page.get_by_role("dialog")).to_contain_text("1 would be rejected again")
    await page.keyboard.press("Escape")
    await expect(page.get_by_role("button", name="Replay…")).to_be_focused()

    site.send("replayed", "waiting", "running")
    await press(page, "Replay…")
    dialog = page.get_by_role("dialog", name="Replay 1 entry?")
    await expect(dialog).to_contain_text("1 would be applied")
    if SCRIPT.exists():
        assert await serious(page) == []
    await press(page, "Replay 1")
    await expect(dialog).to_contain_text("1 entry sent again")
    site.wait("replayed", "completed")
    await press(page, "Close")

    await press(page, "Purge…")
    await expect(page.get_by_role("dialog", name="Purge 1 entry?")).to_be_visible()
    assert site.reader.rejected_entries([entry])[entry] is not None
    await press(page, "Purge 1")
    await expect(page.get_by_role("dialog")).to_contain_text("1 entry purged")
    assert site.reader.rejected_entries([entry])[entry] is None
    await press(page, "Close")
    await page.wait_for_url("**/rejected?reason=illegal_transition")
    await visit.close()


async def test_an_entity_is_taken_away(site: Site, visit: Visits, acting: str) -> None:
    """From its page, which then says so."""
    site.begin("taken-away")
    page = await visit(
        acting + address("entity", kind="task", id="taken-away"), http_credentials=ME
    )
    await live(page)
    await press(page, "Take it away…")
    await expect(page.get_by_role("dialog")).to_contain_text("task taken-away")
    await press(page, "Take 1 away")
    await expect(page.get_by_role("dialog")).to_contain_text("A worker takes it away")
    await press(page, "Close")
    await expect(page.locator("#entity")).to_contain_text("It has no status")
    await visit.close()


async def test_nothing_acts_where_it_is_not_allowed(site: Site, visit: Visits) -> None:
    """There are no buttons for it."""
    page = await visit(address("rejected-entry", entry=rejected_of(site, "not-replayed")))
    await live(page)
    await expect(page.locator("[data-act]")).to_have_count(0)
