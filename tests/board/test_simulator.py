"""The simulator's thread: clock, accesses, failures."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import pytest

from fpga_gen.board import simulator as module
from fpga_gen.board.simulator import SimulatorThread
from fpga_gen.errors import SimulationError
from fpga_gen.simulate.device import SimulatedDevice
from fpga_gen.simulate.native import FaultKind
from fpga_gen_host.registers import MAGIC, REGISTERS, constants
from tests.board.running import Running

pytestmark = pytest.mark.timeout(900)
C = constants()
START = C["CONTROL_START_MASK"]


@pytest.fixture
def simulator(board: Running):
    flow = board.flow
    thread = SimulatorThread(flow.library, flow.params, flow.dram)
    yield thread
    thread.close()
    thread.close()


def wait_until(true: Callable[[], bool], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def start_a_frame_that_hangs(simulator: SimulatorThread) -> None:
    """The program's first read is never answered, and no watchdog is set."""
    simulator._call(lambda: simulator._device.inject(FaultKind.HANG, beat=0))
    base = simulator._device.dram.base
    for name, value in (
        ("PROGRAM_WORDS", 4), ("PROGRAM_LO", base), ("READ_WINDOW0_BASE_LO", base),
        ("READ_WINDOW0_LIMIT_LO", base + 4096), ("WATCHDOG", 0), ("CONTROL", START),
    ):  # fmt: skip
        simulator.write(C[name], value)


def test_registers(simulator: SimulatorThread):
    assert simulator.read(C["ID"]) == MAGIC
    simulator.write(C["WATCHDOG"], 123456)
    assert simulator.read(C["WATCHDOG"]) == 123456
    unused = max(r.offset for r in REGISTERS) + 4
    simulator.write(unused, 5)
    assert simulator.read(unused) == 0


def test_the_clock_stands_still_without_a_frame(simulator: SimulatorThread):
    before = simulator._device.cycle
    time.sleep(0.2)
    assert simulator._device.cycle == before


def test_a_frame_without_interrupt_is_seen_to_end(simulator: SimulatorThread, monkeypatch):
    """A program of no words ends at once with an error; the client left the interrupt off."""
    monkeypatch.setattr(module, "AFTER_RUN_S", 0.1)
    simulator.write(C["PROGRAM_WORDS"], 0)
    simulator.write(C["CONTROL"], START)
    wait_until(lambda: bool(simulator.frames))
    assert simulator.read(C["STATUS"]) & C["STATUS_ERROR_MASK"]
    wait_until(lambda: not simulator._clock_runs())


def test_the_pause_between_two_frames_is_counted(simulator: SimulatorThread):
    for number in (1, 2):
        simulator.write(C["CONTROL"], START | C["CONTROL_IRQ_ENABLE_MASK"])
        wait_until(lambda n=number: len(simulator.frames) == n)
        simulator.write(C["STATUS"], C["STATUS_ERROR_MASK"])
        time.sleep(0.05)
    first, second = simulator.frames
    assert first.gap is None
    assert second.gap is not None
    assert second.gap == second.start - first.end
    assert second.gap > 100  # the clock went on meanwhile


def test_nobody_waits_for_a_frame(simulator: SimulatorThread, monkeypatch):
    monkeypatch.setattr(module, "ABANDONED_S", 0.3)
    start_a_frame_that_hangs(simulator)
    before = simulator._device.cycle
    wait_until(lambda: simulator._device.cycle > before + 100)
    wait_until(lambda: not simulator._clock_runs())
    time.sleep(0.2)  # the slice that was under way
    stopped = simulator._device.cycle
    time.sleep(0.1)
    assert simulator._device.cycle == stopped
    assert simulator.read(C["STATUS"]) & C["STATUS_BUSY_MASK"]  # and now it goes on
    wait_until(lambda: simulator._device.cycle > stopped + 100)


def test_a_broken_design_is_told_until_it_is_loaded_again(simulator: SimulatorThread, monkeypatch):
    def broken(*_: object, **__: object) -> None:
        raise SimulationError("AXI protocol: burst crosses a 4 KiB boundary")

    simulator.memory[:4] = (1, 2, 3, 4)
    monkeypatch.setattr(simulator._device, "run", broken)
    simulator.write(C["CONTROL"], START)
    wait_until(lambda: simulator._failure is not None)
    with pytest.raises(SimulationError, match="4 KiB boundary; load the bitstream again"):
        simulator.read(C["ID"])
    simulator.reload()
    assert simulator.read(C["ID"]) == MAGIC
    assert list(simulator.memory[:4]) == [1, 2, 3, 4]  # as DRAM does


def test_memory_of_another_size(board: Running):
    flow = board.flow
    for memory in (np.zeros(5, np.uint8), np.zeros(flow.dram.size, np.int8)):
        with pytest.raises(SimulationError, match=f"is not {flow.dram.size} bytes"):
            SimulatedDevice(flow.library, flow.params, flow.dram, memory=memory)


def test_after_the_end(simulator: SimulatorThread):
    simulator.close()
    with pytest.raises(SimulationError, match="shut down"):
        simulator.read(C["ID"])
