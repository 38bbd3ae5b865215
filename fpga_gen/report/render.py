"""Report -> the files of a build directory that are rendered from it."""

from __future__ import annotations

from fpga_gen.artifacts import to_json
from fpga_gen.report.facts import Report
from fpga_gen.report.html import render_html
from fpga_gen.report.markdown import render_markdown
from fpga_gen.report.trace import render_trace


def report_files(report: Report) -> dict[str, bytes]:
    """report.json, which holds every figure, and report.md, report.html and trace.json made of
    it."""
    return {
        "report.json": to_json(report.to_dict()),
        "report.md": render_markdown(report).encode(),
        "report.html": render_html(report).encode(),
        "trace.json": render_trace(report),
    }
