"""Report: definition of utilisation, JSON round trip, Markdown."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from fpga_gen.report import Report, render_markdown, utilisation

REQUIRED = {
    "schema": None,
    "model": {"name", "sha256", "macs", "weights", "input_shape"},
    "board": {"name", "part"},
    "clock_mhz": None,
    "array": {"pixels", "in_channels", "out_channels", "macs_per_cycle"},
    "estimate": {
        "cycles", "fps", "utilisation", "dram_read_bytes", "dram_write_bytes",
        "dram_lower_bound_bytes",
    },
    "simulation": {
        "cycles", "fps", "utilisation", "dram_read_bytes", "dram_write_bytes", "bit_exact",
        "tensors_compared", "wall_seconds",
    },
    "layers": {"name", "op", "mapping", "macs", "cycles", "utilisation", "dram_bytes"},
    "timeline": {"activities", "maps", "kind"},
}  # fmt: skip


def test_utilisation_is_useful_work_over_slots():
    assert utilisation(640, 10, 64) == 1.0
    assert utilisation(320, 10, 64) == 0.5
    assert utilisation(320, 0, 64) == 0.0


def test_report_has_the_promised_fields(simulated: Report):
    data = simulated.to_dict()
    assert data["schema"] == 3
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


def test_json_round_trip(report: Report, simulated: Report, evaluated: Report, compiled: Report):
    for one in (report, simulated, evaluated, compiled):
        text = json.dumps(one.to_dict(), allow_nan=False)
        assert Report.from_dict(json.loads(text)).to_dict() == one.to_dict()


@pytest.mark.parametrize("spoil", [{"schema": 1}, {"estimate": {}}, {"layers": [3]}])
def test_other_content_is_refused(report: Report, spoil: dict):
    with pytest.raises(ValueError, match=r"schema 1|not a report"):
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
