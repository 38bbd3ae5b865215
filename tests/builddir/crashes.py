"""Processes that are ended, or told that the disk is full, at one chosen file operation."""

from __future__ import annotations

import errno
import multiprocessing
import os
import pickle
import signal
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import NamedTuple

import cloudpickle

OPERATIONS = (
    *("open", "write", "fsync", "ftruncate", "replace", "unlink", "mkdir", "rmdir", "scandir"),
)
KILLED, FAILED = 9, 1
ROUNDS = int(os.environ.get("FPGA_GEN_CRASHES", "1"))  # how often the random tests repeat
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["tests.builddir.test_crash"])  # a child need not import it


class Injector:
    """Counts the file operations of this process; at number `at` it ends, or the disk is full."""

    def __init__(self, at: int | None = None, full: bool = False) -> None:
        self.count = 0
        self.at = at
        self.full = full

    def install(self) -> None:
        for name in OPERATIONS:
            setattr(os, name, self._wrap(name, getattr(os, name)))

    def _wrap(self, name: str, original: Callable) -> Callable:
        def operation(*arguments, **options):
            number, self.count = self.count, self.count + 1
            if number == self.at:
                if name == "write":  # half of it arrives
                    data = memoryview(arguments[1])
                    original(arguments[0], data[: len(data) // 2])
                if not self.full:
                    os._exit(KILLED)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return original(*arguments, **options)

        return operation


@dataclass(frozen=True)
class Child:
    """A process that runs an action."""

    process: BaseProcess
    answer: Connection

    def wait(self) -> Ended:
        self.process.join()
        try:
            line = self.answer.recv()
        except EOFError:  # it was killed
            line = ""
        status = self.process.exitcode
        assert status is not None
        return Ended(status, line)


class Ended(NamedTuple):
    """status: 0 done, `FAILED` after an exception, negative for a signal; line: the last one of the
    exception."""

    status: int
    line: str


def start(action: Callable[[], object]) -> Child:
    """Runs `action` in a process of its own. It is forked by a process without threads: this one
    has those of whatever tests ran before, and a fork of it may wait for one of them for ever."""
    answer, writer = multiprocessing.Pipe(duplex=False)
    process = PROCESSES.Process(target=_act, args=(cloudpickle.dumps(action), writer))
    process.start()
    writer.close()
    return Child(process, answer)


def _act(pickled: bytes, writer: Connection) -> None:
    """The child. A killed process does not lose what the system has taken over, so it does not
    wait for the disk."""
    os.fsync = lambda handle: None
    status, line = FAILED, ""
    try:
        pickle.loads(pickled)()
        status = 0
    except BaseException as error:
        line = traceback.format_exception_only(error)[-1].strip()
    finally:
        writer.send(line)
        os._exit(status)


def run(action: Callable[[], object], at: int | None = None, full: bool = False) -> Ended:
    """How `action` ends with a fault at operation `at`."""

    def injected() -> None:
        Injector(at, full).install()
        action()

    return start(injected).wait()


def count_operations(action: Callable[[], object], scratch: Path) -> int:
    """File operations of `action`, which must succeed; scratch: a file for their number."""

    def counted() -> None:
        injector = Injector()
        injector.install()
        action()
        scratch.write_text(str(injector.count))

    assert start(counted).wait() == (0, "")
    return int(scratch.read_text())


def kill_after(action: Callable[[], object], seconds: float) -> None:
    """Runs `action` for a time, then kills it wherever it is."""
    child = start(action)
    time.sleep(seconds)
    child.process.kill()
    assert child.wait().status == -signal.SIGKILL


def content(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, hidden ones and empty folders (None as content) too."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else b"(empty folder)"
        for path in folder.rglob("*")
        if path.is_file() or not any(path.iterdir())
    }
