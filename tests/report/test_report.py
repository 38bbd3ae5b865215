"""Report: definition of utilisation, JSON round trip, Markdown."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from fpga_gen.boards import load_board
from fpga_gen.report import ModelFacts, Report, render_markdown, utilisation
from fpga_gen.report.collect import build_report
from fpga_gen.schedule.compile import compile_schedule
from tests.schedule.graphs import example
from tests.schedule.starved import EIGHT

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


def test_segments_of_a_network_that_spills():
    """Their bytes are those of the frame but the program's, and no less than their bound."""
    params = EIGHT
    made = example("block", params)
    schedule = compile_schedule(made.graph, params)
    cost = schedule.estimate
    moved = sum(s.loaded_bytes + s.stored_bytes + s.weight_bytes for s in schedule.segments)
    stored = sum(s.stored_bytes for s in schedule.segments)
    assert stored == cost.write_bytes
    padding = 16 * params.ports * sum(i.op.name == "FETCH" for i in schedule.instructions)
    assert 0 <= cost.read_bytes + cost.write_bytes - len(schedule.program) - moved <= padding
    names = [name for segment in schedule.segments for name in segment.layers]
    assert sorted(names) == sorted(node.name for node in made.graph.nodes)
    assert all(s.loaded_bytes + s.weight_bytes + s.stored_bytes >= s.bound_bytes
               for s in schedule.segments)  # fmt: skip
    facts = build_report(
        ModelFacts("net", "0" * 64, 1, 1, (3, 8, 8)), load_board("zcu104"), params, 100.0,
        made.graph, schedule,
    )  # fmt: skip
    text = render_markdown(facts)
    assert "## Maps in DRAM (counted)" in text
    assert facts.segments[0].title in text
