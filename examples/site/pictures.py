# SPDX-License-Identifier: Apache-2.0
"""Looks at every page of the documentation in a browser without a network: pictures, and what is wrong with it.

usage: python -m examples.site.pictures SITE FOLDER

Written are NAME-light.png, NAME-dark.png and NAME-narrow.png, as on a telephone. What is said of a page: errors of its
scripts, pictures that do not load, links into the site that lead nowhere, and what is wider than the window.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from benchmarks.chromium import NoBrowser, chromium

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

WINDOWS = {"light": (1280, 900, "light"), "dark": (1280, 900, "dark"), "narrow": (390, 844, "light")}
BROKEN = "() => [...document.images].filter(i => i.complete && !i.naturalWidth).map(i => i.src)"
LINKS = "() => [...document.querySelectorAll('a[href]')].map(a => a.href).filter(h => h.startsWith('file:'))"
WIDER = "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"
HAS = "id => document.getElementById(id) !== null"


def look(tab: Page, page: Path, picture: Path) -> list[str]:
    """Open a page, take its picture and return what is wrong with it."""
    found: list[str] = []

    def failed(error: object) -> None:
        found.append(f"fails: {error}")

    tab.on("pageerror", failed)
    tab.goto(page.as_uri())
    tab.wait_for_load_state("networkidle")
    tab.screenshot(path=picture, full_page=True)
    tab.remove_listener("pageerror", failed)
    found += [f"a picture does not load: {source}" for source in tab.evaluate(BROKEN)]
    if (wider := tab.evaluate(WIDER)) > 0:
        found.append(f"{wider} pixels wider than the window")
    return found


def dead_links(tab: Page, page: Path) -> list[str]:
    """Return the links of the page that is open which lead to no file, or on it to no place."""
    dead = []
    for link in sorted(set(tab.evaluate(LINKS))):
        parts = urlsplit(link)
        target = Path(unquote(parts.path))
        if not target.is_file():
            dead.append(f"leads nowhere: {link}")
        elif target == page and parts.fragment and not tab.evaluate(HAS, unquote(parts.fragment)):
            dead.append(f"no such place: #{parts.fragment}")
    return dead


def take(browser: Browser, site: Path, folder: Path) -> dict[str, list[str]]:
    """Take every page's pictures; return what is wrong, by page."""
    folder.mkdir(parents=True, exist_ok=True)
    pages = sorted(site.rglob("*.html"))
    wrong: dict[str, list[str]] = {}
    for kind, (width, height, scheme) in WINDOWS.items():
        context = browser.new_context(
            offline=True,
            viewport={"width": width, "height": height},
            color_scheme=scheme,  # type: ignore[arg-type]
        )
        tab = context.new_page()
        for page in pages:
            name = page.relative_to(site).with_suffix("").as_posix()
            found = look(tab, page, folder / f"{name.replace('/', '-')}-{kind}.png")
            # The page for wrong addresses has links from the root of a server, which no file has.
            found += dead_links(tab, page) if kind == "light" and name != "404" else []
            if found:
                wrong.setdefault(name, []).extend(f"{kind}: {each}" for each in found)
        context.close()
    return wrong


def main(words: list[str]) -> int:
    """Take the pictures, print what is wrong and return 1 where something is; say so where there is no browser."""
    if len(words) != 2:
        sys.exit(__doc__)
    site, folder = (Path(word).resolve() for word in words)
    try:
        with chromium() as browser:
            wrong = take(browser, site, folder)
    except NoBrowser as reason:
        print(f"no pictures ({reason}): open {site / 'index.html'}")
        return 0
    for name, found in wrong.items():
        for each in found:
            print(f"{name}.html, {each}")
    print(f"{len(list(folder.glob('*.png')))} pictures in {folder}; {len(wrong)} pages with something wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
