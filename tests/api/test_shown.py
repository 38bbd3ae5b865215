"""What a shell and a notebook show of results: a line, or a table."""

from __future__ import annotations

from pathlib import Path

import fpga_gen
from tests.cli.networks import write_model


def test_a_shell_shows_one_line(built: Path, tmp_path: Path):
    build = fpga_gen.Build(built)
    comparison = fpga_gen.compare(build, build)
    check = fpga_gen.check(write_model(tmp_path / "net.onnx"), board="tiny")
    for shown in (build, build.report, build.estimate, comparison, check):
        assert "\n" not in repr(shown)
        assert len(repr(shown)) < 300
    assert repr(build.report).startswith("<report: net on tiny, ")
    assert repr(check) == f"<check for tiny: about {check.cycles:,} cycles a frame>"
    assert repr(comparison).count("net of 3 x 12 x 12 on tiny") == 2


def test_a_notebook_shows_a_table(built: Path):
    build = fpga_gen.Build(built)
    html = build.estimate._repr_html_()
    assert "<th>estimate</th>" in html
    assert f"<td>{build.estimate.cycles:,}</td>" in html
    assert f"<td>{build.estimate.latency_ms:,.2f}</td>" in html
    for shown in (build, build.report, fpga_gen.compare(build, build)):
        assert "<table>" in shown._repr_html_()
