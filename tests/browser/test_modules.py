"""What the modules of a page do with what the server says, and where it says nothing."""

import pytest

from tests.browser.chromium import Visits
from tests.browser.pages import RUNNING

pytestmark = pytest.mark.asyncio(loop_scope="session")

PATCHES = """
async () => {
  const app = document.querySelector('script[type="module"]').src;
  const { patch } = await import(app.replace("app.js", "morph.js"));
  const list = document.createElement("ul");
  document.body.append(list);
  const html = (keys) => keys.map((each) =>
    each === "-" ? "\\n<li>plain</li>" : `\\n<li data-key="${each}"><button>${each}</button></li>`).join("");
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
