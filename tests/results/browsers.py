"""A real browser that opens pages from the disk, without a window; tests skip by name where there is none."""

import contextlib
import shutil
import time
from typing import Any, NamedTuple

import pytest

_NAMES = ("chromium", "chromium-browser", "google-chrome")
_FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)
_LONGEST_WAIT = 20.0  # seconds


class Opened(NamedTuple):
    """A page in the browser; what it logged, and what it asked for."""

    page: Any
    said: list[str]
    asked_for: list[str]

    def until(self, expression: str) -> Any:
        """Waits for an expression to be true; the page's own policy forbids the driver's ways to wait."""
        deadline = time.monotonic() + _LONGEST_WAIT
        while not (found := self.page.evaluate(expression)):
            assert time.monotonic() < deadline, f"{expression}: {self.said} {self.page.inner_text('body')[:2000]}"
            time.sleep(0.02)
        return found

    def uids(self) -> list[str]:
        """Of the rows that are drawn, in their order."""
        return self.page.evaluate("[...document.querySelectorAll('.row')].map(row => row.dataset.uid)")


@contextlib.contextmanager
def chromium():
    driver = pytest.importorskip("playwright.sync_api")
    program = next(filter(None, map(shutil.which, _NAMES)), None)
    if program is None:
        pytest.skip("chromium is not installed")
    with driver.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=program, args=list(_FLAGS))
        try:
            yield browser
        finally:
            browser.close()


@contextlib.contextmanager
def opened(browser, file, address="", *, width=1440, height=1400, scheme="light"):
    """The page in a file, when it shows its table."""
    context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
    context.set_default_timeout(1000 * _LONGEST_WAIT)
    try:
        page = context.new_page()
        found = Opened(page, [], [])
        page.on("console", lambda message: found.said.append(message.text))
        page.on("pageerror", lambda error: found.said.append(str(error)))
        page.on("request", lambda request: found.asked_for.append(request.url))
        page.goto(file.as_uri() + address)
        found.until("document.getElementById('count')?.textContent !== ''")
        if "uid=" in address:
            found.until("document.querySelector('#video h2') !== null")
        yield found
    finally:
        context.close()
