"""An exception at any access to registers and buffers: the next picture gets its own result."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from host_fakes import FakeBuffer, FakeDevice, first_bytes, layout_json, write_deploy

from fpga_gen_host import Accelerator
from fpga_gen_host.accelerator import Outputs

FRAME_S = 0.004  # a frame that is left alone ends while the next one is under way
MOMENTS = [(False, 1), (True, 1), (False, 2), (True, 2)]


class Tripwire:
    """Raises at operation number `at`, before or after it is done, and `times - 1` times more."""

    def __init__(self, at: int, after: bool, times: int) -> None:
        self.at, self.after, self.times = at, after, times

    def passes(self, work: Callable) -> object:
        self.at -= 1
        trips = self.at < 0 and self.times > 0
        self.times -= trips
        if trips and not self.after:
            raise KeyboardInterrupt
        result = work()
        if trips:
            raise KeyboardInterrupt
        return result


class TrippedBuffer(FakeBuffer):
    def flush(self) -> None:
        self._owner.wire.passes(super().flush)

    def invalidate(self) -> None:
        self._owner.wire.passes(super().invalidate)


class TrippedDevice(FakeDevice):
    buffer_type = TrippedBuffer
    wire = Tripwire(0, False, 0)

    def read(self, offset: int) -> int:
        return self.wire.passes(lambda: FakeDevice.read(self, offset))

    def write(self, offset: int, value: int) -> None:
        self.wire.passes(lambda: FakeDevice.write(self, offset, value))

    def wait(self, seconds: float) -> None:
        self.wire.passes(lambda: FakeDevice.wait(self, seconds))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_deploy(tmp_path / "deploy")


@pytest.fixture
def device() -> TrippedDevice:
    return TrippedDevice(first_bytes(layout_json()["output"]["bytes"]), seconds=FRAME_S)


def picture(value: int) -> np.ndarray:
    return np.full((8, 12, 3), value, np.uint8)


def result(outputs: Outputs) -> set[float]:
    return set(outputs["mask"].flat)


def expected(value: int) -> set[float]:
    return {0.5 * float(np.rint(np.float32((value / 255 - 0.485) / 0.229) / 0.02))}


def next_frames_are_good(opened: Accelerator, device: TrippedDevice) -> None:
    device.wire = Tripwire(0, False, 0)
    assert result(opened.run(picture(20))) == expected(20)
    stream = opened.run_many([picture(30), picture(40)])
    assert [result(o) for o in stream] == [expected(30), expected(40)]
    assert device.ignored_starts == 0


@pytest.mark.parametrize(("after", "times"), MOMENTS)
def test_one_frame(folder: Path, device: TrippedDevice, after: bool, times: int):
    """times 2: the reset that follows is interrupted too."""
    with Accelerator(folder, device=device) as opened:
        for at in count():
            device.wire = Tripwire(at, after, times)
            try:
                assert result(opened.run(picture(10))) == expected(10)
                device.wire = Tripwire(0, False, 0)
                break
            except KeyboardInterrupt:
                next_frames_are_good(opened, device)
    assert at > 20  # flush, addresses, start, poll, counters, acknowledge, invalidate
    assert not device.live


@pytest.mark.parametrize(("after", "times"), MOMENTS)
def test_many_frames(folder: Path, device: TrippedDevice, after: bool, times: int):
    values = [10, 11, 12, 13]
    with Accelerator(folder, device=device) as opened:
        for at in count():
            device.wire = Tripwire(at, after, times)
            done: list[set[float]] = []
            try:
                for outputs in opened.run_many(picture(v) for v in values):
                    done.append(result(outputs))
                device.wire = Tripwire(0, False, 0)
                break
            except KeyboardInterrupt:
                assert done == [expected(v) for v in values[: len(done)]]
                next_frames_are_good(opened, device)
    assert done == [expected(v) for v in values]
    assert at > 60
    assert not device.live
