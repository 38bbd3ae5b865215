"""The register sequence on a device that checks it: order, windows, errors, memory."""

from __future__ import annotations

import itertools
import time
from pathlib import Path

import numpy as np
import pytest
from host_fakes import FakeDevice, first_bytes, write_deploy

from fpga_gen_host import (
    AcceleratorError,
    AcceleratorStuck,
    AcceleratorTimeout,
    DesignMismatch,
    DeviceError,
    WrongFrame,
    load_deployment,
)
from fpga_gen_host import engine as engine_module
from fpga_gen_host import registers as r
from fpga_gen_host.engine import Engine, Slot
from fpga_gen_host.statistics import FrameStatistics

RESET = r.CONTROL_SOFT_RESET_MASK


@pytest.fixture
def deployment(tmp_path: Path):
    return load_deployment(write_deploy(tmp_path / "deploy"))


@pytest.fixture
def device(deployment) -> FakeDevice:
    return FakeDevice(first_bytes(deployment.output.bytes))


def interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def frame(engine: Engine, slot: Slot) -> FrameStatistics:
    """One frame as the accelerator runs it."""
    slot.buffer.flush()
    statistics = engine.run(slot)
    slot.buffer.invalidate()
    return statistics


def test_frame_and_statistics(device: FakeDevice, deployment):
    engine = Engine(device, deployment)
    for number, slot in enumerate(engine.slots * 2):
        slot.input[:] = number
        statistics = frame(engine, slot)
        assert (slot.output == number).all()
    assert statistics.cycles == 400
    assert statistics.seconds == pytest.approx(2e-6)
    assert statistics.read_bytes == 16 * (10 + 11 + 12 + 13)
    assert statistics.write_bytes == 32
    engine.close()
    engine.close()
    assert not device.live


def test_layer_times(device: FakeDevice, deployment):
    engine = Engine(device, deployment)
    frame(engine, engine.slots[0])
    times = engine.layer_times()
    assert [(t.operation, t.start_cycle, t.cycles) for t in times] == [
        ("load", 7, 100),
        ("conv", 107, 100),
        ("end", 207, 193),
    ]
    device.registers[r.LAYER_INDEX] = r.LAYER_LOG_DEPTH + 5
    times = engine.layer_times()
    assert len(times) == r.LAYER_LOG_DEPTH - 1
    assert {t.layer for t in times} == {""}  # the names do not fit the log
    engine.close()


@pytest.mark.parametrize(
    ("offset", "message"),
    [
        (r.ID, "no fpga-gen accelerator"),
        (r.VERSION, "register interface is"),
        (
            r.HASH_LO,
            "carries design hash 112233445566778b, this build needs 1122334455667788",
        ),
        (
            r.HASH_HI,
            "carries design hash 1122334755667788, this build needs 1122334455667788",
        ),
        (r.CONFIG, "number of read ports is"),
    ],
)
def test_wrong_design_is_not_touched(device: FakeDevice, deployment, offset: int, message: str):
    device.registers[offset] ^= 3
    with pytest.raises(DesignMismatch, match=message):
        Engine(device, deployment)
    assert not device.live
    assert device.resets == 0


@pytest.mark.parametrize("code", range(1, 10))
def test_error_is_named_and_the_next_frame_is_good(device: FakeDevice, deployment, code: int):
    engine = Engine(device, deployment)
    device.fail = [code]
    with pytest.raises(AcceleratorError, match=r"stopped with [A-Z_]+ \(info 33\): ") as caught:
        frame(engine, engine.slots[0])
    assert caught.value.code == code
    assert device.resets == 2
    engine.slots[1].input[:] = 9
    frame(engine, engine.slots[1])
    assert (engine.slots[1].output == 9).all()
    engine.close()
    assert not device.live


