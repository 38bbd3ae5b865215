"""build.tcl as a whole: sources, runs, results, failures, and the generated parameters.tcl."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from fpga_gen.boards import Board, board_names, load_board
from fpga_gen.contract.params import EngineParams
from fpga_gen.deploy.vivado_project import parameters_tcl, project_parameters, vivado_files
from fpga_gen.errors import BoardError
from fpga_gen_host import identity
from tests.deploy.design import option
from tests.deploy.projects import SOURCES, run, small_engine
from tests.deploy.tcl import Recording


def test_sources_are_the_verilog_of_the_build(recording: Recording, engine: EngineParams):
    added = [Path(a[-1]) for a in recording.of("add_files")]
    assert {p.name for p in added} == {n for n in SOURCES if n.endswith(".v")}
    assert all(p.is_file() for p in added)


def test_project_is_for_the_board(recording: Recording, board: Board):
    assert {option(a, "-part") for a in recording.of("create_project")} == {board.part}
    properties = {a[0]: a[1] for a in recording.of("set_property") if a[-1] == "project"}
    assert properties["board_part"] == f"{board.vivado_board}:1.1", "the newest"
    assert properties.get("board_connections", "") == board.vivado.board_connections


def test_results_and_progress(tmp_path: Path):
    done = run(tmp_path, load_board("zcu104"))
    out = tmp_path / "run" / "out"
    written = {p.name for p in out.iterdir()}
    asked = {Path(option(a, "-file") or "").name for a in done.of(
        "report_utilization", "report_timing_summary", "report_power")}  # fmt: skip
    assert written == {"fpga_gen.bit", "fpga_gen.hwh", "facts.txt"}
    assert asked == {"utilisation.rpt", "timing.rpt", "power.rpt"}
    assert (out / "facts.txt").read_text() == "vivado 2023.1\nclock_hz 299997009\n"
    steps = re.findall(r"^fpga-gen: step (\d+)/(\d+): ", done.output, re.MULTILINE)
    assert [int(n) for n, _ in steps] == list(range(1, int(steps[0][1]) + 1))
    assert all(option(a, "-jobs") == "3" for a in done.of("launch_runs"))


@pytest.mark.parametrize(
    ("fail", "message"),
    [
        ("synthesis", "synth_1 ended with 'synth_design ERROR'"),
        ("board", "the board files of xilinx.com:zcu104:part0 are not installed"),
        ("ip", "the IP catalogue of this Vivado has no zynq_ultra_ps_e"),
        ("timing", "timing is not met at 299997009 Hz: setup slack -0.25 ns"),
        ("hold", "hold slack -0.01 ns"),
    ],
)
def test_failures_end_with_a_message_and_without_a_bitstream(
    tmp_path: Path, fail: str, message: str
):
    done = run(tmp_path, load_board("zcu104"), fail)
    assert done.status == 1
    assert re.search(rf"^ERROR: \[fpga-gen 1-2\] .*{re.escape(message)}", done.output, re.MULTILINE)
    assert not list(tmp_path.glob("run/out/*.bit"))


@pytest.mark.parametrize(("fail", "tried"), [("", 1), ("timing_once", 2), ("timing", 3)])
def test_other_strategies_are_tried_while_the_timing_is_missed(
    tmp_path: Path, fail: str, tried: int
):
    done = run(tmp_path, load_board("zcu104"), fail)
    strategies = [a[1] for a in done.of("set_property") if a[0] == "strategy"]
    assert len(strategies) == len(set(strategies)) == tried
    assert len([a for a in done.of("launch_runs") if a[0] == "impl_1"]) == tried
    assert len(done.of("reset_run")) == len(done.of("close_design")) == tried - 1
    told = re.findall(r"^fpga-gen: timing is missed by 0\.25 ns: (\w+)$", done.output, re.MULTILINE)
    assert told == strategies[1:]
    assert bool(list(tmp_path.glob("run/out/*.bit"))) == (fail != "timing")


def test_ip_without_files_for_synthesis(tmp_path: Path):
    board = load_board("zcu104")
    done = run(tmp_path, board, "files", engine=small_engine(board, True))
    assert done.status == 1
    assert "the packaged IP has no files for synthesis" in done.output


def test_one_clock_leaves_no_trace_of_two():
    """The folder differs in one parameter and one file of constraints."""
    board = load_board("zcu104")
    plain, double = (
        vivado_files(board, small_engine(board, two), 300.0, ["a.v"]) for two in (False, True)
    )
    assert set(double) - set(plain) == {"vivado/double_clock.xdc"}
    assert [n for n in plain if plain[n] != double[n]] == ["vivado/parameters.tcl"]
    lines = [set(f["vivado/parameters.tcl"].decode().splitlines()) for f in (plain, double)]
    (added,) = lines[1] - lines[0]
    assert lines[0] < lines[1]
    assert "variable double_clock {1}" in added


def test_slices_too_fast_for_the_device_are_refused():
    board = load_board("ultra96v2")
    vivado_files(board, small_engine(board, True), 300.0, ["a.v"])
    slow = replace(board, max_dsp_mhz=599.0)
    with pytest.raises(BoardError, match=r"slices at 600 MHz.*allows 599.*at most 299\.5"):
        vivado_files(slow, small_engine(board, True), 300.0, ["a.v"])


@pytest.mark.parametrize("name", board_names())
def test_parameters_read_back_as_they_are(name: str):
    board = load_board(name)
    given = project_parameters(board, board.array, board.clock_mhz, ["a.v", "b.v", "leaves.vlt"])
    text = parameters_tcl(given)
    found = dict(re.findall(r"^    variable (\w+) \{([^{}]*)\} ;# .+$", text, re.MULTILINE))
    assert set(found) == set(given)
    assert found["sources"].split() == ["a.v", "b.v"]
    assert float(found["clock_mhz"]) == board.clock_mhz
    assert int(found["control_base"], 0) == identity.control_base(board.vivado.processor)


def test_what_tcl_would_not_read_back_is_refused():
    board = replace(load_board("zcu104"), part="x} ; exec rm {y")
    with pytest.raises(BoardError, match=r"part = .* cannot go into parameters\.tcl"):
        vivado_files(board, board.array, 300.0, ["a.v"])


def test_fractional_clock_is_written_exactly():
    board = load_board("zcu104")
    assert "clock_mhz {266.66}" in parameters_tcl(
        project_parameters(board, board.array, 266.66, ["a.v"])
    )
