"""Report: definition of utilisation, JSON round trip, Markdown."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from fpga_gen.boards import load_board
from fpga_gen.report import (
    ArrayFacts,
    BoardFacts,
    Estimate,
    LayerFacts,
    MemoryFacts,
    ModelFacts,
    Report,
    ResourceFacts,
    Simulation,
    render_markdown,
    utilisation,
)
from fpga_gen.resources import estimate_resources

REQUIRED = {
    "schema": None,
    "model": {"name", "sha256", "macs", "weights", "input_shape"},
    "board": {"name", "part"},
    "clock_mhz": None,
    "array": {"pixels", "in_channels", "out_channels_dsp", "out_channels_sp2", "macs_per_cycle"},
    "estimate": {
        "cycles", "fps", "utilisation", "dram_read_bytes", "dram_write_bytes",
        "dram_lower_bound_bytes",
    },
    "simulation": {
        "cycles", "fps", "utilisation", "dram_read_bytes", "dram_write_bytes", "bit_exact",
        "tensors_compared", "wall_seconds",
    },
    "layers": {"name", "op", "mapping", "macs", "cycles", "utilisation", "dram_bytes"},
}  # fmt: skip


@pytest.fixture
def report() -> Report:
    board = load_board("zcu104")
    return Report(
        model=ModelFacts("net", "ab" * 32, 1_000_000, 5_000, (3, 352, 352)),
        board=BoardFacts(board.name, board.part, board.status),
        clock_mhz=300.0,
        array=ArrayFacts(8, 16, 24, 18, 5376, (1, 2, 3)),
        estimate=Estimate(1000, 300_000.0, 0.186, 4000, 500, 3000),
        memory=MemoryFacts(3 << 20, 1 << 20, 1 << 19, "conv1"),
        resources=ResourceFacts(estimate_resources(board.array), board.resources),
        layers=(LayerFacts("conv|1", "conv", "2x(8 px x 21 ch)", 1_000_000, 900, 0.2, 3500),),
        quantisation={"scheme": "mixed", "damage_db": {"x": float("inf")}},
        tool_version="0.1.0",
    )


@pytest.fixture
def simulated(report: Report) -> Report:
    simulation = Simulation(1010, 297_029.7, 0.184, 4096, 512, True, 7, 1.5, "p.png", {"BUSY": 800})
    return replace(report, simulation=simulation)


def test_utilisation_is_useful_work_over_slots():
    assert utilisation(640, 10, 64) == 1.0
    assert utilisation(320, 10, 64) == 0.5
    assert utilisation(320, 0, 64) == 0.0


def test_report_has_the_promised_fields(simulated: Report):
    data = simulated.to_dict()
    assert data["schema"] == 1
    for key, names in REQUIRED.items():
        assert key in data
        entry = data[key][0] if key == "layers" else data[key]
        if names:
            assert names <= set(entry), f"{key} lacks {names - set(entry)}"


def test_every_group_of_figures_has_its_kind(simulated: Report):
    data = simulated.to_dict()
    assert data["estimate"]["kind"] == data["resources"]["kind"] == "estimated"
    assert data["layers"][0]["kind"] == "estimated"
    assert data["simulation"]["kind"] == "simulated"
    assert data["model"]["kind"] == "counted"


def test_json_round_trip(report: Report, simulated: Report):
    for one in (report, simulated):
        text = json.dumps(one.to_dict(), allow_nan=False)
        assert Report.from_dict(json.loads(text)).to_dict() == one.to_dict()


@pytest.mark.parametrize("spoil", [{"schema": 2}, {"estimate": {}}, {"layers": [3]}])
def test_other_content_is_refused(report: Report, spoil: dict):
    with pytest.raises(ValueError, match=r"schema 2|not a report"):
        Report.from_dict({**report.to_dict(), **spoil})


def test_markdown_says_what_was_not_done(report: Report):
    text = render_markdown(report)
    assert "Not simulated yet" in text
    assert "not run on hardware" in text
    assert "| cycles | 1,000 | - |" in text
    assert r"conv\|1" in text  # a bar in a name must not break the table


def test_markdown_shows_both_kinds_side_by_side(simulated: Report):
    text = render_markdown(simulated)
    assert "| cycles | 1,000 | 1,010 |" in text
    assert "equal to the integer reference, 7 maps" in text
    broken = replace(simulated, simulation=replace(simulated.simulation, bit_exact=False))
    assert "DIFFERENT FROM the integer reference" in render_markdown(broken)


def test_every_table_row_has_as_many_cells_as_its_head(simulated: Report):
    width = None
    for line in render_markdown(simulated).splitlines():
        if not line.startswith("|"):
            width = None
            continue
        cells = line.replace(r"\|", "").count("|")
        width = width or cells
        assert cells == width, line
