"""What the modules of a page do with what the server says, and where it says nothing."""

import pytest
from playwright.async_api import Page, Route, expect

from tests.browser.chromium import Visits
from tests.browser.pages import RUNNING, live

pytestmark = pytest.mark.asyncio(loop_scope="session")

PATCHES = """
async () => {
  const app = document.querySelector('script[type="module"]').src;
  const { patch } = await import(app.replace("app.js", "morph.js"));
  const list = document.createElement("ul");
  document.body.append(list);
  const item = (key) =>
    key === "-" ? "<li>plain</li>" : `<li data-key="${key}"><button>${key}</button></li>`;
  const html = (keys) => keys.map((each) => `\\n${item(each)}`).join("");
  const shown = () => [...list.children];
  let state = 1;
  const random = (below) => (state = (state * 48271) % 2147483647) % below;
  const wrong = [];
  for (let round = 0; round < 300; round++) {
    const keys = [..."abcdefgh--"].sort(() => random(3) - 1).slice(0, random(9));
    const before = new Map(shown().map((each) => [each.dataset.key, each]));
    patch(list, html(keys), true);
    if (list.innerHTML !== html(keys)) wrong.push(`${keys} became ${list.innerHTML}`);
    for (const each of shown()) {
      const known = each.dataset.key && before.get(each.dataset.key);
      if (known && known !== each) wrong.push(`${each.dataset.key} is another one`);
    }
  }
  const steps = ["abcd", "bcd", "xbcd", "xbd", "b"];
  patch(list, html([...steps[0]]), true);
  list.querySelector('[data-key="b"] button').focus();
  for (const each of steps) {
    patch(list, html([...each]), true);
    if (document.activeElement.textContent !== "b") wrong.push(`${each}: the focus is lost`);
  }
  list.remove();
  return wrong;
}
"""


async def test_patching_moves_nothing_that_stays(visit: Visits) -> None:
    """Whatever comes and goes around it, an element stays the same, and keeps the focus."""
    page = await visit(RUNNING)
    assert await page.evaluate(PATCHES) == []


async def answered(page: Page, status: int) -> None:
    """Have the dashboard refuse to keep a page up."""

    async def refuse(route: Route) -> None:
        await route.fulfill(status=status, json={})

    await page.route("**/live", refuse)


async def again(page: Page) -> None:
    """Have the page come back from being hidden."""
    await page.evaluate("() => dispatchEvent(new Event('pagehide'))")
    await page.evaluate("() => dispatchEvent(new Event('pageshow'))")


async def test_a_page_says_why_it_is_not_kept_up(visit: Visits) -> None:
    """And that it may lack somebody, where its place in the feed is none any more."""
    visit.expects("status of 40", "live 40")
    page = await visit(RUNNING)
    await live(page)
    await answered(page, 401)
    await again(page)
    await expect(page.locator("#live")).to_contain_text("old: the dashboard answers 401")
    await expect(page.locator("[data-news]")).to_be_hidden()
    await page.unroute_all()
    await live(page)
    await answered(page, 400)
    await again(page)
    await expect(page.locator("[data-news]")).to_have_text("there may be new ones: show")
    await page.unroute_all()
    await live(page)


async def test_a_server_that_says_nothing(visit: Visits) -> None:
    """What is shown is as old as the last word of the server, not as the notice."""
    page = await visit(RUNNING)
    await live(page)
    await page.evaluate("() => { const now = Date.now; Date.now = () => now() + 3_600_000; }")
    await page.route("**/live", lambda _: None)
    await again(page)
    await expect(page.locator("#live")).to_have_text("1 h old: connecting")
    await page.unroute_all(behavior="ignoreErrors")
