"""Board files: every figure that other parts rely on, and readable refusals."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fpga_gen import resources
from fpga_gen.boards import board_names, boards_folder, load_board, read_board
from fpga_gen.builddir.config import BuildConfig
from fpga_gen.contract.column_kinds import DSP_KIND
from fpga_gen.contract.numerics import SCHEMES
from fpga_gen.errors import BoardError, FpgaGenError, ScheduleError
from fpga_gen.resources import MAX_LUT_SHARE, estimate_resources


def config(**options) -> BuildConfig:
    return BuildConfig(model=Path("model.onnx"), **{"board": "zcu104", **options})


def changed(tmp_path: Path, old: str, new: str) -> Path:
    text = (boards_folder() / "zcu104" / "board.toml").read_text()
    assert old in text
    path = tmp_path / "zcu104" / "board.toml"
    path.parent.mkdir()
    path.write_text(text.replace(old, new))
    return path


def test_known_boards():
    assert board_names() == ["kv260", "pynq-z2", "ultra96v2", "zc706", "zcu102", "zcu104"]


def test_zcu104_is_the_datasheet_and_the_default_array_fills_its_uram():
    board = load_board("zcu104")
    have = board.resources
    assert (have.luts, have.dsps, have.bram36, have.uram) == (230_400, 1_728, 312, 96)
    assert board.array.macs_per_cycle == 5376
    assert board.array.words * board.array.word_bits // 8 == 3 << 20
    assert board.fixed8.sp2_columns == 0
    assert board.fixed8.macs_per_cycle == 3072


def test_kv260_is_the_datasheet():
    have = load_board("kv260").resources
    assert (have.luts, have.dsps, have.bram36, have.uram) == (117_120, 1_248, 144, 64)


@pytest.mark.parametrize("name", board_names())
@pytest.mark.parametrize("scheme", list(SCHEMES))
def test_default_arrays_fit(name: str, scheme: str):
    board = load_board(name)
    params = config(board=name, scheme=scheme).resolve_params(board)
    need = estimate_resources(params)
    assert need.luts <= MAX_LUT_SHARE * board.resources.luts
    assert need.dsps <= board.resources.dsps
    assert need.uram <= board.resources.uram
    assert need.bram36 <= board.resources.bram36


def test_every_figure_names_its_source():
    for name in board_names():
        section = ""
        for line in (boards_folder() / name / "board.toml").read_text().splitlines():
            if line.startswith("["):
                section = line
            if section.startswith("[resources]"):
                assert "DS" in section, f"{name}: [resources] without a source"
            elif section.startswith(("[dram]", "[ports]", "[clock]")) and "=" in line:
                assert "#" in line, f"{name}: {line!r} without a source"


def test_unknown_board_lists_the_known():
    with pytest.raises(
        BoardError,
        match=r"unknown board 'zcu111': did you mean zcu104\? known boards: kv260, pynq-z2",
    ):
        load_board("zcu111")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("dsps = 1728", "", "dsps"),
        ('name = "zcu104"', 'name = "zcu105"', "differs"),
        ("mega_transfers = 2133", "mega_transfers = 2400", "19200000000"),
        ("hp_bits = 128", "hp_bits = 32", "hp_bits must be one of 64, 128"),
        ("= 15360000000", "= 17064000001", "sustained_bytes_per_second must lie"),
        ('"zynq_ultra_ps_e"', '"microblaze"', "processor must be one of zynq_ultra_ps_e"),
        ("[1, 3, 0, 2]", "[1, 3, 0]", "hp_order must name each of the 4 ports once"),
        ("dsp_columns = 24\nsp2_columns = 18", "dsp_columns = 23\nsp2_columns = 18", "multiple"),
        ("[resources]", "[resources", "cannot be read"),
        ("[clock]", "[clocks]", "'clock' is missing"),
    ],
)
def test_bad_board_file_is_refused(tmp_path: Path, old: str, new: str, message: str):
    with pytest.raises(BoardError, match=message):
        read_board(changed(tmp_path, old, new))


def test_array_that_needs_too_many_luts_is_refused_with_the_reason():
    with pytest.raises(ScheduleError, match=r"does not fit zcu104.*LUTs .*fewer SP2 columns"):
        config(array=(8, 16, 24, 24)).resolve_params(load_board("zcu104"))


def test_array_that_needs_too_many_dsps_is_refused():
    with pytest.raises(ScheduleError, match="DSPs"):
        config(array=(8, 16, 36, 0)).resolve_params(load_board("zcu104"))


def test_array_that_breaks_a_rule_is_refused():
    with pytest.raises(ScheduleError, match="dsp_columns must be a multiple of 12"):
        config(array=(8, 16, 20, 12)).resolve_params(load_board("zcu104"))


def test_array_is_honoured():
    params = config(array=(8, 16, 12, 6)).resolve_params(load_board("zcu104"))
    assert (params.dsp_columns, params.sp2_columns, params.macs_per_cycle) == (12, 6, 2304)


def test_kinds_left_out_have_no_columns():
    params = config(array=(8, 16, 12)).resolve_params(load_board("zcu104"))
    assert (params.figures, params.figures_text) == ((8, 16, 12, 0), "8,16,12,0")
    for wrong in ((8, 16), (8, 16, 12, 6, 6)):
        with pytest.raises(BoardError, match="columns of 1 to 2 kinds"):
            config(array=wrong)


def test_fixed8_refuses_sp2_columns():
    with pytest.raises(BoardError, match="fixed8 has no SP2 columns"):
        config(scheme="fixed8", array=(8, 16, 24, 18)).resolve_params(load_board("zcu104"))


def test_schemes_choose_the_columns_and_the_code():
    board = load_board("zcu104")
    sp2 = config(scheme="sp2").resolve_params(board)
    assert (sp2.dsp_columns, sp2.sp2_columns) == (0, board.array.sp2_columns)
    msq4 = config(scheme="msq4", array=(8, 16, 24, 12)).resolve_params(board)
    assert (msq4.dsp_columns, msq4.sp2_columns, msq4.sp2_code) == (24, 12, "sp2-4")
    with pytest.raises(BoardError, match="sp2 has no DSP columns, --array asks for 24"):
        config(scheme="sp2", array=(8, 16, 24, 18)).resolve_params(board)


def test_double_clock_takes_half_the_slices():
    board = load_board("zcu104")
    plain = config(array=(8, 16, 24, 12)).resolve_params(board)
    double = config(array=(8, 16, 48, 12), double_clock=True).resolve_params(board)
    assert (double.double_clock, plain.double_clock) == (True, False)
    assert (DSP_KIND.block(double), double.slot_minimum, plain.slot_minimum) == (4, 10, 8)
    need = [estimate_resources(p) for p in (plain, double)]
    requantise = double.columns - plain.columns
    assert need[1].dsps - requantise == pytest.approx(need[0].dsps, abs=1)
    with pytest.raises(ScheduleError, match="does not fit zcu104"):
        config(array=(8, 16, 48, 12)).resolve_params(board)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"array": (8, 16, 36, 12)}, "dsp_columns must be a multiple of 24"),
        ({"array": (8, 16, 0, 12)}, "double_clock needs DSP columns"),
        ({"board": "zc706"}, "a family with DSP48E2"),
        ({"scheme": "sp2"}, "sp2 has no DSP columns to run at twice the clock"),
    ],
)
def test_what_cannot_run_at_twice_the_clock_is_refused(options: dict, message: str):
    def resolve() -> None:
        chosen = config(**{**options, "double_clock": True})
        chosen.resolve_params(load_board(chosen.board))

    with pytest.raises(FpgaGenError, match=message):
        resolve()


@pytest.mark.parametrize("clock", [0.0, -5.0, 1000.0, float("nan")])
def test_clock_outside_the_board_is_refused(clock: float):
    with pytest.raises(BoardError, match="--clock-mhz"):
        config(clock_mhz=clock).resolve_clock(load_board("zcu104"))


def test_clock_default_and_choice():
    board = load_board("zcu104")
    assert config().resolve_clock(board) == 300.0
    assert config(clock_mhz=250).resolve_clock(board) == 250.0


@pytest.mark.parametrize(
    ("name", "most"), [("zcu104", 387.5), ("zcu102", 387.5), ("kv260", 322.0), ("ultra96v2", 300.0)]
)
def test_clock_with_slices_at_twice_of_it(name: str, most: float):
    """DS925; Ultra96: 645 MHz would allow more than the board's 300."""
    board = load_board(name)
    twice = config(board=name, double_clock=True)
    assert twice.resolve_clock(board) == board.clock_mhz
    assert config(board=name, double_clock=True, clock_mhz=most).resolve_clock(board) == most
    with pytest.raises(BoardError, match="--clock-mhz"):
        config(board=name, double_clock=True, clock_mhz=most + 0.1).resolve_clock(board)


