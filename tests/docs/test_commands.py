"""The command reference: each command has an example, and each example runs.

They run on a tiny network and a tiny board, with a stand-in for Vivado; the block is otherwise the
page's own, line by line.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import click
import pytest

from fpga_gen.cli.group import cli as group
from fpga_gen.evaluate import frames
from tests.board.running import free_address
from tests.cli.conftest import board_files, cli, tiny_board
from tests.cli.networks import write_model
from tests.evaluate.test_frames import run_on_tiny
from tests.interrupts import interruptible

__all__ = ["board_files", "cli", "tiny_board"]

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "commands.md").read_text()
BLOCK = re.search(r"## An example of each.*?```sh\n(.*?)```", TEXT, re.S)
LINES = [] if BLOCK is None else [line for line in BLOCK[1].splitlines() if line]
EXAMPLES = [shlex.split(line)[1:] for line in LINES if line.startswith("fpga-gen ")]
SECONDS = 120
# The command in a process of its own that knows the tiny board.
SERVER = """
import sys
from pathlib import Path
from fpga_gen import boards
boards._FOLDERS = (Path(sys.argv.pop(1)),)
from fpga_gen.cli import main
main()
"""


def leaf_commands(command: click.Command = group, path: tuple[str, ...] = ()) -> set[str]:
    """Every command, by its words."""
    if isinstance(command, click.Group):
        found = [leaf_commands(c, (*path, n)) for n, c in command.commands.items()]
        return set().union(*found)
    return {" ".join(path)}


def test_every_command_stands_in_the_table_and_has_an_example():
    table = TEXT[: TEXT.index("## An example of each")]
    for name in leaf_commands():
        assert f"`fpga-gen {name}" in table, f"{name} is not in the table"
        words = name.split()
        assert any(e[: len(words)] == words for e in EXAMPLES), f"{name} has no example"


@pytest.mark.parametrize("example", EXAMPLES, ids=" ".join)
def test_the_options_of_an_example_exist(example: list[str]):
    command: click.Command = group
    words = list(example)
    while isinstance(command, click.Group):
        command = command.commands[words.pop(0)]
    command.make_context(example[0], words)  # UsageError for what is no option


def run_server(words: list[str], folder: Path, boards: Path, address: str, port: int) -> str:
    """What it prints until it is up; asked for its page; ended by Ctrl-C."""
    process = subprocess.Popen(
        [sys.executable, "-u", "-c", SERVER, str(boards), *words],
        cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        preexec_fn=interruptible,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (ROOT, ROOT / "host")))},
    )  # fmt: skip
    assert process.stdout is not None
    said = ""
    try:
        while "Ctrl-C" not in said:
            line = process.stdout.readline()
            assert line, said
            said += line
        if words[0] == "serve":
            for _ in range(SECONDS):
                try:
                    with urllib.request.urlopen(f"http://{address}:{port}/facts") as answer:
                        assert answer.status == 200
                    break
                except OSError:
                    process.poll()
                    assert process.returncode is None, said
                    signal.sigtimedwait([], 1)
            else:
                raise AssertionError("no page")
        process.send_signal(signal.SIGINT)
        said += process.communicate(timeout=SECONDS)[0]
        assert process.returncode == 0, said
        return said
    finally:
        process.kill()
        process.wait()


@pytest.mark.slow
@pytest.mark.timeout(1800)  # Yosys, Verilator, two workers
def test_every_example_runs(
    cli, board_files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    vivado = tmp_path / "bin" / "vivado"
    vivado.parent.mkdir()
    fake = ROOT / "tests" / "deploy"
    vivado.write_text(f"#!{sys.executable}\n" + (fake / "fake_vivado.py").read_text())
    vivado.chmod(0o755)
    monkeypatch.setenv("FAKE_REPORTS", str(fake / "reports"))
    monkeypatch.setenv("PATH", f"{vivado.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(frames, "run_task", run_on_tiny)
    (tmp_path / "boards.txt").write_text(str(board_files))
    write_model(tmp_path / "source.onnx")
    for line in LINES:
        program, *words = shlex.split(line)
        if program == "cp":
            shutil.copy("source.onnx", words[1])
        elif program == "python":
            done = subprocess.run(
                [sys.executable, *words, "--size", "48"],
                env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (ROOT, ROOT / "host")))},
            )  # fmt: skip
            assert done.returncode == 0
        elif words[0] in ("serve", "board"):
            address, port = free_address(), 8700 + os.getpid() % 1000
            more = ["--host", address, "--port", str(port)] if words[0] == "serve" else []
            more = more or ["--address", address]
            assert address in run_server([*words, *more], tmp_path, board_files, address, port)
        else:
            if words[0] != "explore":  # its workers know the boards of the repository alone
                words = [w.replace("KV260", "Tiny").replace("kv260", "tiny") for w in words]
            result = cli(*words)
            assert result.code == 0, f"{line}: {result.err}"
            assert result.out, line
    for name in ("mask.png", "comparison.html", "resnet18.onnx", "out/evaluation.md"):
        assert (tmp_path / name).stat().st_size > 100
    assert (tmp_path / "out" / "fpga_gen.bit").is_file()
    assert list((tmp_path / "out").glob("reference/*"))
    assert "synthesised" in (tmp_path / "out" / "report.md").read_text()
