"""Runs a function in a process of its own with limits on time and memory.

A model is a program that somebody else wrote: whatever it asks for, the caller lives on and gets
one clear error.
"""

from __future__ import annotations

import gc
import os
import pickle
import resource
import select
import signal
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NoReturn, TypeVar

from fpga_gen.errors import FpgaGenError, UnsupportedModel, WorkerError

T = TypeVar("T")
GRACE = 5  # seconds between the signal that ends a process and the one that kills it
STANDSTILL_S = 120  # without a hundredth of a second of computing
REMEDY = "use a smaller model, or export it again"


@dataclass(frozen=True)
class Limits:
    """cpu_seconds: of the processor, all threads together, so that a busy machine changes nothing;
    memory: bytes of address space beside what the process has at its start; see `need_memory`."""

    cpu_seconds: int = 120
    memory: int = 3 << 29


def run_limited(what: str, limits: Limits, function: Callable[..., T], *arguments: Any) -> T:
    """function(*arguments), computed in a child process.

    Args:
        what: names the work in errors, for example the model's path.

    Raises:
        FpgaGenError: that the function raised.
        UnsupportedModel: the function needs more than the limits, or the child died.
        WorkerError: the child stands still, as the fork of a process with threads may.
    """
    with tempfile.TemporaryFile(prefix="fpga-gen-") as answer:
        child = os.fork()
        if child == 0:
            _work(answer, what, limits, function, arguments)
        try:
            _watch(child, what)
        except BaseException:  # the user interrupts
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            raise
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        answer.seek(0)
        try:
            result = pickle.load(answer)
        except (EOFError, pickle.UnpicklingError):  # it could not even say why
            raise UnsupportedModel(_end(what, limits, status)) from None
    if isinstance(result, BaseException):
        raise result
    return result


def _watch(child: int, what: str) -> None:
    """Returns when the child has ended; its parent has yet to wait for it."""
    handle, computed = os.pidfd_open(child), -1
    try:
        while not select.select([handle], [], [], STANDSTILL_S)[0]:
            before, computed = computed, _computed(child)
            if computed == before:
                raise WorkerError(
                    f"{what}: its process has stood still for {STANDSTILL_S} seconds; try again"
                )
    finally:
        os.close(handle)


def _computed(process: int) -> int:
    """Ticks of the processor that a process has used; proc(5)."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def need_memory(size: int) -> None:
    """Raises the limit of a child that reads `size` bytes of the user's own files: parsed, as
    arrays and on their way back they are in memory several times over."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    if soft != resource.RLIM_INFINITY:
        more = soft + 8 * size
        more = more if hard == resource.RLIM_INFINITY else min(more, hard)
        resource.setrlimit(resource.RLIMIT_AS, (max(soft, more), hard))


def _end(what: str, limits: Limits, code: int) -> str:
    """Why a child left no answer."""
    if code == -signal.SIGXCPU:
        return f"{what}: takes more than {limits.cpu_seconds} seconds of computing; {REMEDY}"
    try:
        how = signal.Signals(-code).name
    except ValueError:
        how = f"exit code {code}"
    return f"{what}: its process was ended by {how}; {REMEDY}"


def _work(
    answer: IO[bytes],
    what: str,
    limits: Limits,
    function: Callable[..., Any],
    arguments: tuple[Any, ...],
) -> NoReturn:
    """The child: its result, or the error, goes into the file. It ends without the handlers and
    buffers that it shares with its parent, and never collects its parent's garbage: the end of a
    server there would wait for threads that a fork does not have."""
    gc.freeze()
    code = 1
    try:
        _limit(resource.RLIMIT_AS, _address_space() + limits.memory)
        _limit(resource.RLIMIT_CPU, limits.cpu_seconds, limits.cpu_seconds + GRACE)
        _limit(resource.RLIMIT_CORE, 0)
        _answer(answer, lambda: function(*arguments), what)
        code = 0
    finally:
        os._exit(code)


def _answer(answer: IO[bytes], function: Callable[[], Any], what: str) -> None:
    try:
        pickle.dump(function(), answer, pickle.HIGHEST_PROTOCOL)
        answer.flush()
        return
    except MemoryError:
        error: Exception = UnsupportedModel(f"{what}: takes too much memory; {REMEDY}")
    except RecursionError:
        error = UnsupportedModel(f"{what}: is nested too deeply; {REMEDY}")
    except FpgaGenError as raised:
        error = raised
    except Exception as raised:  # a defect of this program: the caller shows it
        error = raised
    answer.seek(0)
    answer.truncate()
    pickle.dump(error, answer, pickle.HIGHEST_PROTOCOL)
    answer.flush()


def _address_space() -> int:
    """Bytes of address space of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    return pages * os.sysconf("SC_PAGE_SIZE")


def _limit(kind: int, soft: int, hard: int | None = None) -> None:
    """Lowers a limit; a stricter one of the user stays. hard: None for the user's."""
    old_soft, old_hard = resource.getrlimit(kind)
    unlimited = resource.RLIM_INFINITY
    top = old_hard if hard is None else hard if old_hard == unlimited else min(hard, old_hard)
    want = soft if old_soft == unlimited else min(soft, old_soft)
    resource.setrlimit(kind, (want, top))
