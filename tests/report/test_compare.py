"""Two reports side by side."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fpga_gen.report import Report
from fpga_gen.report.compare import compare_reports
from fpga_gen.report.html import render_comparison
from tests.report.conftest import HOSTILE


def figures(a: Report, b: Report) -> dict[str, tuple[float | None, float | None]]:
    return {p.title: (p.a, p.b) for p in compare_reports(a, b).figures}


def test_a_report_equals_itself(evaluated: Report):
    found = compare_reports(evaluated, evaluated)
    assert all(pair.a == pair.b for pair in found.figures)
    assert all(pair.change == 0 for pair in found.layers)
    assert len(found.layers) == len(evaluated.layers)


def test_figures_stand_side_by_side(report: Report, evaluated: Report):
    faster = replace(report, estimate=replace(report.estimate, cycles=500, fps=600_000.0))
    found = figures(report, faster)
    assert found["cycles (estimated)"] == (1000, 500)
    assert found["frames per second (estimated)"] == (300_000.0, 600_000.0)
    assert found["latency, ms (estimated)"] == pytest.approx((1 / 300, 1 / 600))
    assert not any("simulated" in title or "mean" in title for title in found)
    found = figures(report, evaluated)
    assert found["cycles (simulated)"] == (None, 1010)
    assert found["mean Dice, integer"] == (None, 0.9079)
    (row,) = [p.cells for p in compare_reports(report, faster).figures if "cycles" in p.title]
    assert row == ("cycles (estimated)", "1,000", "500", "-500", "0.500")


def test_layers_are_joined_by_name_and_the_largest_change_comes_first(report: Report):
    load, conv, store = report.layers
    other = replace(
        report,
        layers=(
            replace(load, cycles=load.cycles + 5),
            replace(conv, cycles=conv.cycles - 100),
            replace(store, name="mask"),
        ),
    )
    found = compare_reports(report, other).layers
    assert [(p.title, p.change) for p in found] == [
        ("conv|1", -100), ("out", -50), ("mask", 50), ("image", 5),
    ]  # fmt: skip
    assert found[1].b is None
    assert found[1].cells == ("out", "store", "50", "-", "-50", "500", "-")


def test_equal_names_are_counted_through(report: Report):
    conv = report.layers[1]
    twice = replace(report, layers=(conv, replace(conv, cycles=1)))
    assert [p.change for p in compare_reports(twice, twice).layers] == [0, 0]


def test_the_page_has_no_scripts_and_escapes_names(report: Report):
    hostile = replace(report, model=replace(report.model, name=HOSTILE))
    page = render_comparison(compare_reports(report, hostile))
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "<b>" not in page
    assert compare_reports(report, hostile)._repr_html_().count("<script") == 0