def test_timeout_resets(device: FakeDevice, deployment):
    engine = Engine(device, deployment, timeout_s=0.05)
    device.hang = True
    with pytest.raises(AcceleratorTimeout, match=r"0\.05 s"):
        frame(engine, engine.slots[0])
    device.hang = False
    frame(engine, engine.slots[0])
    engine.close()
    assert not device.live


def test_a_slow_clock_is_no_timeout(device: FakeDevice, deployment, monkeypatch):
    """A simulated accelerator: 10 ms of its time (2 M cycles) take 0.3 s on the wall."""
    monkeypatch.setattr(engine_module, "STANDSTILL_S", 0.05)
    engine = Engine(device, deployment, timeout_s=0.01)
    device.seconds = 0.3
    monkeypatch.setattr(device, "clock", lambda: int(time.monotonic() * 1e6) % 1_000_000)
    frame(engine, engine.slots[0])
    engine.close()


def test_a_frame_over_time_on_its_own_clock(device: FakeDevice, deployment, monkeypatch):
    engine = Engine(device, deployment, timeout_s=0.05)
    device.hang = True
    looks = []
    monkeypatch.setattr(device, "clock", lambda: looks.append(1) or 10_000_001)  # 0.05 s at 200 MHz
    with pytest.raises(AcceleratorTimeout):
        engine.run(engine.slots[0])
    assert len(looks) == 1  # at a clock that is over time
    engine.close()


def test_only_changed_addresses_are_written(device: FakeDevice, deployment, monkeypatch):
    engine = Engine(device, deployment)
    frame(engine, engine.slots[0])
    written: list[int] = []
    write = device.write
    monkeypatch.setattr(device, "write", lambda o, v: (written.append(o), write(o, v)))
    frame(engine, engine.slots[0])
    assert written == [r.FRAME, r.CONTROL, r.STATUS]
    device.fail = [1]
    with pytest.raises(AcceleratorError):
        frame(engine, engine.slots[0])
    assert r.PROGRAM_LO in written  # after a reset nothing is taken for granted
    engine.close()


def test_every_buffer_is_freed_even_if_one_cannot_be(device: FakeDevice, deployment, monkeypatch):
    engine = Engine(device, deployment)

    def fail() -> None:
        raise DeviceError("gone")

    monkeypatch.setattr(engine._static, "free", fail)
    with pytest.raises(DeviceError, match="gone"):
        engine.close()
    assert len(device.live) == 1


def test_stuck_accelerator_keeps_its_memory(device: FakeDevice, deployment, monkeypatch):
    monkeypatch.setattr(engine_module, "RESET_S", 0.02)
    withheld: list = []
    monkeypatch.setattr(engine_module, "WITHHELD", withheld)
    engine = Engine(device, deployment, timeout_s=0.02)
    device.hang = device.stuck = True
    with pytest.raises(AcceleratorStuck, match="load the bitstream again"):
        frame(engine, engine.slots[0])
    with pytest.raises(AcceleratorStuck):
        engine.close()
    assert len(device.live) == len(withheld) == 4
    engine.close()


def test_a_program_that_sleeps_does_not_call_the_accelerator_stuck(
    device: FakeDevice, deployment, monkeypatch
):
    """Seconds may pass between two looks at STATUS, of which the hardware needs some."""
    engine = Engine(device, deployment)
    looks, read, clock = [r.STATUS_DRAINING_MASK] * 50, device.read, itertools.count(0, 1000)
    monkeypatch.setattr(engine_module.time, "monotonic", lambda: float(next(clock)))
    monkeypatch.setattr(
        device, "read", lambda at: looks.pop() if looks and at == r.STATUS else read(at)
    )
    engine.reset()
    assert not looks
    monkeypatch.undo()
    engine.close()


@pytest.mark.parametrize("room", [0, 4500, 9000, 13000])
def test_memory_that_runs_out(device: FakeDevice, deployment, room: int):
    device.memory = room
    with pytest.raises(MemoryError):
        Engine(device, deployment)
    assert not device.live


