"""Ends that nobody asked for: Ctrl-C, dropped objects, the end of the program, forks."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import numpy as np
import pytest
from host_fakes import FakeDevice, first_bytes, layout_json, write_deploy

from fpga_gen_host import Accelerator, HostError

LONG = 50.0  # seconds after which a source that blocks gives up: nothing may have waited for it
HOST = Path(__file__).resolve().parents[1]
PICTURE = np.full((8, 12, 3), 9, np.uint8)


class Camera:
    """Some pictures, then it blocks, like a camera without a signal. over: it blocks no more."""

    def __init__(self, pictures: int) -> None:
        self.left, self.over = pictures, False
        self.blocks, self.signal = threading.Event(), threading.Event()

    def __iter__(self) -> Iterator[np.ndarray]:
        for _ in range(self.left):
            yield PICTURE
        self.blocks.set()
        self.signal.wait(LONG)
        self.over = True


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_deploy(tmp_path / "deploy")


@pytest.fixture
def device() -> FakeDevice:
    return FakeDevice(first_bytes(layout_json()["output"]["bytes"]))


@pytest.fixture
def camera() -> Iterator[Camera]:
    made = Camera(2)
    yield made
    made.signal.set()


def names(frame: FrameType | None) -> list[str]:
    """Functions of a thread, the innermost first."""
    found = []
    while frame is not None:
        found.append(frame.f_code.co_name)
        frame = frame.f_back
    return found


def interrupt_when(event: threading.Event, taker: str) -> None:
    """Ctrl-C, once the event is set and the main thread waits for a result. taker: the thread that
    the system gives the signal to, "main" or another."""
    main = threading.get_ident()

    def press() -> None:
        event.wait()
        while "_wait" not in names(sys._current_frames()[main]):
            time.sleep(0.01)
        if taker == "main":
            os.kill(os.getpid(), signal.SIGINT)
        else:
            signal.pthread_kill(threading.get_ident(), signal.SIGINT)

    threading.Thread(target=press, daemon=True).start()


@pytest.fixture
def interrupts() -> Iterator[None]:
    """Python's own answer to Ctrl-C: what a shell starts in the background ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interrupts")
@pytest.mark.parametrize("taker", ["main", "another"])
def test_ctrl_c_does_not_wait_for_the_source(
    folder: Path, device: FakeDevice, camera: Camera, taker: str
):
    with Accelerator(folder, device=device) as opened:
        stream = opened.run_many(camera)
        assert [len(next(stream)) for _ in range(2)] == [1, 1]
        interrupt_when(camera.blocks, taker)
        with pytest.raises(KeyboardInterrupt):
            next(stream)
        assert not camera.over
        opened.run(PICTURE)
        assert len(list(opened.run_many([PICTURE] * 3))) == 3
    assert not device.live


@pytest.mark.parametrize("how", ["close", "with", "drop", "accelerator"])
def test_leaving_does_not_wait_for_the_source(
    folder: Path, device: FakeDevice, camera: Camera, how: str
):
    opened = Accelerator(folder, device=device)
    stream = opened.run_many(camera)
    next(stream)
    assert camera.blocks.wait(LONG)
    if how == "close":
        stream.close()
    elif how == "with":
        with stream:
            pass
    elif how == "accelerator":
        opened.close()
    else:
        del stream
        gc.collect()
    if how != "accelerator":
        opened.run(PICTURE)
    opened.close()
    assert not camera.over
    assert not device.live
    assert device.closed


def test_a_late_picture_is_not_prepared(folder: Path, device: FakeDevice, camera: Camera):
    """The source wakes up after the stream was closed: nothing writes to the slots any more."""
    with Accelerator(folder, device=device) as opened:
        stream = opened.run_many(late(camera))
        next(stream)
        assert camera.blocks.wait(LONG)
        stream.close()
        packed = []
        opened._packer.pack = lambda *_: packed.append(1)  # type: ignore[method-assign]
        camera.signal.set()
        time.sleep(0.2)
        assert not packed


def late(camera: Camera) -> Iterator[np.ndarray]:
    yield from camera
    yield PICTURE


