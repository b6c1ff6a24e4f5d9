# SPDX-License-Identifier: Apache-2.0
"""Chromium without a window, for pages that are measured and tested: the system's, driven by Playwright."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Browser

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


class NoBrowser(Exception):
    """There is no browser to drive, or nothing to drive it with; says what to install."""


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """Start Chromium: what ``ASL_FAST_CHROMIUM`` names, or the first of ``NAMES`` on the path.

    Raises:
        NoBrowser: It or Playwright is not installed, or it does not start.
    """
    try:
        from playwright.sync_api import Error, sync_playwright
    except ImportError:
        raise NoBrowser("pages are opened by Playwright: pip install playwright") from None
    path = os.environ.get("ASL_FAST_CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        raise NoBrowser("no Chromium on the path: apt-get install chromium, or ASL_FAST_CHROMIUM=FILE")
    # Chromium's own sandbox does not work for root, and shared memory is small in containers.
    options = ["--disable-dev-shm-usage", *(["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else [])]
    with sync_playwright() as playwright:
        try:
            browser = playwright.chromium.launch(executable_path=path, args=options)
        except Error as error:
            # Some systems have a script of that name which says how to get the browser.
            reason = next((line for line in error.message.splitlines() if line.strip()), "")
            raise NoBrowser(f"{path} does not start: {reason}") from None
        try:
            yield browser
        finally:
            browser.close()
