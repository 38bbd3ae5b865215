"""A function in a process with limits: its result, its error, or why it was ended."""

from __future__ import annotations

import gc
import os
import resource
import select
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from fpga_gen import worker
from fpga_gen.errors import ScheduleError, UnsupportedModel, WorkerError
from fpga_gen.worker import Limits, need_memory, run_limited

LIMITS = Limits(cpu_seconds=20, memory=1 << 29)


def spin(seconds: float) -> None:
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


def fail(error: BaseException) -> None:
    raise error


def nest(depth: int) -> int:
    return nest(depth + 1)


def take(size: int) -> int:
    return int(np.ones(size, np.uint8).sum())


def take_for_a_file(size: int) -> int:
    need_memory(size)
    return take(size)


def test_result_comes_back_whole():
    arrays = [np.arange(1 << 20), np.ones((3, 5), np.float16)]
    got = run_limited("work", LIMITS, lambda: {"arrays": arrays})
    for want, have in zip(arrays, got["arrays"], strict=True):
        np.testing.assert_array_equal(want, have)
        assert want.dtype == have.dtype


def test_it_is_another_process():
    assert run_limited("work", LIMITS, os.getpid) != os.getpid()
    assert resource.getrlimit(resource.RLIMIT_AS)[0] == resource.RLIM_INFINITY


@pytest.mark.parametrize("error", [ScheduleError("layer 'a': no"), ValueError("a defect")])
def test_errors_are_raised_here(error):
    with pytest.raises(type(error), match=str(error)):
        run_limited("work", LIMITS, fail, error)


def test_time():
    with pytest.raises(UnsupportedModel, match="net: takes more than 1 seconds of computing"):
        run_limited("net", Limits(1, 1 << 30), spin, 30)


def test_memory():
    with pytest.raises(UnsupportedModel, match="net: takes too much memory"):
        run_limited("net", LIMITS, take, 1 << 30)
    assert run_limited("net", LIMITS, take, 1 << 26) == 1 << 26


def test_files_of_the_user_raise_the_limit():
    assert run_limited("net", LIMITS, take_for_a_file, 1 << 29) == 1 << 29


def test_a_process_that_stands_still(monkeypatch):
    """A fork of a process with threads may wait for one of them for ever."""
    monkeypatch.setattr(worker, "STANDSTILL_S", 1)
    began = time.monotonic()
    with pytest.raises(WorkerError, match="net: its process has stood still for 1 seconds"):
        run_limited("net", LIMITS, time.sleep, 3600)
    assert time.monotonic() - began < 60
    assert run_limited("net", LIMITS, spin, 3) is None  # as long as it computes


class Waits:
    """Garbage that needs a thread of the parent."""

    def __del__(self) -> None:
        if os.getpid() != PARENT:
            time.sleep(3600)


PARENT = os.getpid()


def test_garbage_of_the_parent_is_not_the_childs(monkeypatch):
    monkeypatch.setattr(worker, "STANDSTILL_S", 2)
    gc.disable()
    try:
        knot: list = [Waits()]
        knot.append(knot)
        del knot
        assert run_limited("net", LIMITS, gc.collect) is not None
    finally:
        gc.enable()


def test_forks_beside_a_board_use_no_handlers_of_its_server():
    """They wait for threads that a fork does not have. Until it is imported, gRPC can be told."""
    code = "import os, fpga_gen.board.server; print(os.environ['GRPC_ENABLE_FORK_SUPPORT'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "0\n", done.stderr


def test_depth():
    with pytest.raises(UnsupportedModel, match="net: is nested too deeply"):
        run_limited("net", LIMITS, nest, 0)


def test_sudden_death():
    with pytest.raises(UnsupportedModel, match="net: its process was ended by SIGKILL"):
        run_limited("net", LIMITS, lambda: os.kill(os.getpid(), signal.SIGKILL))


def test_interrupt_ends_the_child(monkeypatch, tmp_path):
    """Ctrl-C while the child works: nobody is left behind."""
    mark = tmp_path / "pid"

    def note() -> None:
        mark.write_text(str(os.getpid()))
        spin(30)

    def interrupted(*arguments) -> None:
        while not mark.exists() or not mark.read_text():
            time.sleep(0.01)
        monkeypatch.undo()
        raise KeyboardInterrupt

    monkeypatch.setattr(select, "select", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_limited("work", LIMITS, note)
    with pytest.raises(ProcessLookupError):
        os.kill(int(mark.read_text()), 0)
