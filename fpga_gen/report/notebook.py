"""The report in Jupyter: its first screen as HTML, its charts as SVG.

A notebook may be read where no script runs, and its styles are not ours: figures stand in plain
tables, charts are drawn here, on white.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from html import escape

import vl_convert

from fpga_gen.report.breakdown import bottleneck
from fpga_gen.report.chart_parts import VEGA_LITE, Chart, Spec
from fpga_gen.report.charts import all_charts
from fpga_gen.report.compare import FIGURE_HEAD, LAYER_HEAD, BuildComparison
from fpga_gen.report.facts import Performance, Report
from fpga_gen.report.html import cards
from fpga_gen.report.markdown import NOT_ON_HARDWARE, performance_rows, resource_rows

WIDTH = 640  # pixels of a chart


@dataclass(frozen=True, eq=False)
class Plot:
    """A chart as a picture: Jupyter shows it, `svg` is its text."""

    chart: Chart

    @property
    def svg(self) -> str:
        """The picture, self-contained."""
        return vl_convert.vegalite_to_svg(_still(self.chart.spec), vl_version=VEGA_LITE)

    def __repr__(self) -> str:
        return f"<{self.chart.title}: {self.chart.spec['description']}>"

    def _repr_svg_(self) -> str:
        return self.svg


def plots(report: Report) -> dict[str, Plot]:
    """All charts by name, in the order of report.html."""
    return {name: Plot(chart) for name, chart in all_charts(report).items()}


def report_section(report: Report) -> str:
    """Headline, bottleneck, figures of a frame, resources and roofline as HTML without scripts."""
    title = f"{report.model.name} on {report.board.name}"
    heads = "".join(
        f"<td><small>{escape(c.title)}</small><br><b>{escape(c.value)}</b><br>"
        f"<small>{escape(c.note)}</small></td>"
        for c in cards(report)
    )
    return (
        f"<h3>{escape(title)}</h3><table><tr>{heads}</tr></table><p>{escape(bottleneck(report))}</p>"
        + html_table(("one frame", "estimated", "simulated"), performance_rows(report))
        + html_table(
            (f"primitive ({report.resources.origin})", "used", "available", "share"),
            resource_rows(report),
        )
        + plots(report)["roofline"].svg
        + f"<p><small>{escape(NOT_ON_HARDWARE)}</small></p>"
    )


def performance_section(cost: Performance) -> str:
    """Figures of a frame as HTML without scripts."""
    rows = (
        ("cycles", f"{cost.cycles:,}"),
        ("frames per second", f"{cost.fps:,.1f}"),
        ("latency of a frame, ms", f"{cost.latency_ms:,.2f}"),
        ("MAC utilisation", f"{100 * cost.utilisation:.1f} %"),
        ("DRAM bytes read", f"{cost.dram_read_bytes:,}"),
        ("DRAM bytes written", f"{cost.dram_write_bytes:,}"),
    )
    return html_table(("one frame", type(cost).__name__.lower()), rows)


def comparison_section(comparison: BuildComparison) -> str:
    """Figures of two builds and the ten layers that differ most, as HTML without scripts."""
    a, b = comparison.titles
    layers = [pair.cells for pair in comparison.layers[:10]]
    return (
        f"<p>A: {escape(a)}<br>B: {escape(b)}</p>"
        + html_table(FIGURE_HEAD, [pair.cells for pair in comparison.figures])
        + html_table(LAYER_HEAD, layers)
    )


def html_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A plain table."""
    top = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    return f"<table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"


def _still(spec: Spec) -> Spec:
    """The chart without a page around it: a width in pixels, white paper."""
    still = deepcopy(spec)
    still["width"] = WIDTH
    still["background"] = "white"
    return still
