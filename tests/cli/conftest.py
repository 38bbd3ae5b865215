"""A tiny board and tiny networks: the whole command line in seconds."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from fpga_gen import boards
from fpga_gen.cli import run
from fpga_gen.images import write_png
from fpga_gen.phantom import draw_phantom
from tests.cli.networks import write_model

TINY_BOARD = """
name = "tiny"
title = "array for tests"
part = "none"
vivado_board = "none"
status = "not run on hardware"
[resources]
luts = 230400
flip_flops = 460800
dsps = 1728
bram36 = 312
uram = 96
[dram]
bytes = 2147483648
bits = 64
mega_transfers = 2400
peak_bytes_per_second = 19200000000
sustained_bytes_per_second = 15360000000
[ports]
hp = 4
hp_bits = 128
[vivado]
processor = "zynq_ultra_ps_e"
hp_order = [0, 1, 2, 3]
[clock]
default_mhz = 300
max_mhz = 400
[array]
search = false
pixels = 2
in_channels = 4
dsp_columns = 4
sp2_columns = 4
modes = [1, 2]
tile_groups = 16
bank_rows = 2048
ports = 1
weight_words = 512
program_words = 2048
[array.fixed8]
dsp_columns = 8
sp2_columns = 0
"""

# Zynq-7000: banks of block RAM with a depth that is no power of two, a slow and narrow memory.
TINY_ZYNQ7 = (
    TINY_BOARD.replace('"tiny"', '"tiny7"')
    .replace("bank_rows = 2048", "bank_rows = 1536\nbram_banks = 4")
    .replace("zynq_ultra_ps_e", "processing_system7")
    .replace("hp_bits = 128", "hp_bits = 64")
    .replace("uram = 96", "uram = 0")
    .replace("default_mhz = 300", "default_mhz = 100")
    .replace("bytes_per_second = 15360000000", "bytes_per_second = 400000000")
)


@dataclass(frozen=True)
class Result:
    """Exit code and what was printed."""

    code: int
    out: str
    err: str


@pytest.fixture(scope="session")
def board_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the real boards and the tiny one."""
    folder = tmp_path_factory.mktemp("boards")
    for name, text in (("tiny", TINY_BOARD), ("tiny7", TINY_ZYNQ7)):
        (folder / name).mkdir()
        (folder / name / "board.toml").write_text(text)
    for name in boards.board_names():
        shutil.copytree(boards.boards_folder() / name, folder / name)
    return folder


@pytest.fixture(autouse=True)
def tiny_board(board_files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Adds the board `tiny` for one test."""
    monkeypatch.setattr(boards, "_FOLDERS", (board_files,))


@pytest.fixture(scope="session")
def built(board_files: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished build of the tiny network for the tiny board; tests copy it before they change
    anything."""
    folder = tmp_path_factory.mktemp("built")
    model = write_model(folder / "net.onnx")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(boards, "_FOLDERS", (board_files,))
        assert run(["build", str(model), "--board", "tiny", "-o", str(folder / "out"), "-q"]) == 0
    return folder / "out"


@pytest.fixture(scope="session")
def built_fixed8(board_files: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A build of the same network with two outputs, without SP2 columns, calibrated on pictures."""
    folder = tmp_path_factory.mktemp("fixed8")
    model = write_model(folder / "net.onnx", outputs=2)
    for seed in range(3):
        write_png(folder / "pictures" / f"{seed}.png", draw_phantom(20, 20, seed)[0])
    options = ["--scheme", "fixed8", "--calibration", str(folder / "pictures"), "-q"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(boards, "_FOLDERS", (board_files,))
        target = str(folder / "out")
        assert run(["build", str(model), "--board", "tiny", "-o", target, *options]) == 0
    return folder / "out"


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]):
    """Runs one command line in this process."""

    def call(*arguments: object) -> Result:
        capsys.readouterr()
        code = run([str(a) for a in arguments])
        captured = capsys.readouterr()
        return Result(code, captured.out, captured.err)

    return call


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_model(tmp_path / "net.onnx")
