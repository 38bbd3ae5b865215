"""Vivado's text reports, of both device families, and files that are none."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from pathlib import Path

import pytest

from fpga_gen.boards import Resources
from fpga_gen.deploy.vivado_reports import (
    block_of_pin,
    parse_power,
    parse_timing,
    parse_utilisation,
    read_reports,
    worst_path,
)
from fpga_gen.errors import ToolError
from fpga_gen.report.implementation import (
    Implementation,
    SlackFacts,
    implementation_rows,
    implementation_summary,
)
from fpga_gen_host.decode import decode

REPORTS = Path(__file__).parent / "reports"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, source in (
        ("utilisation.rpt", "utilisation_ultrascale.rpt"),
        ("timing.rpt", "timing_met.rpt"),
        ("power.rpt", "power.rpt"),
    ):
        shutil.copyfile(REPORTS / source, tmp_path / name)
    (tmp_path / "facts.txt").write_text("vivado 2023.1\nclock_hz 299997009\n")
    return tmp_path


def test_ultrascale_utilisation_counts_half_a_bram_as_one():
    used, available = parse_utilisation(REPORTS / "utilisation_ultrascale.rpt")
    assert used == Resources(171_234, 201_500, 1_700, 89, 96)
    assert available == Resources(230_400, 460_800, 1_728, 312, 96)


def test_seven_series_has_no_uram_and_other_names():
    used, available = parse_utilisation(REPORTS / "utilisation_zynq7.rpt")
    assert used == Resources(38_123, 40_250, 196, 120, 0)
    assert available == Resources(53_200, 106_400, 220, 140, 0)


def test_timing_met_and_violated():
    met = parse_timing(REPORTS / "timing_met.rpt")
    assert met == SlackFacts(0.041, 0.0, 0, 0.010)
    assert met.met
    violated = parse_timing(REPORTS / "timing_violated.rpt")
    assert violated == SlackFacts(-0.250, -105.125, 1_875, 0.010)
    assert not violated.met


def test_the_worst_path_and_its_block():
    assert worst_path(REPORTS / "timing_met.rpt") is None
    found = worst_path(REPORTS / "timing_violated.rpt")  # neither the first nor one of hold
    assert found is not None
    assert found[0].endswith("/engine/exit/steps/at_lane_reg[2]/C")
    assert block_of_pin(found[1]) == "exit path"
    assert block_of_pin("design_i/ps/inst/PS8_i/MAXIGP0ACLK") is None
    assert block_of_pin("d_i/fpga_gen_top_0/inst/shell/read/port0/idle_reg/D") == "read ports"


def test_power():
    assert parse_power(REPORTS / "power.rpt") == (9.871, 9.002, 0.869)


def test_all_reports_together_survive_json(folder: Path):
    facts = read_reports(folder)
    assert facts.tool == "Vivado 2023.1"
    assert facts.clock_mhz == 299.997009
    assert facts.kind == "implemented"
    assert decode(Implementation, json.loads(json.dumps(asdict(facts)))) == facts
    assert ("URAM", "96", "96", "100 %") in implementation_rows(facts)
    assert "timing met, setup slack 0.041 ns" in implementation_summary(facts)


@pytest.mark.parametrize("name", ["utilisation.rpt", "timing.rpt", "power.rpt", "facts.txt"])
@pytest.mark.parametrize("content", ["", "nothing known\n", None])
def test_unknown_reports_are_named(folder: Path, name: str, content: str | None):
    if content is None:
        (folder / name).unlink()
    else:
        (folder / name).write_text(content)
    with pytest.raises(ToolError, match=name):
        read_reports(folder)


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        ("utilisation.rpt", "| DSPs           | 1700 |", "| DSPs           | many |", "DSPs"),
        ("utilisation.rpt", "Block RAM Tile", "Block RAM Brick", "Block RAM Tile"),
        ("timing.rpt", "      0.041 ", "       NA  ", "worst slack"),
        ("power.rpt", "| 9.002 ", "| lots  ", "watts"),
        ("facts.txt", "299997009", "fast", "version and clock"),
    ],
)
def test_odd_figures_are_named(folder: Path, name: str, old: str, new: str, message: str):
    text = (folder / name).read_text()
    assert old in text
    (folder / name).write_text(text.replace(old, new))
    with pytest.raises(ToolError, match=message):
        read_reports(folder)
