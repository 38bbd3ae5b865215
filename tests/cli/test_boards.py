"""Every known board takes a small network, and refuses one that it cannot hold with the reason."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from fpga_gen import boards
from fpga_gen.boards import board_names, load_board
from fpga_gen.cli import run
from fpga_gen.frontend.importer import import_untrusted
from fpga_gen.images import write_png
from fpga_gen.phantom import draw_phantom
from fpga_gen.sizing.advice import advice, row_words
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
    resources = {k: v for k, v in report["resources"].items() if k not in ("kind", "source")}
    assert set(resources) == {"lut", "ff", "dsp", "bram36", "uram"}
    assert all(entry["used"] <= entry["available"] for entry in resources.values())


@pytest.mark.parametrize("name", ["pynq-z2", "ultra96v2"])
def test_maps_that_the_memory_cannot_hold_go_to_dram(cli, tmp_path: Path, name: str):
    path = write_model(tmp_path / "large.onnx", size=208, channels=32)
    result = cli("estimate", path, "--board", name, "--json")
    assert result.code == 0, result.err
    report = json.loads(result.out)
    board = load_board(name)
    one_map = 208 * 208 * 32
    assert report["memory"]["peak_bytes"] <= report["memory"]["capacity_bytes"] < 2 * one_map
    result_bytes = 208 * 208 * board.array.in_channels  # one plane
    assert report["estimate"]["dram_write_bytes"] > result_bytes
    assert board.name == report["board"]["name"]


@pytest.fixture(scope="module")
def slow(board_files: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny network on Zynq-7000 with a slow memory and banks of block RAM."""
    folder = tmp_path_factory.mktemp("slow")
    model = write_model(folder / "net.onnx")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(boards, "_FOLDERS", (board_files,))
        assert run(["build", str(model), "--board", "tiny7", "-o", str(folder / "out"), "-q"]) == 0
    return folder / "out"


def test_slow_memory_costs_cycles_in_model_and_simulation(
    cli, slow: Path, built: Path, tmp_path: Path
):
    target = Path(shutil.copytree(slow, tmp_path / "out"))
    manifest = json.loads((target / "manifest.json").read_text())
    assert manifest["memory_bytes_per_cycle"] == 4.0
    cycles = json.loads((target / "report.json").read_text())["estimate"]["cycles"]
    fast = json.loads((built / "report.json").read_text())["estimate"]["cycles"]
    assert cycles > fast
    picture = tmp_path / "picture.png"
    write_png(picture, draw_phantom(24, 30)[0])
    result = cli("simulate", target, "--image", picture, "--trace-tensors", "--json")
    assert result.code == 0, result.err
    simulation = json.loads(result.out)["simulation"]
    assert simulation["bit_exact"] is True
    assert simulation["cycles"] == pytest.approx(cycles, rel=0.15)  # a network of three layers


def test_build_directory_holds_the_vivado_project(slow: Path):
    parameters = (slow / "vivado" / "parameters.tcl").read_text()
    assert "variable processor {processing_system7}" in parameters
    assert "variable hp_bits {64}" in parameters
    assert {p.name for p in (slow / "vivado").iterdir()} == {
        "build.tcl", "package_ip.tcl", "block_design.tcl", "implement.tcl", "parameters.tcl",
        "processor_ultrascale.tcl", "processor_zynq7.tcl",
    }  # fmt: skip
    assert 'ram_style = "block"' in (slow / "rtl" / "fpga_gen_bank.v").read_text()


def test_all_boards_in_one_table(cli, model: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("fpga_gen.api.estimate.board_names", lambda: ["tiny", "tiny7"])
    result = cli("estimate", model, "--board", "all")
    assert result.code == 0
    rows = [line for line in result.out.splitlines() if "tiny" in line]
    assert [row.split()[3] for row in rows] == ["yes", "yes"]
    alone = json.loads(cli("estimate", model, "--board", "tiny7", "--json").out)
    together = json.loads(cli("estimate", model, "--board", "ALL", "--json").out)
    assert [item["board"] for item in together] == ["tiny", "tiny7"]
    assert together[1]["report"] == alone
    assert cli("estimate", model, "--board", "all", "--explain").code == 2


def test_a_network_whose_maps_spill_needs_no_advice(tmp_path: Path):
    path = write_model(tmp_path / "net.onnx", size=224, channels=16)
    assert advice(import_untrusted(path), load_board("pynq-z2"), "mixed") == ""


def test_advice_for_a_board_that_has_no_room_for_rows(tmp_path: Path):
    """The size that is named fits."""
    path = write_model(tmp_path / "net.onnx", size=416, channels=300)
    board = load_board("pynq-z2")
    graph = import_untrusted(path)
    text = advice(graph, board, "mixed")
    assert "zcu104" in text.partition("boards on which it fits: ")[2]
    size = re.search(r"on pynq-z2 an input of about (\d+)x\1 fits", text)
    assert size is not None
    side = int(size[1])
    assert side % 32 == 0
    assert row_words(graph, board.default_array("mixed")) > board.default_array("mixed").words
    smaller = import_untrusted(write_model(tmp_path / "smaller.onnx", size=side, channels=300))
    assert advice(smaller, board, "mixed") == ""
