"""Shared by the cocotb testbenches: clock, streams, random pauses, AXI rule checks, bad memory."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge, RisingEdge
from cocotbext.axi import (
    AxiLiteBus,
    AxiLiteMaster,
    AxiReadBus,
    AxiSlaveRead,
    AxiSlaveWrite,
    AxiWriteBus,
    MemoryRegion,
)

from fpga_gen_host.regions import BEAT_BYTES as BYTES
from fpga_gen_host.registers import constants

LIMIT_US = 400  # every test ends within this simulated time, at 10 ns per cycle
MEMORY_SIZE = 1 << 22
WINDOW = (0x10000, 0x80000)  # of the DMA blocks
R = constants()


class Scope:
    """The ports of one block of the bench: attribute `x` is the port `<name>__x`."""

    def __init__(self, top, name: str) -> None:
        self.top, self.name = top, name
        self.clk, self.rst = top.clk, top.rst

    def __getattr__(self, port: str):
        return getattr(self.top, f"{self.name}__{port}")


async def start(dut, **inputs: int) -> None:
    """Clock, all given inputs, then 4 cycles of reset."""
    for name, value in inputs.items():
        getattr(dut, name).value = value
    dut.rst.value = 1
    cocotb.start_soon(Clock(dut.clk, 10, unit="ns").start())
    for _ in range(4):
        await RisingEdge(dut.clk)
    await FallingEdge(dut.clk)
    dut.rst.value = 0


async def cycles(dut, count: int) -> None:
    for _ in range(count):
        await RisingEdge(dut.clk)


def pauses(rng: random.Random, probability: float) -> Iterator[bool]:
    """Random back-pressure for the channels of cocotbext-axi."""
    while True:
        yield rng.random() < probability


def pause_all(channels, rng: random.Random, probability: float) -> None:
    for channel in channels:
        channel.set_pause_generator(pauses(rng, probability))


def read_channels(side) -> list:
    """Channels of the reading half of an AXI master or slave."""
    return [side.ar_channel, side.r_channel]


def write_channels(side) -> list:
    """Channels of the writing half of an AXI master or slave."""
    return [side.aw_channel, side.w_channel, side.b_channel]


def lite_channels(master: AxiLiteMaster) -> list:
    """All channels of an AXI4-Lite master."""
    return write_channels(master.write_if) + read_channels(master.read_if)


class FaultyMemory(MemoryRegion):
    """Memory that answers SLVERR for accesses to `bad` (byte addresses)."""

    bad = range(0)

    async def read(self, address, length, **kwargs):
        if address in self.bad:
            raise ValueError("bad address")
        return await super().read(address, length, **kwargs)

    async def write(self, address, data, **kwargs):
        if address in self.bad:
            raise ValueError("bad address")
        await super().write(address, data, **kwargs)


async def send(dut, name: str, values, rng: random.Random, gap: float = 0.3) -> None:
    """Drive `values` into the stream `name` of the component."""
    valid, ready = getattr(dut, f"{name}__valid"), getattr(dut, f"{name}__ready")
    for value in values:
        while rng.random() < gap:
            await FallingEdge(dut.clk)
        getattr(dut, f"{name}__payload").value = value
        valid.value = 1
        while True:
            await RisingEdge(dut.clk)
            accepted = int(ready.value)
            await FallingEdge(dut.clk)
            if accepted:
                break
        valid.value = 0


async def receive(dut, name: str, count: int, rng: random.Random, gap: float = 0.3) -> list[int]:
    """The next `count` payloads of the stream `name`."""
    valid, ready = getattr(dut, f"{name}__valid"), getattr(dut, f"{name}__ready")
    out: list[int] = []
    while len(out) < count:
        offer = rng.random() >= gap
        ready.value = offer
        await RisingEdge(dut.clk)
        if offer and int(valid.value):
            out.append(int(getattr(dut, f"{name}__payload").value))
        await FallingEdge(dut.clk)
    ready.value = 0
    return out


class AddressWatch:
    """Checks every AR or AW handshake: burst rules, window, stability; keeps (address, beats)."""

    def __init__(self, dut, prefix: str, window: tuple[int, int]) -> None:
        self.dut, self.prefix, self.window = dut, prefix, window
        self.bursts: list[tuple[int, int]] = []
        self.broken: list[str] = []
        cocotb.start_soon(self._run())

    def _pin(self, name: str) -> int:
        return int(getattr(self.dut, self.prefix + name).value)

    async def _run(self) -> None:
        waiting = None
        while True:
            await RisingEdge(self.dut.clk)
            now = (self._pin("valid"), self._pin("addr"), self._pin("len"))
            if waiting and now != waiting:
                self.broken.append(f"{waiting} became {now} before ready")
            waiting = now if now[0] and not self._pin("ready") else None
            if now[0] and self._pin("ready"):
                self._check(now[1], now[2] + 1)

    def _check(self, address: int, beats: int) -> None:
        self.bursts.append((address, beats))
        last = address + beats * BYTES - 1
        rules = {
            "aligned": address % BYTES == 0,
            "at most 64 beats": beats <= 64,
            "inside 4 KB": address // 4096 == last // 4096,
            "16-byte INCR": (self._pin("size"), self._pin("burst")) == (4, 1),
            "cache and prot": (self._pin("cache"), self._pin("prot")) == (3, 0),
            "inside the window": self.window[0] <= address and last < self.window[1],
        }
        self.broken += [f"{address:#x}+{beats}: not {name}" for name, ok in rules.items() if not ok]

    def verify(self) -> None:
        assert not self.broken, self.broken[:5]


class Driven:
    """A design between AXI slaves on one memory of `size` bytes and the AXI4-Lite master that
    drives it; its pins have the names of axi_names."""

    def __init__(self, dut, rng: random.Random, size: int, ports: int) -> None:
        self.dut, self.rng = dut, rng
        self.memory = FaultyMemory(size)
        self.watches: list[AddressWatch] = []
        self.csr = AxiLiteMaster(AxiLiteBus.from_prefix(dut, "s_axi"), dut.clk, dut.rst)
        self.readers = [
            AxiSlaveRead(self._bus(AxiReadBus, k), dut.clk, dut.rst, target=self.memory)
            for k in range(ports)
        ]
        bus = self._bus(AxiWriteBus, 0)
        self.writer = AxiSlaveWrite(bus, dut.clk, dut.rst, target=self.memory)

    def _bus(self, kind: type, port: int):
        return kind.from_prefix(self.dut, f"m_axi_{port}")

    async def begin(
        self, pause: float, reads: tuple[int, int], writes: tuple[int, int], **inputs: int
    ) -> None:
        """Clock, inputs and reset; from now on all channels pause, and the addresses are watched
        to lie in these byte ranges."""
        await start(self.dut, **inputs)
        self.back_pressure(pause)
        for k in range(len(self.readers)):
            self.watches.append(AddressWatch(self.dut, f"m_axi_{k}_ar", reads))
        self.watches.append(AddressWatch(self.dut, "m_axi_0_aw", writes))

    def back_pressure(self, pause: float) -> None:
        """Every channel of memory and driver pauses at random."""
        for reader in self.readers:
            pause_all(read_channels(reader), self.rng, pause)
        pause_all(write_channels(self.writer) + lite_channels(self.csr), self.rng, pause)

    async def write(self, name: str, value: int) -> None:
        await self.csr.write_dword(R[name], value)

    async def read(self, name: str) -> int:
        return await self.csr.read_dword(R[name])

    async def write_addresses(self, **values: int) -> None:
        """Write register pairs <name>_LO, <name>_HI."""
        for name, value in values.items():
            await self.write(f"{name}_LO", value)
            await self.write(f"{name}_HI", 0)

    async def start(self) -> None:
        await self.write("CONTROL", R["CONTROL_START_MASK"] | R["CONTROL_IRQ_ENABLE_MASK"])

    async def interrupt(self) -> int:
        """STATUS once the interrupt is up."""
        while not self.dut.interrupt.value:
            await RisingEdge(self.dut.clk)
        return await self.read("STATUS")

    async def acknowledge(self) -> None:
        """Clear done and error; the interrupt falls."""
        await self.write("STATUS", R["STATUS_DONE_MASK"] | R["STATUS_ERROR_MASK"])
        await cycles(self.dut, 3)
        assert self.dut.interrupt.value == 0

    async def settled(self) -> None:
        while await self.read("STATUS") & R["STATUS_DRAINING_MASK"]:
            pass

    def verify(self) -> None:
        for watch in self.watches:
            watch.verify()


def case_of(system_class: type[Driven]):
    """Decorator of cocotb tests: the test gets a system that is set up, and its addresses are
    verified afterwards."""

    def decorate(function):
        async def wrapper(dut):
            system = system_class(dut, random.Random(f"{cocotb.RANDOM_SEED} {function.__name__}"))
            await system.set_up()
            await function(system)
            system.verify()

        wrapper.__name__ = wrapper.__qualname__ = function.__name__
        return cocotb.test(timeout_time=LIMIT_US, timeout_unit="us")(wrapper)

    return decorate


def windows(*ranges: tuple[int, int]) -> int:
    """Value of the packed `windows` input for byte ranges [base, limit)."""
    value = 0
    for k, (base, limit) in enumerate(ranges):
        value |= (base // BYTES | (limit // BYTES) << 36) << 72 * k
    return value


def transfer(address: int, beats: int) -> int:
    """A packed TRANSFER."""
    return address // BYTES | beats << 36


async def start_dma(
    dut,
    rng: random.Random,
    memories: Mapping[str, tuple[Sequence, float]],
    **inputs: int,
) -> list[AddressWatch]:
    """Start a DMA block with the window `WINDOW`, its memories pausing at random.

    memories: by the beginning of the address channel's ports, its channels and their pauses.
    """
    await start(dut, flush=0, windows=windows(WINDOW), **inputs)
    for channels, pause in memories.values():
        pause_all(channels, rng, pause)
    return [AddressWatch(dut, prefix, WINDOW) for prefix in memories]


async def flush(dut, done: str, silent: str = "") -> None:
    """Hold `flush` until the output `done` is up; the stream `silent` offers nothing meanwhile."""
    dut.flush.value = 1
    await cycles(dut, 4)
    while not getattr(dut, done).value:
        assert not silent or getattr(dut, f"{silent}__valid").value == 0
        await cycles(dut, 1)
    dut.flush.value = 0
    await cycles(dut, 1)
