"""Report -> the files of a build directory that are rendered from it, and back."""

from __future__ import annotations

from fpga_gen.builddir.artifacts import BuildDir, to_json
from fpga_gen.errors import BuildDirError
from fpga_gen.report.facts import Report
from fpga_gen.report.html import render_html
from fpga_gen.report.markdown import render_markdown
from fpga_gen.report.trace import render_trace

REPORT = "report.json"


def read_report(build: BuildDir) -> Report:
    """The report of a build directory; BuildDirError if it has none that this version reads."""
    path = build.path / REPORT
    if REPORT not in build.files:
        raise BuildDirError(f"{path}: missing: build again")
    try:
        return Report.from_dict(build.json(REPORT))
    except ValueError as error:
        raise BuildDirError(f"{path}: {error}: build again") from error


def report_files(report: Report) -> dict[str, bytes]:
    """report.json, which holds every figure, and report.md, report.html and trace.json made of
    it."""
    return {
        REPORT: to_json(report.to_dict()),
        "report.md": render_markdown(report).encode(),
        "report.html": render_html(report).encode(),
        "trace.json": render_trace(report),
    }
