"""Report -> the files of a build directory that are rendered from it, and back."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

from fpga_gen.builddir.artifacts import BuildDir, sha256, to_json, update_build
from fpga_gen.errors import BuildDirError
from fpga_gen.report.facts import Report
from fpga_gen.report.html import PICTURES, render_html
from fpga_gen.report.markdown import render_markdown
from fpga_gen.report.trace import render_trace

REPORT = "report.json"


def read_report(build: BuildDir) -> Report:
    """The report of a build directory; BuildDirError if it has none that this version reads."""
    path = build.path / REPORT
    data = build.json(REPORT)
    try:
        return Report.from_dict(data)
    except ValueError as error:
        raise BuildDirError(f"{path}: {error}: build again") from error


def enter_figures(
    build: BuildDir, results: Mapping[str, bytes] = {}, **figures: Any
) -> tuple[BuildDir, Report]:
    """Fields of the report, and files beside it, -> the build directory, in one update.

    Figures that another command entered since `build` was read stay.
    """
    report = None

    def change(fresh: BuildDir) -> dict[str, bytes]:
        nonlocal report
        old = read_report(fresh)
        gone = {PICTURES[name] for name in PICTURES if name in figures}
        named = {name: digest for name, digest in old.pictures.items() if name not in gone}
        named |= {name: sha256(results[name]) for name in PICTURES.values() if name in results}
        report = replace(old, pictures=named, **figures)
        try:
            return report_files(report, _pictures(fresh, results, named))
        except (ArithmeticError, LookupError, TypeError, ValueError) as error:
            # Only figures that `build` did not write get here: every kind is right, but not all.
            raise BuildDirError(
                f"{build.path / REPORT}: its figures contradict each other ({error!r}): build again"
            ) from error

    build = update_build(build, change, results)
    assert report is not None
    return build, report


def _pictures(
    build: BuildDir, results: Mapping[str, bytes], named: Mapping[str, str]
) -> dict[str, bytes]:
    """The pictures of a report; one that the user removed or changed is left out."""
    found = {}
    for name, digest in named.items():
        if name in results:
            found[name] = results[name]
        elif name in build.results:
            with suppress(BuildDirError):
                data = build.read(name)
                if sha256(data) == digest:
                    found[name] = data
    return found


def report_files(report: Report, pictures: Mapping[str, bytes] = {}) -> dict[str, bytes]:
    """report.json, which holds every figure, and report.md, report.html and trace.json made of
    it. pictures: PNG files for the page, see `html.PICTURES`."""
    return {
        REPORT: to_json(report.to_dict()),
        "report.md": render_markdown(report).encode(),
        "report.html": render_html(report, pictures).encode(),
        "trace.json": render_trace(report),
    }
