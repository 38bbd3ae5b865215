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
    timing = report["timing"]
    assert report["resources"]["kind"] == timing["depth_kind"] == "synthesised"
    assert timing["kind"] == "estimated"
    assert timing["clock_mhz"] == report["clock_mhz"]
    assert len(timing["paths"]) == 10
    assert timing["paths"][0]["allowed_ps_per_hop"] == timing["allowed_ps_per_hop"] > 0
    clocks = timing["mhz_at_ps_per_hop"]
    assert clocks["300"] > clocks["400"] > clocks["500"] > 100
    assert {"control", "exit path"} <= {c["block"] for c in timing["classes"]}
    for text in ((out / name).read_text() for name in ("report.md", "report.html")):
        assert "assumed, not proven by place-and-route; estimate: " in text
        assert f"allows {timing['allowed_ps_per_hop']:.0f} ps for each net hop" in text
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
    slow = tmp_path / "slow.toml"
    slow.write_text("[xcup]\nlut = 400\n")
    result = cli("synth", str(out), "--delays", str(slow), "--json")
    assert result.code == 0, result.err
    again = json.loads((out / "report.json").read_text())["timing"]
    assert again["allowed_ps_per_hop"] < timing["allowed_ps_per_hop"]
    assert again["delays"] == "file slow.toml"
    slow.write_text("[xcup]\nlutt = 400\n")
    result = cli("synth", str(out), "--delays", str(slow))
    assert result.code == 1
    assert "lutt is unknown" in result.err
