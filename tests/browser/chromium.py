"""Debian's Chromium, and pages in it in which nothing may go wrong."""

import os
import re
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from playwright.async_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Dialog,
    Page,
    Request,
    Response,
    ViewportSize,
    async_playwright,
)

MISSING = "chromium is not on PATH: install Debian's package of that name"

OPTIONS = ["--disable-gpu", "--disable-quic", "--disable-sync"]
"""Beside those that Playwright gives: a user's folder of its own, and nothing in the background."""

TELLS_VIOLATIONS = """
addEventListener("securitypolicyviolation", (event) =>
  console.error(`against the policy: ${event.violatedDirective} ${event.blockedURI}`));
"""

DESKTOP: ViewportSize = {"width": 1280, "height": 800}
NARROW: ViewportSize = {"width": 375, "height": 800}


def chromium() -> str:
    """Return where it is; without it, skip the test, or fail it where `.ci/run` says so."""
    found = shutil.which("chromium")
    if found is None and os.environ.get("NEEDS_CHROMIUM"):
        pytest.fail(MISSING)
    return found or pytest.skip(MISSING)


@asynccontextmanager
async def launched(executable: str) -> AsyncIterator[Browser]:
    """Run the browser."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=executable, args=OPTIONS)
        try:
            yield browser
        finally:
            await browser.close()


class Visits:
    """The pages that one test opens, each as another person; all that goes wrong there is noted."""

    def __init__(self, browser: Browser, url: str) -> None:
        self._browser = browser
        self._url = url
        self._contexts: list[BrowserContext] = []
        self._expected: list[str] = []
        self._faults: list[str] = []

    async def __call__(self, address: str = "", **options: Any) -> Page:
        """Open a page; `options` are those of a Playwright context."""
        wanted: dict[str, Any] = {"base_url": self._url, "viewport": DESKTOP, **options}
        context = await self._browser.new_context(**wanted)
        self._contexts.append(context)
        context.set_default_timeout(10_000)
        await context.add_init_script(TELLS_VIOLATIONS)
        page = await context.new_page()
        page.on("console", self._on_console)
        page.on("pageerror", lambda error: self._faults.append(f"error: {error}"))
        page.on("requestfailed", self._on_failed)
        page.on("response", self._on_response)
        page.on("dialog", self._on_dialog)
        await page.goto(address)
        return page

    def expects(self, *patterns: str) -> None:
        """Let some faults be: those in which a pattern is found."""
        self._expected += patterns

    @property
    def faults(self) -> list[str]:
        """What went wrong and was not expected."""
        return [
            each
            for each in self._faults
            if not any(re.search(pattern, each) for pattern in self._expected)
        ]

    async def close(self) -> None:
        """Close all pages."""
        for each in self._contexts:
            await each.close()

    def _on_console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self._faults.append(f"console: {message.text}")

    def _on_failed(self, request: Request) -> None:
        # A page that is left ends what is under way, and one that is hidden its stream.
        if request.failure != "net::ERR_ABORTED":
            self._faults.append(f"request: {request.url} {request.failure}")

    def _on_response(self, response: Response) -> None:
        if response.status >= 400:
            self._faults.append(f"answer: {response.url} {response.status}")

    async def _on_dialog(self, dialog: Dialog) -> None:
        self._faults.append(f"dialog: {dialog.message}")
        await dialog.dismiss()
