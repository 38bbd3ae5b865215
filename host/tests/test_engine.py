"""The register sequence on a device that checks it: order, windows, errors, memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from host_fakes import FakeDevice, first_bytes, write_deploy

from fpga_gen_host import (
    AcceleratorError,
    AcceleratorStuck,
    AcceleratorTimeout,
    DesignMismatch,
    load_deployment,
)
from fpga_gen_host import engine as engine_module
from fpga_gen_host import registers as r
from fpga_gen_host.engine import Engine


@pytest.fixture
def deployment(tmp_path: Path):
    return load_deployment(write_deploy(tmp_path / "deploy"))


@pytest.fixture
def device(deployment) -> FakeDevice:
    return FakeDevice(first_bytes(deployment.output.bytes))


def test_frame_and_statistics(device: FakeDevice, deployment):
    engine = Engine(device, deployment)
    for number, slot in enumerate(engine.slots * 2):
        slot.input[:] = number
        statistics = engine.run(slot)
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
    engine.run(engine.slots[0])
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
        (r.HASH, "bitstream and program are of different builds"),
        (r.CONFIG, "number of read ports is"),
    ],
)
def test_wrong_design_is_not_touched(device: FakeDevice, deployment, offset: int, message: str):
    device.registers[offset] ^= 3
    with pytest.raises(DesignMismatch, match=message):
        Engine(device, deployment)
    assert not device.live
    assert device.resets == 0


@pytest.mark.parametrize("code", range(1, 8))
def test_error_is_named_and_the_next_frame_is_good(device: FakeDevice, deployment, code: int):
    engine = Engine(device, deployment)
    device.fail = [code]
    with pytest.raises(AcceleratorError, match=r"stopped with [A-Z_]+ \(info 33\): ") as caught:
        engine.run(engine.slots[0])
    assert caught.value.code == code
    assert device.resets == 2
    engine.slots[1].input[:] = 9
    engine.run(engine.slots[1])
    assert (engine.slots[1].output == 9).all()
    engine.close()
    assert not device.live


def test_timeout_resets(device: FakeDevice, deployment):
    engine = Engine(device, deployment, timeout_s=0.05)
    device.hang = True
    with pytest.raises(AcceleratorTimeout, match=r"0\.05 s"):
        engine.run(engine.slots[0])
    device.hang = False
    engine.run(engine.slots[0])
    engine.close()
    assert not device.live


def test_stuck_accelerator_keeps_its_memory(device: FakeDevice, deployment, monkeypatch):
    monkeypatch.setattr(engine_module, "RESET_S", 0.02)
    withheld: list = []
    monkeypatch.setattr(engine_module, "WITHHELD", withheld)
    engine = Engine(device, deployment, timeout_s=0.02)
    device.hang = device.stuck = True
    with pytest.raises(AcceleratorStuck, match="load the bitstream again"):
        engine.run(engine.slots[0])
    with pytest.raises(AcceleratorStuck):
        engine.close()
    assert len(device.live) == len(withheld) == 4
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

    def interrupt(seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(device, "wait", interrupt)
    with pytest.raises(KeyboardInterrupt):
        engine.run(engine.slots[0])
    assert device.registers[r.STATUS] == 0
    engine.close()
    assert not device.live


def test_a_frame_reaches_no_other_frame(device: FakeDevice, deployment):
    engine = Engine(device, deployment)
    first, second = engine.slots[:2]
    engine.run(first)
    other = second.buffer.device_address
    assert not device._window_holds(other, other + 16)
    assert not device._window_holds(second.output_address, second.output_address + 16)
    assert np.all(first.output[:4] == first.input[:4])
    engine.close()
