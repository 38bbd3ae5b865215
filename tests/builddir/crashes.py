"""Processes that are ended, or told that the disk is full, at one chosen file operation."""

from __future__ import annotations

import errno
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

OPERATIONS = (
    *("open", "write", "fsync", "ftruncate", "replace", "unlink", "mkdir", "rmdir", "scandir"),
)
KILLED, FAILED = 9, 1
ROUNDS = int(os.environ.get("FPGA_GEN_CRASHES", "1"))  # how often the random tests repeat


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


def start(action: Callable[[], object]) -> int:
    """Runs `action` in a process of its own and returns its number. Status 0 done, `FAILED` after
    an exception, whose last line goes to standard error."""
    number = os.fork()
    if number:
        return number
    status = FAILED
    try:
        action()
        status = 0
    except BaseException as error:
        print(traceback.format_exception_only(error)[-1].strip(), file=sys.stderr)
    finally:
        os._exit(status)


def wait(number: int) -> int:
    """Exit status of a process; negative for a signal."""
    return os.waitstatus_to_exitcode(os.waitpid(number, 0)[1])


def run(action: Callable[[], object], at: int | None = None, full: bool = False) -> int:
    """Exit status of `action` with a fault at operation `at`."""

    def injected() -> None:
        Injector(at, full).install()
        action()

    return wait(start(injected))


def count_operations(action: Callable[[], object]) -> int:
    """File operations of `action`, which must succeed."""
    reader, writer = os.pipe()

    def counted() -> None:
        injector = Injector()
        write = os.write
        injector.install()
        action()
        write(writer, injector.count.to_bytes(4, "little"))

    assert wait(start(counted)) == 0
    os.close(writer)
    with open(reader, "rb") as stream:
        return int.from_bytes(stream.read(4), "little")


def kill_after(action: Callable[[], object], seconds: float) -> None:
    """Runs `action` for a time, then kills it wherever it is."""
    number = start(action)
    time.sleep(seconds)
    os.kill(number, signal.SIGKILL)
    assert wait(number) == -signal.SIGKILL


def content(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, hidden ones and empty folders (None as content) too."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else b"(empty folder)"
        for path in folder.rglob("*")
        if path.is_file() or not any(path.iterdir())
    }
