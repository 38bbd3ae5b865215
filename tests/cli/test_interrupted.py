"""Ctrl-C at any moment of a command: one line, exit code 130, no traceback."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.interrupts import interruptible
from tests.test_architecture import ROOT

# A process that interrupts itself at one place of `fpga-gen boards`.
PROGRAM = """
import atexit, importlib.abc, os, signal, sys

def interrupt(*_):
    os.kill(os.getpid(), signal.SIGINT)

class Imported(importlib.abc.MetaPathFinder):
    def find_spec(self, name, *_):
        if name == place:
            interrupt()

place, *sys.argv[1:] = sys.argv[1:]
if place == "command":
    from fpga_gen.cli import boards
    boards.boards.callback = interrupt
elif place == "shutdown":
    atexit.register(interrupt)
sys.meta_path.insert(0, Imported())
from fpga_gen.cli import main
main()
"""


def interrupted(place: str, ignored: bool = False) -> subprocess.CompletedProcess[str]:
    shell = ["sh", "-c", 'trap "" INT; exec "$@"', "sh"] if ignored else []  # as `nohup` and `&` do
    return subprocess.run(
        [*shell, sys.executable, "-c", PROGRAM, place, "boards"],
        capture_output=True, text=True, timeout=120, preexec_fn=interruptible,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (ROOT, ROOT / "host")))},
    )  # fmt: skip


@pytest.mark.parametrize("place", ["numpy", "fpga_gen.graph.ir", "fpga_gen.cli.serve", "command"])
def test_one_line(place: str):
    done = interrupted(place)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "\nfpga-gen: interrupted\n")


def test_what_is_done_stays_done():
    done = interrupted("shutdown")
    assert (done.returncode, done.stderr) == (0, "")
    assert "kv260" in done.stdout


def test_a_command_that_ignores_it_goes_on():
    done = interrupted("numpy", ignored=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert "kv260" in done.stdout
