"""What goes wrong in a page is noted: else the other tests would hold nothing."""

import re

import pytest

from tests.browser.chromium import Visits

pytestmark = pytest.mark.asyncio(loop_scope="session")

WRONG = {
    "console: said": "console.error('said')",
    "console: warned": "console.warn('warned')",
    "error: .*thrown": "setTimeout(() => { throw new Error('thrown'); })",
    "against the policy: script-src": "document.body.innerHTML = '<p onclick=alert(1)>'",
    "against the policy: img-src": "document.body.innerHTML = '<img src=https://elsewhere.test>'",
    "answer: .*404": "fetch('nowhere')",
    "dialog: hello": "alert('hello')",
}


async def test_what_goes_wrong_is_noted(visit: Visits) -> None:
    """And may be expected by a pattern."""
    page = await visit()
    for script in WRONG.values():
        await page.evaluate(f"() => {{ {script} }}")
    await page.evaluate("fetch('nowhere')")  # after it, all of the others are known
    for pattern in WRONG:
        assert any(re.search(pattern, each) for each in visit.faults), (pattern, visit.faults)
    visit.expects(".")
    assert visit.faults == []
