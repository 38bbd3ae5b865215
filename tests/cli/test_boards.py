"""Every known board takes a small network, and refuses one that it cannot hold with the reason."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fpga_gen.boards import board_names, load_board
from fpga_gen.images import write_png
from fpga_gen.phantom import draw_phantom
from tests.cli.networks import write_model

BOARDS = board_names()


def test_list_shows_every_board(cli):
    result = cli("boards", "--json")
    assert {b["name"] for b in json.loads(result.out)} >= set(BOARDS)
    table = cli("boards").out
    assert all(name in table for name in BOARDS)


@pytest.mark.parametrize("name", BOARDS)
def test_small_network_fits(cli, model: Path, name: str):
    result = cli("estimate", model, "--board", name, "--json")
    assert result.code == 0, result.err
    report = json.loads(result.out)
    board = load_board(name)
    assert report["board"]["part"] == board.part
    assert report["clock_mhz"] == board.clock_mhz
    assert report["array"]["macs_per_cycle"] == board.array.macs_per_cycle
    used, available = report["resources"]["used"], report["resources"]["available"]
    assert all(used[k] <= available[k] for k in used)
    assert report["memory"]["capacity_bytes"] == board.array.words * board.array.word_bits // 8


@pytest.mark.parametrize("name", ["pynq-z2", "ultra96v2"])
def test_network_that_the_memory_cannot_hold_is_refused(cli, tmp_path: Path, name: str):
    path = write_model(tmp_path / "large.onnx", size=176, channels=24)
    result = cli("estimate", path, "--board", name)
    assert result.code == 1
    capacity = load_board(name).array.words * load_board(name).array.word_bits // 8
    assert f"the memory has {capacity}: use a smaller input or a larger board" in result.err
    assert cli("estimate", path, "--board", "zcu104").code == 0


def test_slow_memory_costs_cycles_in_model_and_simulation(
    cli, model: Path, built: Path, tmp_path: Path
):
    target = tmp_path / "out"
    assert cli("build", model, "--board", "tiny7", "-o", target).code == 0
    manifest = json.loads((target / "manifest.json").read_text())
    assert manifest["memory_bytes_per_cycle"] == 4.0
    slow = json.loads((target / "report.json").read_text())["estimate"]["cycles"]
    fast = json.loads((built / "report.json").read_text())["estimate"]["cycles"]
    assert slow > fast
    picture = tmp_path / "picture.png"
    write_png(picture, draw_phantom(24, 30)[0])
    result = cli("simulate", target, "--image", picture, "--trace-tensors", "--json")
    assert result.code == 0, result.err
    simulation = json.loads(result.out)["simulation"]
    assert simulation["bit_exact"] is True
    assert simulation["cycles"] == pytest.approx(slow, rel=0.15)  # a network of three layers


@pytest.mark.parametrize(("board", "processor"), [("zcu102", "zynq_ultra"), ("zc706", "system7")])
def test_build_directory_holds_the_vivado_project(
    cli, model: Path, tmp_path: Path, board: str, processor: str
):
    target = tmp_path / "out"
    result = cli("build", model, "--board", board, "-o", target)
    assert result.code == 0, result.err
    parameters = (target / "vivado" / "parameters.tcl").read_text()
    assert load_board(board).part in parameters
    assert processor in parameters
    assert {p.name for p in (target / "vivado").iterdir()} == {
        "build.tcl", "package_ip.tcl", "block_design.tcl", "implement.tcl", "parameters.tcl",
        "processor_ultrascale.tcl", "processor_zynq7.tcl",
    }  # fmt: skip
    assert '(* ram_style = "block" *)' in (target / "rtl" / "fpga_gen_bank.v").read_text()
