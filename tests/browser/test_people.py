"""However people look at it: dark or light, narrow, by keyboard or ear, without JavaScript."""

import pytest
from playwright.async_api import Page, expect

from tests.browser.axe import needs_axe, serious
from tests.browser.chromium import NARROW, Visits
from tests.browser.deployment import Site
from tests.browser.pages import ALL, RUNNING, live, row

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_dark_and_light_by_preference(visit: Visits) -> None:
    """Each is readable for itself: axe has the contrasts."""
    for scheme, is_light in (("light", True), ("dark", False)):
        page = await visit(color_scheme=scheme)
        background = await page.evaluate("getComputedStyle(document.body).backgroundColor")
        channels = [int(each) for each in background.removeprefix("rgb(").rstrip(")").split(",")]
        assert all((each > 128) == is_light for each in channels), (scheme, background)


@needs_axe
async def test_axe_finds_nothing_serious(visit: Visits) -> None:
    """On no page; and in the dark every text is light enough."""
    page = await visit(color_scheme="light")
    found = {}
    for name, where in ALL.items():
        await page.goto(where)
        found[name] = await serious(page)
        await page.emulate_media(color_scheme="dark")
        found[f"{name}, dark"] = await serious(page, "color-contrast")
        await page.emulate_media(color_scheme="light")
    assert {name: each for name, each in found.items() if each} == {}


async def test_a_narrow_window(site: Site, visit: Visits) -> None:
    """All that a row says is there, below each other; nothing scrolls sideways."""
    site.begin("on-a-phone", progress=0.25)
    site.emitter.task("on-a-phone", "running", error_message="a message")
    page = await visit(RUNNING, viewport=NARROW)
    found = page.locator(row("on-a-phone"))
    for part in (".id a", ".phase .chip", "progress", ".message", ".updated"):
        await expect(found.locator(part)).to_be_in_viewport()
    assert await page.evaluate("document.scrollingElement.scrollWidth <= innerWidth")


async def test_without_javascript(site: Site, visit: Visits) -> None:
    """Everything is there as it was when the page was made, and says that it stands still."""
    site.begin("stands-still", progress=0.25)
    page = await visit(RUNNING, java_script_enabled=False)
    found = page.locator(row("stands-still"))
    await expect(found).to_contain_text("25 %")
    await expect(found.locator(".updated")).not_to_be_empty()
    # Switched off in this way, it draws nothing of it.
    assert "Without JavaScript" in await page.locator("noscript").inner_html()
    await expect(page.locator("#live")).to_be_hidden()
    await found.get_by_role("link").click()
    await expect(page.locator("h1")).to_contain_text("stands-still")
    await page.get_by_label("Find an id").fill("stands-")
    await page.keyboard.press("Enter")
    await expect(page.locator("main")).to_contain_text("stands-still")


async def test_by_keyboard(site: Site, visit: Visits) -> None:
    """The first Tab offers to skip what all pages have; `/` leads to the search, Enter searches."""
    site.begin("by-keyboard")
    page = await visit(RUNNING)
    await live(page)
    await page.keyboard.press("Tab")
    await expect(page.get_by_text("Skip to the content")).to_be_focused()
    await page.keyboard.press("Enter")
    await expect(page.locator("#main")).to_be_focused()
    for _ in range(40):
        await page.keyboard.press("Tab")
        if await in_focus(page) == "by-keyboard":
            break
    else:
        pytest.fail("Tab does not reach the rows")
    outline = "getComputedStyle(document.activeElement).outlineStyle"
    assert await page.evaluate(outline) != "none"
    await page.keyboard.press("/")
    search = page.get_by_label("Find an id")
    await expect(search).to_be_focused()
    await page.keyboard.type("by-key/")
    await expect(search).to_have_value("by-key/")
    await page.keyboard.press("Backspace")
    await page.keyboard.press("Enter")
    await expect(page.locator("main")).to_contain_text("by-keyboard")


async def in_focus(page: Page) -> str:
    """Return the text of what has the focus."""
    return str(await page.evaluate("document.activeElement.textContent.trim()"))


async def test_an_id_is_copied_as_it_is(site: Site, visit: Visits) -> None:
    """And not as it is shown."""
    copied = "copied-\u202egpj"
    site.begin(copied)
    page = await visit(RUNNING, permissions=["clipboard-read", "clipboard-write"])
    await page.locator(row(copied)).get_by_role("button").click()
    await expect(page.locator(row(copied)).locator(".copy")).to_have_class("copy done")
    assert await page.evaluate("navigator.clipboard.readText()") == copied
