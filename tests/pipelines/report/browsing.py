"""A page in a real browser, watched: what it says on the console, what it fetches, and who cannot use it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page

SCHEMES = ("light", "dark")


@contextlib.contextmanager
def opened(browser: Browser, path: Path, scheme: str = "light", width: int = 1200) -> Iterator[Page]:
    """Opens a page; at the end nothing may have complained, and no request may have left."""
    context = browser.new_context(color_scheme=scheme, viewport={"width": width, "height": 900})  # type: ignore[arg-type]
    page = context.new_page()
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text) if message.type != "log" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("dialog", lambda dialog: complaints.append(dialog.message))
    page.on("request", lambda made: complaints.append(made.url) if made.url[:5] not in ("file:", "data:") else None)
    page.goto(path.as_uri())
    yield page
    context.close()
    assert complaints == []


def serious_findings(browser: Browser, path: Path) -> list[tuple[str, str, int]]:
    """Returns what axe finds serious or critical: scheme, rule and number of places."""
    found = []
    for scheme in SCHEMES:
        context = browser.new_context(color_scheme=scheme, bypass_csp=True)  # type: ignore[arg-type]
        page = context.new_page()
        page.goto(path.as_uri())
        for rule in Axe().run(page).response["violations"]:
            if rule["impact"] in ("serious", "critical"):
                found.append((scheme, rule["id"], len(rule["nodes"])))
        context.close()
    return found


def is_too_wide(page: Page) -> bool:
    """Whether the page scrolls sideways."""
    return bool(page.evaluate("document.documentElement.scrollWidth > window.innerWidth"))
