"""WritePort with cocotbext-axi memories."""

from __future__ import annotations

import random

import cocotb
from cocotbext.axi import AxiRamWrite, AxiSlaveWrite, AxiWriteBus

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
    send,
    start_dma,
    transfer,
    write_channels,
)


async def set_up(dut, rng, slave, pause: float = 0.4) -> AddressWatch:
    memories = {"aw": (write_channels(slave), pause)}
    (watch,) = await start_dma(dut, rng, memories, transfer__valid=0, data__valid=0)
    return watch


async def write(dut, rng, address: int, image: bytes, gap: float = 0.3) -> None:
    """Write `image` and wait until it is answered."""
    beats = [int.from_bytes(image[i : i + BYTES], "little") for i in range(0, len(image), BYTES)]
    command = cocotb.start_soon(send(dut, "transfer", [transfer(address, len(beats))], rng))
    await send(dut, "data", beats, rng, gap)
    await command
    while not dut.idle.value:
        await cycles(dut, 1)


@cocotb.test(timeout_time=LIMIT_US, timeout_unit="us")
async def random_transfers(top):
    dut = Scope(top, "write")
    rng = random.Random(cocotb.RANDOM_SEED)
    ram = AxiRamWrite(AxiWriteBus.from_prefix(top, "write_"), dut.clk, dut.rst, size=MEMORY_SIZE)
    watch = await set_up(dut, rng, ram)
    model = bytearray(WINDOW[1])
    ram.write(0, bytes(WINDOW[1]))
    for _ in range(8):
        address = WINDOW[0] + BYTES * rng.randrange(5000)
        image = rng.randbytes(BYTES * rng.choice([1, 5, 64, 150]))
        model[address : address + len(image)] = image
        await write(dut, rng, address, image, gap=rng.choice([0, 0.6]))
    assert ram.read(0, WINDOW[1]) == model
    watch.verify()


@cocotb.test(timeout_time=LIMIT_US, timeout_unit="us")
async def violation_then_good(top):
    dut = Scope(top, "write")
    rng = random.Random(cocotb.RANDOM_SEED + 1)
    ram = AxiRamWrite(AxiWriteBus.from_prefix(top, "write_"), dut.clk, dut.rst, size=MEMORY_SIZE)
    watch = await set_up(dut, rng, ram)
    await send(dut, "data", [1, 2], rng)
    await send(dut, "transfer", [transfer(WINDOW[0] - BYTES, 2)], rng)
    await cycles(dut, 50)
    assert dut.violation.value == 1
    assert watch.bursts == []
    await flush(dut, "drained")
    image = rng.randbytes(80 * BYTES)
    await write(dut, rng, WINDOW[0] + 0x7F0, image)
    assert ram.read(WINDOW[0] + 0x7F0, len(image)) == image
    watch.verify()


@cocotb.test(timeout_time=LIMIT_US, timeout_unit="us")
async def error_response_then_good(top):
    dut = Scope(top, "write")
    rng = random.Random(cocotb.RANDOM_SEED + 2)
    memory = FaultyMemory(MEMORY_SIZE)
    memory.bad = range(WINDOW[0] + 0x500, WINDOW[0] + 0x510)
    slave = AxiSlaveWrite(AxiWriteBus.from_prefix(top, "write_"), dut.clk, dut.rst, target=memory)
    watch = await set_up(dut, rng, slave)
    await write(dut, rng, WINDOW[0], rng.randbytes(100 * BYTES))
    await cycles(dut, 2)
    assert dut.failed.value == 1
    assert int(dut.failed_response.value) == 2
    await flush(dut, "drained")
    assert dut.failed.value == 0
    image = rng.randbytes(70 * BYTES)
    await write(dut, rng, WINDOW[0] + 0x1000, image)
    assert dut.failed.value == 0
    assert await memory.read(WINDOW[0] + 0x1000, len(image)) == image
    watch.verify()


@cocotb.test(timeout_time=LIMIT_US, timeout_unit="us")
async def flush_in_the_middle_then_good(top):
    dut = Scope(top, "write")
    rng = random.Random(cocotb.RANDOM_SEED + 3)
    ram = AxiRamWrite(AxiWriteBus.from_prefix(top, "write_"), dut.clk, dut.rst, size=MEMORY_SIZE)
    watch = await set_up(dut, rng, ram, pause=0.6)
    for wait in (20, 70, 100, 180):
        await send(dut, "transfer", [transfer(WINDOW[0], 900)], rng)
        producer = cocotb.start_soon(send(dut, "data", range(900), rng, gap=0))
        await cycles(dut, wait)
        producer.cancel()
        dut.data__valid.value = 0
        await flush(dut, "drained")
        written = sum(n for _, n in watch.bursts)
        watch.bursts.clear()
        got = ram.read(WINDOW[0], written * BYTES)
        assert got == b"".join(i.to_bytes(BYTES, "little") for i in range(written))
        image = rng.randbytes(80 * BYTES)
        await write(dut, rng, WINDOW[0] + 0x5000, image)
        assert ram.read(WINDOW[0] + 0x5000, len(image)) == image
        watch.bursts.clear()
    watch.verify()