@pytest.mark.parametrize("name", board_names())
def test_slices_of_ultrascale_alone_run_at_twice_the_clock(name: str):
    board = load_board(name)
    assert (board.max_dsp_mhz is not None) == (board.array.family == "xcup")
    if board.max_dsp_mhz is None:
        with pytest.raises(BoardError, match=f"{name}: .* leave out --double-clock"):
            board.check_clock(board.clock_mhz, double_clock=True)


def test_memory_and_ports_bound_the_stream():
    zcu104, pynq = load_board("zcu104"), load_board("pynq-z2")
    assert zcu104.read_bytes_per_cycle(4, 300.0) == pytest.approx(51.2)
    assert zcu104.read_bytes_per_cycle(2, 300.0) == 32.0  # two ports of 16 bytes
    assert pynq.read_bytes_per_cycle(2, 100.0) == 16.0  # two ports of 8 bytes
    assert pynq.read_bytes_per_cycle(4, 100.0) == pytest.approx(16.8)  # DDR3


@pytest.mark.parametrize("name", board_names())
def test_devices_without_uram_use_block_ram(name: str):
    board = load_board(name)
    if board.resources.uram == 0:
        assert board.array.family == "xc7" or board.array.bram_banks == board.array.banks


def test_an_automatic_clock_is_what_the_mapped_engines_of_the_family_reach(monkeypatch, tmp_path):
    def entry(family: str, double_clock: bool, mhz: float) -> dict:
        params = {"family": family, "double_clock": double_clock}
        return {"params": params, "timing": {"reachable_mhz": mhz}}

    table = tmp_path / "costs.json"
    found = [entry("xcup", False, 287.9), entry("xcup", False, 301.0), entry("xcup", True, 260.0)]
    table.write_text(json.dumps({"references": found}))
    monkeypatch.setattr(resources, "COSTS", table)
    zcu104, pynq = load_board("zcu104"), load_board("pynq-z2")
    assert config(clock_mhz="auto").resolve_clock(zcu104) == 287.0
    assert config(clock_mhz="auto", double_clock=True).resolve_clock(zcu104) == 260.0
    with pytest.raises(BoardError, match="no engine of the family of pynq-z2"):
        config(board="pynq-z2", clock_mhz="auto").resolve_clock(pynq)
    table.write_text(json.dumps({"references": [entry("xcup", False, 900.0)]}))
    assert config(clock_mhz="auto").resolve_clock(zcu104) == zcu104.max_clock_mhz