def test_interrupted_wait_stops_the_accelerator(device: FakeDevice, deployment, monkeypatch):
    engine = Engine(device, deployment)
    device.hang = True

    monkeypatch.setattr(device, "wait", interrupt)
    with pytest.raises(KeyboardInterrupt):
        frame(engine, engine.slots[0])
    assert device.registers[r.STATUS] == 0
    engine.close()
    assert not device.live


def test_the_limit_of_a_frame_follows_the_prediction(device: FakeDevice, deployment):
    """The fake deployment predicts 400 cycles."""
    Engine(device, deployment)
    assert device.registers[r.RUN_LIMIT] == 10 * 400 + 1_000_000
    Engine(device, deployment, run_limit=77)
    assert device.registers[r.RUN_LIMIT] == 77
    assert engine_module.default_limit(10**9) == 0xFFFFFFFF


def test_a_frame_reaches_no_other_frame(device: FakeDevice, deployment):
    engine = Engine(device, deployment)
    first, second = engine.slots[:2]
    frame(engine, first)
    weights = engine._static.device_address
    for foreign in (second.buffer.device_address, second.output_address):
        assert not device.readable(foreign, foreign + 16)
    for foreign in (weights, first.buffer.device_address, second.output_address):
        assert not device.writable(foreign, foreign + 16)
    # Behind its results lie maps that a frame reads again.
    assert device.readable(first.output_address, first.output_address + len(first.output))
    assert np.all(first.output[:4] == first.input[:4])
    engine.close()


def test_a_frame_of_another_program_is_no_result(device: FakeDevice, deployment, monkeypatch):
    """It writes its own number between ours and our start."""
    engine = Engine(device, deployment)
    write = device.write

    def disturbed(offset: int, value: int) -> None:
        if offset == r.CONTROL and value & r.CONTROL_START_MASK:
            write(r.FRAME, 0x0BAD_CAFE)
        write(offset, value)

    with monkeypatch.context() as patch:
        patch.setattr(device, "write", disturbed)
        with pytest.raises(WrongFrame, match="ran frame 0badcafe in place of"):
            frame(engine, engine.slots[0])
    frame(engine, engine.slots[0])
    engine.close()


def test_a_frame_left_running_is_stopped_before_memory_is_taken(device: FakeDevice, deployment):
    """A program died in a frame: nothing of it may reach the buffers of the next one."""
    first = Engine(device, deployment)
    device.hang = True
    first.start(first.slots[0])
    allocate, order = device.allocate, []
    device.allocate = lambda nbytes: (order.append(device.resets), allocate(nbytes))[1]
    Engine(device, deployment)
    assert order
    assert set(order) == {2}


def test_close_interrupted_can_be_called_again(device: FakeDevice, deployment, monkeypatch):
    engine = Engine(device, deployment)
    device.hang = True
    monkeypatch.setattr(device, "wait", interrupt)
    write = device.write
    monkeypatch.setattr(device, "write", lambda o, v: write(o, v) if v != RESET else interrupt())
    with pytest.raises(KeyboardInterrupt):
        frame(engine, engine.slots[0])
    with pytest.raises(KeyboardInterrupt):
        engine.close()
    assert len(device.live) == 4  # the frame may still run
    monkeypatch.undo()
    engine.close()
    assert not device.live
    assert device.registers[r.STATUS] == 0


def test_a_board_that_is_gone_keeps_its_memory(device: FakeDevice, deployment, monkeypatch):
    withheld: list = []
    monkeypatch.setattr(engine_module, "WITHHELD", withheld)
    engine = Engine(device, deployment)

    def gone(offset: int) -> int:
        raise DeviceError("no answer")

    monkeypatch.setattr(device, "read", gone)
    with pytest.raises(DeviceError, match="no answer"):
        engine.close()
    assert len(device.live) == len(withheld) == 4
