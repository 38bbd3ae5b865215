"""A headless Chromium for tests of pages; skipped with the reason where none is installed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
OPTIONS = ("--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync")
LAPTOP, PHONE = (1280, 800), (390, 844)


@contextmanager
def chromium(*options: str) -> Iterator[Browser]:
    """The browser, closed in the end. options: more of Chromium's own."""
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        pytest.skip(f"no browser: none of {', '.join(NAMES)} is on PATH")
    # Chromium's own sandbox does not work for root, as which containers often run.
    sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=path, args=[*OPTIONS, *options, *sandbox]
        )
        yield browser
        browser.close()
