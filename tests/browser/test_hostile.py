"""Text of others is text, and stays within the page, on every page and whatever it is."""

import pytest
from playwright.async_api import Page, ViewportSize, expect

from tests.browser.chromium import DESKTOP, NARROW, Visits
from tests.browser.deployment import Site
from tests.browser.hostile import MESSAGES, TEXTS
from tests.browser.pages import ALL, RUNNING, address, live

pytestmark = pytest.mark.asyncio(loop_scope="session")

INJECTED = (
    "img, iframe, script:not([src]), svg[onload], [onerror], [onmouseover], a[href^=javascript]"
)

LISTS = {
    **ALL,
    "filtered": address("kind", kind="task", phase="running", id=TEXTS[1]),
    "rejected of an id": address("rejected", kind="task", id=f"rejected-{TEXTS[1]}"),
}


async def harmless(page: Page, *sizes: ViewportSize) -> None:
    """Nothing became an element, and nothing is wider than a window of these sizes."""
    assert await page.locator(INJECTED).count() == 0
    for size in sizes:
        await page.set_viewport_size(size)
        wide = await page.evaluate("document.scrollingElement.scrollWidth - innerWidth")
        assert wide <= 0, f"{page.url}: {wide} px too wide at {size['width']} px"


async def test_on_the_page_of_an_entity(visit: Visits) -> None:
    """Each entity has one."""
    page = await visit(viewport=NARROW)
    for text in TEXTS:
        await page.goto(address("entity", kind="task", id=text))
        await harmless(page, NARROW)


async def test_on_the_page_of_what_was_rejected(site: Site, visit: Visits) -> None:
    """Its bytes are shown as they are, and as text."""
    page = await visit(viewport=NARROW)
    for each in site.reader.rejected(limit=1_000).entries[::2]:  # most texts come twice
        await page.goto(address("rejected-entry", entry=each.entry))
        await harmless(page, NARROW)


@pytest.mark.parametrize(
    ("path", "name"),
    [("kind", "kind"), ("kind", "phase"), ("entity", "id"), ("search", "q"), ("rejected", "id")],
)
async def test_in_addresses(visit: Visits, path: str, name: str) -> None:
    """What is no kind, phase or id is said to be none."""
    visit.expects("40[04]")
    page = await visit(viewport=NARROW)
    for text in (TEXTS[4], MESSAGES[0], MESSAGES[2][:1_000]):
        given = {name: text} if path == "search" else {"kind": "task", name: text}
        await page.goto(address(path, **given))
        await harmless(page, NARROW)


@pytest.mark.parametrize("name", LISTS)
async def test_as_a_page_comes(visit: Visits, name: str) -> None:
    """And as it is kept up."""
    page = await visit(LISTS[name])
    await live(page)
    await harmless(page, DESKTOP, NARROW)


async def test_as_rows_are_patched(site: Site, visit: Visits) -> None:
    """What comes by the stream is put into the page by other means."""
    ids = [f"patched-{text[:200]}" for text in TEXTS]
    site.begin(*ids)
    page = await visit(RUNNING)
    await live(page)
    for each, text in zip(ids, [*MESSAGES, *TEXTS], strict=False):
        site.emitter.task(each, "failed", error_message=text)
    for each in ids:
        link = page.locator(f"[href={quoted(address('entity', kind='task', id=each))}]")
        await expect(page.locator("tr", has=link).locator(".phase")).to_have_text("failed")
    await harmless(page, DESKTOP, NARROW)


def quoted(text: str) -> str:
    """Return text as a string of CSS; an address has nothing in it that would need more."""
    return f'"{text}"'
