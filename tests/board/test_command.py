"""`fpga-gen board` and `fpga-gen reference` as commands: what they print, write and refuse."""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fpga_gen.board.server import BoardServer
from fpga_gen.board.simulator import FrameRecord
from fpga_gen.cli import run
from fpga_gen.cli.board import frame_line
from fpga_gen.deploy.bitfile import NOTE
from fpga_gen.errors import BoardError
from fpga_gen.flows.board import start_board
from fpga_gen.images import write_png
from fpga_gen.phantom import draw_phantom
from fpga_gen.quant.interpreter import run_integer
from tests.board.running import Running, run_client, start_process

pytestmark = pytest.mark.timeout(900)


@pytest.fixture
def folder(board: Running, tmp_path: Path) -> Path:
    """A fresh copy of the build directory, without a bitstream."""
    path = tmp_path / "deploy"
    shutil.copytree(board.folder, path)
    for file in path.glob("fpga_gen.*"):
        file.unlink()
    return path


def refusal(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """The one line of a command that ends with exit code 1."""
    capsys.readouterr()
    assert run([str(a) for a in arguments]) == 1
    (line,) = capsys.readouterr().err.strip().splitlines()
    return line


def test_from_start_to_end(folder: Path):
    board = start_process(folder, "--memory", "8")
    try:
        assert (folder / "fpga_gen.bit").is_file()
        assert (folder / "fpga_gen.hwh").is_file()
        assert any("stand-in bitstream" in line for line in board.lines)
        code = """
import sys, numpy as np
from fpga_gen_host import Accelerator
with Accelerator(sys.argv[1]) as accelerator:
    for _ in accelerator.run_many([np.zeros((48, 48, 3), np.uint8)] * 2):
        pass
"""
        done = run_client(board.address, code, folder)
        assert done.returncode == 0, done.stderr[-2000:]
    finally:
        board.process.send_signal(signal.SIGTERM)
        out, err = board.process.communicate(timeout=30)
    assert board.process.returncode == 0, err
    frames = [line for line in out.splitlines() if line.startswith("frame: ")]
    assert len(frames) == 2
    assert err == ""


def test_pause_between_frames_is_said():
    assert frame_line(FrameRecord(100, 10_433, None, 0.14)) == "frame: 10,333 cycles in 0.1 s"
    second = frame_line(FrameRecord(12_000, 22_333, 1_567, 0.06))
    assert second == "frame: 10,333 cycles in 0.1 s, 1,567 after the one before"


def test_stand_ins_are_made_anew(folder: Path, board: Running):
    """Those of another version, or damaged ones, are no obstacle; a real bitstream is kept."""
    stand_in = board.flow.bitstream.read_bytes()
    (folder / "mine.bit").write_bytes(stand_in + b"damaged")
    flow = start_board(folder, 8)
    flow.machine.close()
    assert flow.stand_in
    assert (folder / "mine.bit").read_bytes() == stand_in
    assert (folder / "mine.hwh").read_text() == board.flow.bitstream.with_suffix(".hwh").read_text()


def test_a_real_bitstream_is_taken_as_it_is(folder: Path, board: Running):
    data = bytearray(board.flow.bitstream.read_bytes())
    at = data.index(NOTE)
    data[at : at + 8] = b"\xaa\x99\x55\x66" * 2
    (folder / "design.bit").write_bytes(data)
    (folder / "design.hwh").write_text("from Vivado")
    flow = start_board(folder, 8)
    flow.machine.close()
    assert not flow.stand_in
    assert (folder / "design.bit").read_bytes() == data
    assert (folder / "design.hwh").read_text() == "from Vivado"


def test_a_second_board_at_the_same_address(board: Running):
    with pytest.raises(BoardError, match=r"is another board running there\? --address"):
        BoardServer(board.flow.machine, board.address)


@pytest.mark.parametrize("address", ["0.0.0.0", "192.168.2.99", "localhost", "::1", ""])
def test_only_loopback(folder: Path, capsys, address: str):
    line = refusal(capsys, "board", folder, "--address", address)
    assert "127.0.0" in line
    assert not (folder / "fpga_gen.bit").exists()


def test_no_build_directory(tmp_path: Path, capsys):
    assert "is not a build directory" in refusal(capsys, "board", tmp_path)


def test_damaged_build(folder: Path, capsys):
    (folder / "weights.bin").write_bytes(b"other")
    assert "weights.bin: differs from the manifest" in refusal(capsys, "board", folder)


def test_impossible_memory(folder: Path, capsys):
    assert "--memory 100000" in refusal(capsys, "board", folder, "--memory", 100_000)


@pytest.mark.parametrize("memory", ["0", "-5"])
def test_a_memory_of_nothing_is_wrong_usage(folder: Path, capsys, memory: str):
    assert run(["board", str(folder), "--memory", memory]) == 2
    assert f"'--memory': {memory} is not in the range" in capsys.readouterr().err


def test_two_bitstreams(folder: Path, capsys):
    for name in ("a.bit", "b.bit"):
        (folder / name).write_bytes(b"")
    assert "several bitstreams (a.bit, b.bit)" in refusal(capsys, "board", folder)


def test_bitstream_without_handoff(folder: Path, capsys):
    (folder / "a.bit").write_bytes(b"")
    assert "a.hwh: missing" in refusal(capsys, "board", folder)


@pytest.mark.parametrize("data", [b"", b"\0", b"not a bitstream at all", bytes(100)])
def test_what_is_no_bitstream(folder: Path, capsys, data: bytes):
    (folder / "a.bit").write_bytes(data)
    (folder / "a.hwh").write_text("<xml/>")
    assert "a.bit: not a bitstream" in refusal(capsys, "board", folder)


def test_board_in_use_is_one_line(board: Running, folder: Path, capsys):
    line = refusal(capsys, "board", folder, "--address", board.address)
    assert "is another board running there?" in line


def test_reference_vectors(folder: Path, board: Running, graph, tmp_path: Path, capsys):
    for seed in range(2):
        write_png(tmp_path / "pictures" / f"p{seed}.png", draw_phantom(60, 70, seed)[0])
    capsys.readouterr()
    assert run(["reference", str(folder), "--images", str(tmp_path / "pictures"), "--json"]) == 0
    written = json.loads(capsys.readouterr().out)["written"]
    assert [Path(p).name for p in written] == ["p0.npz", "p1.npz"]
    with np.load(written[1]) as data:
        values = run_integer(graph, data["input"])
        for name in graph.outputs:
            assert np.array_equal(data[f"output:{name}"], values[name])
    code = """
import json, sys
from fpga_gen_host import Accelerator
from fpga_gen_host.reference import compare_with_reference
with Accelerator(sys.argv[1]) as accelerator:
    found = compare_with_reference(accelerator)
    print(json.dumps([(c.name, c.values, c.different) for c in found]))
"""
    shutil.copy(board.flow.bitstream, folder)
    shutil.copy(board.flow.bitstream.with_suffix(".hwh"), folder)
    assert board.client(code, folder) == [["p0", 48 * 48, 0], ["p1", 48 * 48, 0]]
    with np.load(written[0]) as data:
        arrays = dict(data)
    name = next(n for n in arrays if n != "input")
    arrays[name][0, 0, :3] ^= 1
    np.savez(written[0], **arrays)
    assert board.client(code, folder)[0] == ["p0", 48 * 48, 3]


def test_reference_of_nothing(folder: Path, tmp_path: Path, capsys):
    line = refusal(capsys, "reference", folder, "--images", tmp_path / "none")
    assert "no such file or folder" in line
    assert not (folder / "reference").exists()


def test_references_of_one_name(folder: Path, tmp_path: Path, capsys):
    """Neither picture's vector may end up under the other's name."""
    picture = draw_phantom(48, 48, 0)[0]
    for name in ("a.png", "a.k.png", "a.bmp"):
        Image.fromarray(picture).save(tmp_path / name)
    line = refusal(capsys, "reference", folder, "--images", tmp_path)
    assert "a.bmp and a.png would both be written to reference/a.npz: rename one of them" in line
    assert not (folder / "reference" / "a.npz").exists()
