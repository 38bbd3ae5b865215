"""A headless Chromium for tests of pages; skipped with the reason where none is installed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

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


@dataclass
class Shown:
    """A page as a reader sees it, and what the browser had to say about it."""

    page: Page
    said: list[str] = field(default_factory=list)
    requested: list[str] = field(default_factory=list)


def new_page(context: BrowserContext) -> Shown:
    """An empty page, listened to."""
    shown = Shown(context.new_page())
    shown.page.on("console", lambda message: shown.said.append(message.text))
    shown.page.on("pageerror", lambda error: shown.said.append(str(error)))
    shown.page.on("request", lambda request: shown.requested.append(request.url))
    return shown
