"""Work on processes of this machine, and Ctrl-C: nothing is told, nothing left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from tests.interrupts import interruptible
from tests.test_architecture import ROOT

# Two workers: one item is done at once, the others never. Then interrupts for the whole group, as
# a terminal sends them.
PROGRAM = """
import os, signal, sys, time
from fpga_gen.spread import spread
try:
    for item, _ in spread(time.sleep, [0, 600, 600], workers=2, scheduler=None):
        print(item, flush=True)
except KeyboardInterrupt:
    sys.exit(130)
"""
# The group is interrupted while the workers start.
STARTING = """
import threading, multiprocessing.popen_spawn_posix as spawn
begun = []
def start(self, process_obj, true=spawn.Popen._launch):
    true(self, process_obj)
    begun.append(self.pid)
    if len(begun) == 2:
        threading.Timer(0.4, os.killpg, (0, signal.SIGINT)).start()  # they import
spawn.Popen._launch = start
"""
pytest.importorskip("distributed")


def begun(program: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        preexec_fn=interruptible,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (ROOT, ROOT / "host")))},
    )  # fmt: skip


def assert_quiet_end(process: subprocess.Popen[str]) -> None:
    _, told = process.communicate(timeout=120)
    assert (process.returncode, told) == (130, "")
    end = time.monotonic() + 20  # for those that end when they see that nobody is there
    while members(process.pid) and time.monotonic() < end:
        time.sleep(0.1)
    assert members(process.pid) == []


def members(session: int) -> list[str]:
    """The states and names of processes of a session, those apart that have ended."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            name, rest = path.read_text().rsplit(")", 1)
            state, _, _, its_session = rest.split()[:4]
            if int(its_session) == session and state != "Z":
                found.append(f"{state} {name}")
    return found


def test_interrupted_at_work():
    process = begun(PROGRAM)
    assert process.stdout is not None
    assert process.stdout.readline() == "0\n"
    os.killpg(process.pid, signal.SIGINT)
    assert_quiet_end(process)


def test_interrupted_while_the_workers_start():
    first, rest = PROGRAM.split("\n", 2)[1:]
    assert_quiet_end(begun(f"{first}\n{STARTING}\n{rest}"))