def test_another_thread_that_waits_is_told(folder: Path, device: FakeDevice, camera: Camera):
    with Accelerator(folder, device=device) as opened:
        stream = opened.run_many(camera)
        got = []
        waiting = threading.Thread(target=lambda: got.extend(stream))
        waiting.start()
        assert camera.blocks.wait(LONG)
        stream.close()
        waiting.join(LONG)
        assert not waiting.is_alive()
        assert len(got) <= 2


def test_a_cancelled_wait_ends_the_stream(folder: Path, device: FakeDevice, camera: Camera):
    async def use() -> None:
        stream = opened.run_many(camera)
        for _ in range(2):
            await anext(stream)
        await asyncio.wait_for(anext(stream), 0.2)

    with Accelerator(folder, device=device) as opened:
        with pytest.raises(asyncio.TimeoutError):
            asyncio.run(use())
        assert not camera.over
        opened.run(PICTURE)


def test_a_dropped_accelerator_gives_everything_back(folder: Path, device: FakeDevice):
    opened = Accelerator(folder, device=device)
    opened.run(PICTURE)
    assert len(device.live) == 4
    del opened
    gc.collect()
    assert not device.live
    assert device.closed


def test_a_dropped_accelerator_works_for_its_stream(folder: Path, device: FakeDevice):
    stream = Accelerator(folder, device=device).run_many([PICTURE] * 5)
    gc.collect()
    assert len(list(stream)) == 5
    del stream
    gc.collect()
    assert not device.live
    assert device.closed


PROGRAM = """
import sys, threading
import numpy as np
from host_fakes import FakeDevice, first_bytes, layout_json
from fpga_gen_host import Accelerator

def source():
    yield np.full((8, 12, 3), 9, np.uint8)
    threading.Event().wait()

class Device(FakeDevice):
    def close(self):
        super().close()
        print("closed", len(self.live), flush=True)

device = Device(first_bytes(layout_json()["output"]["bytes"]))
opened = Accelerator(sys.argv[1], device=device)
stream = opened.run_many(source())
next(stream)
print("leaving", flush=True)
"""


def test_the_end_of_the_program(folder: Path):
    """Neither stream nor accelerator are closed, and the source blocks."""
    paths = os.pathsep.join((str(HOST), str(HOST / "tests")))
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(folder)],
        env={**os.environ, "PYTHONPATH": paths}, capture_output=True, text=True, timeout=6 * LONG,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["leaving", "closed", "0"]
    assert not done.stderr


def in_fork(work) -> int:
    """Exit code of a forked child: 0 if `work` returns; killed if it takes too long."""
    child = os.fork()
    if not child:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(int(LONG))
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def refused(use) -> None:
    with pytest.raises(HostError, match=r"process \d+, of which this one, \d+, is a fork"):
        use()


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_fork_during_a_run(folder: Path, device: FakeDevice):
    """The child has a copy of a lock that is taken: a clear error, no dead lock."""
    opened = Accelerator(folder, device=device)
    device.seconds = 0.3
    running = threading.Thread(target=opened.run, args=(PICTURE,))
    running.start()
    while not opened._held.lock.locked():
        time.sleep(0.001)

    def child() -> None:
        uses = (
            lambda: opened.run(PICTURE), lambda: opened.run_many([]), opened.layer_times,
            lambda: opened.run_stored(np.zeros((12, 4, 6), np.int8)),
        )  # fmt: skip
        for use in uses:
            refused(use)
        opened.close()  # the hardware is the parent's
        assert not device.closed

    assert in_fork(child) == 0
    running.join()
    device.seconds = 0.0
    opened.run(PICTURE)
    opened.close()
    assert not device.live


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_fork_during_a_stream(folder: Path, device: FakeDevice, camera: Camera):
    with Accelerator(folder, device=device) as opened:
        stream = opened.run_many(camera)
        next(stream)

        def child() -> None:
            refused(lambda: next(stream))
            stream.close()
            assert opened._held.pipeline is not None  # as the parent's

        assert in_fork(child) == 0
        camera.signal.set()
        assert len(list(stream)) == 1
