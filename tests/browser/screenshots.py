"""Each page of the demo as a picture, and how long it takes to be painted.

`make screenshots` writes `build/screenshots/<page>-<light, dark or narrow>.png`.
"""

import asyncio
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.async_api import Browser, FloatRect, Page
from status_tracker import StatusReader
from status_tracker.dashboard.pages.rendering import STATIC

from tests.browser.chromium import DESKTOP, NARROW, chromium, launched
from tests.browser.pages import RUNNING, address, live
from tests.command import COMMAND, environment
from tests.servers import wait_until

FOLDER = Path(__file__).parents[2] / "build" / "screenshots"

ENOUGH = {"task": 100, "asset": 30}
"""Entities of each kind from which on there is something to see."""

WITHIN = 60.0
"""Seconds."""

LOOKS: Mapping[str, dict[str, Any]] = {
    "light": {"viewport": DESKTOP, "color_scheme": "light"},
    "dark": {"viewport": DESKTOP, "color_scheme": "dark"},
    "narrow": {"viewport": NARROW, "color_scheme": "light", "device_scale_factor": 2},
}

TALLEST = 1_600
"""Pixels of a page that are shown."""

TIMES = 5

FIRST_PAINT = """() => new Promise((resolve) => {
  new PerformanceObserver((list, observer) => {
    const found = list.getEntriesByName("first-contentful-paint")[0];
    if (found) { observer.disconnect(); resolve(found.startTime); }
  }).observe({ type: "paint", buffered: true });
})"""


@contextmanager
def demo() -> Iterator[tuple[str, str]]:
    """Run the demo; yield where its pages are, and its Redis URL, when there is enough to see."""
    with (
        tempfile.TemporaryDirectory() as folder,
        subprocess.Popen(
            [*COMMAND, "demo"], cwd=folder, env=environment(), stdout=subprocess.PIPE, text=True
        ) as process,
    ):
        try:
            assert process.stdout is not None
            found = dict[str, str]()
            while len(found) < 2:
                found |= re.findall(r"(http|redis)(://\S+)", process.stdout.readline())
            url = f"redis{found['redis']}"
            with StatusReader(url) as reader:
                wait_until(lambda: has_enough(reader), within=WITHIN)
            yield f"http{found['http']}", url
        finally:
            process.terminate()


def has_enough(reader: StatusReader) -> bool:
    """Tell whether there is something to see on each page."""
    counts = {kind: reader.counts(kind) for kind in ENOUGH}
    return bool(
        all(sum(counts[kind].values()) >= least for kind, least in ENOUGH.items())
        and counts["task"]["failed"]
        and len(reader.rejected(reason="illegal_transition").entries) > 5
    )


def addresses(url: str) -> dict[str, str]:
    """Return the pages that are there."""
    with StatusReader(url) as reader:
        rejected = reader.rejected(reason="illegal_transition").entries[-1].entry
        running = next(iter(reader.list("task", "running", newest=False).statuses))
    return {
        "overview": "",
        "running": RUNNING,
        "failed": address("kind", kind="task", phase="failed"),
        "assets": address("kind", kind="asset"),
        "entity": address("entity", kind="task", id=running),
        "search": address("search", q=running[:9]),
        "rejected": "rejected",
        "rejected-reason": address("rejected", reason="illegal_transition"),
        "rejected-entry": address("rejected-entry", entry=rejected),
        "fleet": "fleet",
    }


async def take(browser: Browser, pages: str, places: Mapping[str, str]) -> None:
    """Take all pictures."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for look, options in LOOKS.items():
        async with await browser.new_context(base_url=pages, **options) as context:
            page = await context.new_page()
            for name, where in places.items():
                await page.goto(where)
                await live(page)
                height = await page.evaluate("document.scrollingElement.scrollHeight")
                shown = FloatRect(
                    x=0, y=0, width=options["viewport"]["width"], height=min(height, TALLEST)
                )
                file = FOLDER / f"{name}-{look}.png"
                await page.screenshot(path=file, full_page=True, clip=shown)


async def measure(browser: Browser, pages: str, places: Mapping[str, str]) -> None:
    """Print the best of some first paints of each page, in ms."""
    async with await browser.new_context(base_url=pages) as context:
        page = await context.new_page()
        for name, where in places.items():
            best = min([await painted(page, where) for _ in range(TIMES)])
            print(f"{name:16} first paint after {best:4.0f} ms")


async def painted(page: Page, where: str) -> float:
    """Return after how many ms something of a page was to be seen."""
    await page.goto(where)
    return float(await page.evaluate(FIRST_PAINT))


async def run() -> None:
    """Do both."""
    with demo() as (pages, url):
        places = addresses(url)
        async with launched(chromium()) as browser:
            await measure(browser, pages, places)  # meanwhile the rates get a past
            await take(browser, pages, places)
    for suffix in (".js", ".css"):
        files = [each for each in STATIC.iterdir() if each.suffix == suffix]
        print(f"{sum(each.stat().st_size for each in files):,} bytes of {suffix[1:]}")
    print(f"the pictures are in {FOLDER}")


if __name__ == "__main__":
    sys.exit(asyncio.run(run()))
