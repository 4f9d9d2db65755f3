"""Where pages are, and what is on them."""

from urllib.parse import urlencode

from playwright.async_api import Page, expect


def address(path: str, **parameters: str) -> str:
    """Return the address of a page."""
    return f"{path}?{urlencode(parameters)}"


RUNNING = address("kind", kind="task", phase="running")


def row(entity_id: str) -> str:
    """Select the row of an entity whose id has no quotes."""
    return f'tr:has([data-copy="{entity_id}"])'


async def live(page: Page) -> None:
    """Wait until it is kept up."""
    await expect(page.locator("#live")).to_have_text("live")


ALL = {
    "overview": "",
    "running": RUNNING,
    "failed": address("kind", kind="task", phase="failed"),
    "assets": address("kind", kind="asset", phase="uploading", order="oldest"),
    "empty": address("kind", kind="asset", phase="deleted"),
    "stalled": address("kind", kind="task", phase="stalled"),
    "entity": address("entity", kind="task", id="null"),
    "search": address("search", q="W"),
    "rejected": "rejected",
    "rejected of a reason": address("rejected", reason="invalid"),
    "fleet": "fleet",
}
"""One of each, with what `hostile.fill` has left there."""
