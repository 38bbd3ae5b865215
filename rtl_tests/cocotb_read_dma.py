"""ReadPort with cocotbext-axi memories."""

from __future__ import annotations

import random

import cocotb
from cocotbext.axi import AxiRamRead, AxiReadBus, AxiSlaveRead

from rtl_tests.cocotb_common import (
    BYTES,
    LIMIT_US,
    MEMORY_SIZE,
    WINDOW,
    AddressWatch,
    FaultyMemory,
    Scope,
    cycles,
    flush,
    read_channels,
    receive,
    send,
    start_dma,
    transfer,
)


async def set_up(dut, rng, slave, pause: float = 0.4) -> AddressWatch:
    memories = {"ar": (read_channels(slave), pause)}
    (watch,) = await start_dma(dut, rng, memories, transfer__valid=0, data__ready=0)
    return watch


def fill(memory, rng) -> bytes:
    image = rng.randbytes(WINDOW[1])
    memory.write(0, image)
    return image


def beats_of(image: bytes, address: int, beats: int) -> list[int]:
    return [
        int.from_bytes(image[address + i * BYTES : address + (i + 1) * BYTES], "little")
        for i in range(beats)
    ]


@cocotb.test(timeout_time=LIMIT_US, timeout_unit="us")
async def random_transfers(top):
    dut = Scope(top, "read")
    rng = random.Random(cocotb.RANDOM_SEED)
    ram = AxiRamRead(AxiReadBus.from_prefix(top, "read_"), dut.clk, dut.rst, size=MEMORY_SIZE)
    image = fill(ram, rng)
    watch = await set_up(dut, rng, ram)
    commands = [
        (WINDOW[0] + BYTES * rng.randrange(5000), rng.choice([1, 5, 64, 257])) for _ in range(10)
    ]
    want = [beat for c in commands for beat in beats_of(image, *c)]
    cocotb.start_soon(send(dut, "transfer", [transfer(*c) for c in commands], rng))
    assert await receive(dut, "data", len(want), rng) == want
    watch.verify()
    assert sum(n for _, n in watch.bursts) == len(want)
    await cycles(dut, 3)
    assert dut.idle.value == 1


@cocotb.test(timeout_time=LIMIT_US, timeout_unit="us")
async def violation_then_good(top):
    dut = Scope(top, "read")
    rng = random.Random(cocotb.RANDOM_SEED + 1)
    ram = AxiRamRead(AxiReadBus.from_prefix(top, "read_"), dut.clk, dut.rst, size=MEMORY_SIZE)
    image = fill(ram, rng)
    watch = await set_up(dut, rng, ram)
    await send(dut, "transfer", [transfer(WINDOW[1] - 16, 2)], rng)
    await cycles(dut, 50)
    assert dut.violation.value == 1
    assert watch.bursts == []
    await flush_and_read(dut, rng, image)
    watch.verify()


@cocotb.test(timeout_time=LIMIT_US, timeout_unit="us")
async def error_response_then_good(top):
    dut = Scope(top, "read")
    rng = random.Random(cocotb.RANDOM_SEED + 2)
    memory = FaultyMemory(MEMORY_SIZE)
    memory.bad = range(WINDOW[0] + 0x500, WINDOW[0] + 0x510)
    slave = AxiSlaveRead(AxiReadBus.from_prefix(top, "read_"), dut.clk, dut.rst, target=memory)
    image = rng.randbytes(WINDOW[1])
    await memory.write(0, image[: memory.bad.start])
    await memory.write(memory.bad.stop, image[memory.bad.stop :])
    watch = await set_up(dut, rng, slave)
    await send(dut, "transfer", [transfer(WINDOW[0], 100)], rng)
    await receive(dut, "data", 100, rng)
    assert dut.failed.value == 1
    assert int(dut.failed_response.value) == 2
    await flush_and_read(dut, rng, image)
    assert dut.failed.value == 0
    watch.verify()


@cocotb.test(timeout_time=LIMIT_US, timeout_unit="us")
async def flush_in_the_middle_then_good(top):
    dut = Scope(top, "read")
    rng = random.Random(cocotb.RANDOM_SEED + 3)
    ram = AxiRamRead(AxiReadBus.from_prefix(top, "read_"), dut.clk, dut.rst, size=MEMORY_SIZE)
    image = fill(ram, rng)
    watch = await set_up(dut, rng, ram, pause=0.6)
    for wait in (5, 9, 40, 150):
        await send(dut, "transfer", [transfer(WINDOW[0] + 0x3F0, 900)], rng)
        await cycles(dut, wait)
        await flush_and_read(dut, rng, image)
    watch.verify()


async def flush_and_read(dut, rng, image: bytes) -> None:
    await flush(dut, "idle")  # whoever takes the beats drops those of a flush
    good = (WINDOW[0] + 0x7F0, 80)
    cocotb.start_soon(send(dut, "transfer", [transfer(*good)], rng))
    assert await receive(dut, "data", 80, rng) == beats_of(image, *good)
