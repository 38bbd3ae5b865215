"""The PYNQ device against a stand-in of the pynq package; not run on hardware."""

from __future__ import annotations

import asyncio
import sys
import time
import types
from pathlib import Path

import numpy as np
import pytest
from host_fakes import FakeDevice, first_bytes, layout_json, write_deploy

from fpga_gen_host import Accelerator, DeviceError
from fpga_gen_host import accelerator as accelerator_module
from fpga_gen_host import pynq_device as module
from fpga_gen_host import registers as r
from fpga_gen_host.power import PowerSensor
from fpga_gen_host.pynq_device import PynqDevice, bind_driver

VLNV = "xilinx.com:module_ref:fpga_gen_top:1.0"


class Raw(np.ndarray):
    """What pynq.allocate returns: an array that knows its address."""

    def __new__(cls, fake: FakeDevice, nbytes: int) -> Raw:
        made = np.zeros(nbytes, np.uint8).view(cls)
        made.fake = fake.allocate(nbytes)
        made.device_address = made.fake.device_address
        return made

    def __array_finalize__(self, other: object) -> None:
        """Views carry no address."""

    def flush(self) -> None:
        self.fake.array[:] = self
        self.fake.flush()

    def invalidate(self) -> None:
        self.fake.invalidate()
        self[:] = self.fake.array

    def freebuffer(self) -> None:
        self.fake.free()


class Interrupt:
    """Like pynq's: a coroutine that belongs to the loop in which it was made."""

    def __init__(self, fake: FakeDevice) -> None:
        self.loop = asyncio.get_running_loop()
        self.fake, self.waits = fake, 0

    async def wait(self) -> None:
        assert asyncio.get_running_loop() is self.loop
        self.waits += 1
        while not self.fake.read(r.STATUS) & (r.STATUS_DONE_MASK | r.STATUS_ERROR_MASK):
            await asyncio.sleep(0.001)


@pytest.fixture
def fake() -> FakeDevice:
    return FakeDevice(first_bytes(layout_json()["output"]["bytes"]), seconds=0.02)


@pytest.fixture
def pynq(fake: FakeDevice, monkeypatch):
    """A module `pynq` with one accelerator in a hierarchy."""
    fakes = types.SimpleNamespace(types=[VLNV], interrupt=True, remote=False, loaded=[], bound={})
    fakes.mhz, fakes.clock, fakes.clock_reads = 199.998, {"frequency": 199.998}, 0

    class DefaultIP:
        def __init_subclass__(cls) -> None:
            fakes.bound.update(dict.fromkeys(cls.bindto, cls))

        def __init__(self) -> None:
            def has_capability(name: str) -> bool:
                return fakes.remote and name == "REMOTE"

            self.device = types.SimpleNamespace(has_capability=has_capability)
            if fakes.interrupt:
                self.interrupt = Interrupt(fake)

        def read(self, offset: int) -> int:
            return fake.read(offset)

        def write(self, offset: int, value: int) -> None:
            fake.write(offset, value)

    class Overlay:
        def __init__(self, path: str, download: bool) -> None:
            if not Path(path).is_file():
                raise OSError("no such bitstream")
            fakes.loaded.append((Path(path).name, download))
            kinds = enumerate(fakes.types)
            self.ip_dict = {f"shell/engine{k}": {"type": kind} for k, kind in kinds}
            self.ip_dict["shell/timer"] = {"type": "xilinx.com:ip:axi_timer:2.0"}
            self.clock_dict = {0: dict(fakes.clock)}
            self.shell = types.SimpleNamespace()
            for k, kind in enumerate(fakes.types):
                setattr(self.shell, f"engine{k}", fakes.bound[kind]())

    def allocate(shape: tuple[int, ...], dtype: type) -> Raw:
        assert dtype is np.uint8
        return Raw(fake, shape[0])

    class Clocks:
        @property
        def fclk0_mhz(self) -> float:
            fakes.clock_reads += 1
            return fakes.mhz

    stand_in = types.SimpleNamespace(
        DefaultIP=DefaultIP, Overlay=Overlay, allocate=allocate, Clocks=Clocks()
    )
    monkeypatch.setitem(sys.modules, "pynq", stand_in)
    bind_driver.cache_clear()
    yield fakes
    bind_driver.cache_clear()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = write_deploy(tmp_path / "deploy")
    (path / "design.bit").write_bytes(b"bits")
    (path / "design.hwh").write_text("<xml/>")
    return path


@pytest.mark.parametrize("interrupt", [True, False])
def test_frames_through_pynq(pynq, fake: FakeDevice, folder: Path, interrupt: bool):
    pynq.interrupt = interrupt
    picture = np.full((8, 12, 3), 200, np.uint8)
    with Accelerator(folder) as opened:
        device = opened._device
        assert isinstance(device, PynqDevice)
        assert device.uses_interrupt is interrupt
        first = opened.run(picture)["mask"]
        assert np.ptp(first) == 0
        assert first.max() > 10
        for outputs in opened.run_many([picture] * 3):
            assert np.array_equal(outputs["mask"], first)
        if interrupt:
            assert device._interrupt.waits >= 4
    assert pynq.loaded == [("design.bit", True)]
    assert not fake.live
    assert not device._thread.is_alive()


