"""report.html in headless Chromium: no errors, no requests, charts of the right size and colour."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from fpga_gen.report import Report
from fpga_gen.report.html import render_html
from tests.browsers import LAPTOP, PHONE, Shown, chromium, new_page
from tests.report.conftest import HOSTILE


@pytest.fixture(scope="module")
def browser():
    with chromium() as started:
        yield started


@pytest.fixture
def show(browser, tmp_path: Path):
    """Opens a report; all charts are drawn on return."""
    contexts = []

    def open_report(report: Report, size: tuple[int, int], scheme: str = "light") -> Shown:
        path = tmp_path / "report.html"
        path.write_text(render_html(report))
        viewport = {"width": size[0], "height": size[1]}
        context = browser.new_context(viewport=viewport, color_scheme=scheme)
        contexts.append(context)
        shown = new_page(context)
        shown.page.goto(path.as_uri())
        wait_for_charts(shown.page)
        return shown

    yield open_report
    for context in contexts:
        context.close()


def wait_for_charts(page) -> None:
    page.wait_for_function("document.documentElement.dataset.charts === '6'", timeout=30_000)


def boxes(page) -> list[dict]:
    return page.evaluate(
        "[...document.querySelectorAll('.chart svg')].map(s => {"
        "const b = s.getBoundingClientRect();"
        "return {x: b.x, width: b.width, height: b.height}})"
    )


@pytest.mark.parametrize("size", [LAPTOP, PHONE], ids=["laptop", "phone"])
def test_no_error_no_request_and_nothing_sticks_out(show, large: Report, size):
    shown = show(large, size)
    assert shown.said == []
    assert [url for url in shown.requested if not url.startswith("file:")] == []
    assert len(shown.requested) == 1
    found = boxes(shown.page)
    assert len(found) == 6
    for box in found:
        assert box["width"] >= 250
        assert box["height"] >= 60
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= size[0]
    assert shown.page.evaluate("document.documentElement.scrollWidth") <= size[0]


def test_every_layer_has_a_bar_and_a_readable_label(show, large: Report):
    page = show(large, LAPTOP).page
    assert page.locator("#utilisation path[aria-roledescription=bar]").count() == len(large.layers)
    labels = page.locator("#utilisation .role-axis-label text")
    texts = [t for t in labels.all_text_contents() if not t.endswith("%")]
    assert len(texts) == len(large.layers)
    tops = page.evaluate(
        "[...document.querySelectorAll('#utilisation .role-axis-label text')]"
        ".filter(t => !t.textContent.endsWith('%')).map(t => t.getBoundingClientRect())"
        ".map(b => [b.top, b.bottom]).sort((a, b) => a[0] - b[0])"
    )
    pitch = [b[0] - a[0] for a, b in pairwise(tops)]
    assert min(pitch) >= 10  # pixels between two names


def test_hostile_names_are_text(show, large: Report):
    page = show(large, LAPTOP).page
    assert page.title() != "broken"
    page.locator("#cycles path[aria-roledescription=bar]").nth(len(large.layers) - 3).hover()
    tip = page.locator("#vg-tooltip-element")
    tip.wait_for(state="visible")
    assert HOSTILE in tip.text_content()
    assert page.title() != "broken"


def test_dark_and_light_are_readable_and_follow_the_system(show, evaluated: Report):
    shown = show(evaluated, LAPTOP, "dark")
    page = shown.page

    def brightness(script: str) -> float:
        colour = page.evaluate(script)
        return sum(float(v) for v in colour[colour.index("(") + 1 : -1].split(",")[:3]) / 765

    back = "getComputedStyle(document.body).backgroundColor"
    label = "getComputedStyle(document.querySelector('#cycles .role-axis-label text')).fill"
    assert brightness(back) < 0.2
    assert brightness(label) > 0.7
    page.evaluate("delete document.documentElement.dataset.charts")
    page.emulate_media(color_scheme="light")
    wait_for_charts(page)
    assert brightness(back) > 0.9
    assert brightness(label) < 0.3
    assert len(boxes(page)) == 6
    assert shown.said == []


def test_tables_stand_without_scripts(browser, compiled: Report, tmp_path: Path):
    path = tmp_path / "report.html"
    path.write_text(render_html(compiled))
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(path.as_uri())
    assert page.locator("#maps tbody tr").count() == len(compiled.timeline.maps)
    assert page.locator(".noscript").is_visible()
    context.close()
