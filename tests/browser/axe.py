"""axe-core, which finds what people with a keyboard, a screen reader or weak eyes stumble over."""

from pathlib import Path

import pytest
from playwright.async_api import Page

SCRIPT = Path(__file__).parents[1] / "node/node_modules/axe-core/axe.min.js"

needs_axe = pytest.mark.skipif(
    not SCRIPT.exists(), reason="npm is not there to install axe-core: see tests/node"
)

BAD = {"serious", "critical"}

REST = ["tbody tr:nth-child(n+9)", "li[data-entry]:nth-child(n+9)"]
"""Rows that differ from those before in what they say only: each costs time."""


async def serious(page: Page, *rules: str) -> list[str]:
    """Return what it finds by some rules, or all, with elements."""
    if not await page.evaluate("'axe' in window"):
        await page.evaluate(SCRIPT.read_text())
    options = {"runOnly": rules} if rules else {}
    run = "([context, options]) => axe.run(context, options)"
    found = await page.evaluate(run, [{"exclude": REST}, options])
    return [
        f"{each['id']}: {node['html'][:120]} {node['failureSummary']}"
        for each in found["violations"]
        if each["impact"] in BAD
        for node in each["nodes"][:3]
    ]
