"""`fpga-gen synth` on a build directory."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.networks import write_model


def test_what_is_no_build_is_refused(cli, tmp_path: Path):
    result = cli("synth", str(tmp_path))
    assert result.code == 1
    assert "not a build directory" in result.err


@pytest.mark.slow
@pytest.mark.timeout(900)  # minutes of Yosys where nothing is cached
def test_figures_go_into_the_report(cli, tmp_path: Path):
    model = write_model(tmp_path / "net.onnx")
    out = tmp_path / "out"
    assert cli("build", str(model), "--board", "tiny", "-o", str(out)).code == 0
    before = json.loads((out / "report.json").read_text())
    assert before["resources"]["kind"] == "estimated"
    assert before["timing"] is None
    result = cli("synth", str(out), "--json")
    assert result.code == 0, result.err
    report = json.loads((out / "report.json").read_text())
    assert json.loads(result.out)["resources"] == report["resources"]
    assert report["resources"]["kind"] == report["timing"]["kind"] == "synthesised"
    assert report["resources"]["dsp"]["used"] > 16  # 2 pixels x 2 pairs x 4 inputs, and more
    assert report["resources"]["lut"]["available"] == 230400
    assert 4 <= report["timing"]["worst_levels"] <= 9
    assert report["timing"]["from"].startswith("fpga_gen_top")
    timing, nets = report["timing"], json.loads(result.out)["nets"]
    assert (timing["widest"] > timing["fan_out_limit"]) == (timing["wide_nets"] > 0)
    assert [net["loads"] for net in nets[:1]] == [timing["widest"]] * bool(timing["wide_nets"])
    assert timing["widest_net"] in (out / "report.md").read_text()
    assert "Deepest path (synthesised)" in (out / "report.md").read_text()
    assert "Deepest path (synthesised)" in (out / "report.html").read_text()