def test_a_remote_board(pynq, fake: FakeDevice, folder: Path, monkeypatch):
    """PYNQ.remote gives an object for the pin whose `wait` only raises. Sensors of this machine are
    not the board's."""
    sensor = PowerSensor("battery", "battery", folder)
    monkeypatch.setattr(accelerator_module, "board_sensor", lambda: sensor)
    with Accelerator(folder) as opened:
        assert opened.power is sensor
    pynq.remote = True
    with Accelerator(folder) as opened:
        assert not opened._device.uses_interrupt
        assert opened.power is None
        opened.run(np.zeros((8, 12, 3), np.uint8))
        assert opened._device._ip.interrupt.waits == 0


def test_polls_grow_apart_with_the_time_of_a_frame(pynq, folder: Path, monkeypatch):
    pynq.interrupt = False
    device = PynqDevice(folder / "design.bit")
    slept: list[float] = []
    monkeypatch.setattr(module.time, "sleep", slept.append)
    device.write(r.WATCHDOG, 0)
    device.wait(1.0)
    device._commanded -= 10.0  # seconds ago
    device.wait(1.0)
    device.wait(0.05)
    assert slept[0] == pytest.approx(module.POLL_S, rel=0.5)
    assert 0.2 <= slept[1] < 0.21
    assert slept[2] == 0.05
    device.close()


def test_a_connection_that_breaks_is_one_clear_line(pynq, fake: FakeDevice, folder: Path):
    class RpcError(Exception):
        """Looks like gRPC's."""

        def details(self) -> str:
            return "Connection reset by peer"

    device = PynqDevice(folder / "design.bit")
    buffer = device.allocate(16)

    def broken(*_: object) -> None:
        raise RpcError("three\nlines\nof text")

    for target, names in ((device._ip, ("read", "write")), (buffer._raw, ("flush", "freebuffer"))):
        for name in names:
            setattr(target, name, broken)
    uses = (lambda: device.read(0), lambda: device.write(0, 1), buffer.flush, buffer.free)
    for use in uses:
        with pytest.raises(DeviceError, match=r"Connection reset by peer\): is the board"):
            use()
    buffer.free()  # a second call does nothing
    device.close()


def test_wait_ends_without_an_interrupt(pynq, fake: FakeDevice, folder: Path):
    device = PynqDevice(folder / "design.bit")
    began = time.monotonic()
    device.wait(0.05)
    assert time.monotonic() - began > 0.04
    device.close()
    device.close()


@pytest.mark.parametrize("kinds", [[], [VLNV, VLNV]])
def test_not_one_accelerator(pynq, folder: Path, kinds: list[str]):
    pynq.types = kinds
    with pytest.raises(DeviceError, match=f"holds {len(kinds)} fpga-gen accelerators"):
        PynqDevice(folder / "design.bit")


def test_bitstream_that_cannot_be_loaded(pynq, tmp_path: Path):
    with pytest.raises(DeviceError, match=r"none.bit: cannot be loaded"):
        PynqDevice(tmp_path / "none.bit")


@pytest.fixture
def two_clocks(folder: Path) -> Path:
    """The deploy folder of an engine with a second clock."""
    return write_deploy(folder, parameters={"ports": 4, "double_clock": True})


@pytest.mark.parametrize("clock", [{"frequency": 199.998}, {"divisor0": 5}], ids=["pynq4", "pynq3"])
def test_pl_clock_of_a_clock_generator(pynq, fake: FakeDevice, two_clocks: Path, clock: dict):
    pynq.clock = clock
    with Accelerator(two_clocks, download=False) as opened:
        opened.run(np.zeros((8, 12, 3), np.uint8))
    for changed in (100.0, 214.3):
        pynq.mhz = changed
        with pytest.raises(DeviceError, match=rf"PL clock of .* changed to {changed:g}: load"):
            Accelerator(two_clocks, download=False)
    assert not fake.live


def test_pl_clock_may_change_where_it_is_the_accelerators(pynq, folder: Path):
    pynq.mhz = 100.0
    with Accelerator(folder, download=False):
        assert pynq.clock_reads == 0


def test_no_contiguous_memory(pynq, fake: FakeDevice, folder: Path):
    fake.memory = 10_000
    with pytest.raises(DeviceError, match="of contiguous memory"):
        Accelerator(folder)
    assert not fake.live


def test_all_names_are_bound(pynq):
    bind_driver()
    assert set(pynq.bound) == set(module.VLNVS)


def test_without_pynq(folder: Path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pynq", None)
    bind_driver.cache_clear()
    with pytest.raises(DeviceError, match="pynq cannot be imported"):
        Accelerator(folder)
