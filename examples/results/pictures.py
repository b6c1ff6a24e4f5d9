# SPDX-License-Identifier: Apache-2.0
"""Pictures of a page as somebody sees it, and how soon after the start of loading it is there.

usage: python -m examples.results.pictures PAGE.html FOLDER

Written are NAME-overview.png, NAME-timeline.png, NAME-whole.png, NAME-dark.png and NAME-print.pdf. The browser is the
system's Chromium, driven by Playwright, without a network.
"""

from __future__ import annotations

import statistics
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.chromium import NoBrowser, chromium
from benchmarks.page import opening

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

SIZE = {"width": 1280, "height": 860}


def open_page(browser: Browser, page: Path, scheme: str) -> Page:
    """Open a page in a fresh window, and wait until all of it is drawn."""
    context = browser.new_context(offline=True, viewport=SIZE, color_scheme=scheme)  # type: ignore[arg-type]
    tab = context.new_page()
    tab.on("console", lambda message: print(f"the page says: {message.text}"))
    tab.on("pageerror", lambda error: print(f"the page fails: {error}"))
    tab.goto(page.resolve().as_uri())
    tab.wait_for_selector("html[data-ready=all]", state="attached", timeout=60_000)
    if tab.locator("#videos .area").count():
        tab.wait_for_selector("html[data-timeline=drawn]", state="attached", timeout=60_000)
    return tab


def take(browser: Browser, page: Path, folder: Path) -> list[Path]:
    """Take all pictures; return their files."""
    name = page.stem
    files = {each: folder / f"{name}-{each}.png" for each in ("overview", "timeline", "whole", "dark")}
    tab = open_page(browser, page, "light")
    tab.screenshot(path=files["overview"])
    tab.locator("#videos").scroll_into_view_if_needed()
    tab.locator("#videos").screenshot(path=files["timeline"])
    tab.screenshot(path=files["whole"], full_page=True)
    printed = folder / f"{name}-print.pdf"
    tab.pdf(path=printed, format="A4")
    tab.context.close()
    tab = open_page(browser, page, "dark")
    tab.screenshot(path=files["dark"], full_page=True)
    tab.context.close()
    return [*files.values(), printed]


def main(words: list[str]) -> int:
    """Take the pictures and print sizes and times; say so where there is no browser."""
    if len(words) != 2:
        sys.exit(__doc__)
    page, folder = Path(words[0]), Path(words[1])
    try:
        with chromium() as browser:
            files = take(browser, page, folder)
        times = opening(page, 3)
    except NoBrowser as reason:
        print(f"no pictures ({reason}): open {page}")
        return 0
    for path in (page, *files):
        print(f"{path.stat().st_size / 1e3:9.1f} kB  {path}")
    for name, found in times.items():
        print(f"{statistics.median(found):9.0f} ms  from the start of loading to: {name}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
