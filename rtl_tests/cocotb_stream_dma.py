"""StreamDma (two ports) with one cocotbext-axi memory per port."""

from __future__ import annotations

import random

import cocotb
from cocotbext.axi import AxiRamRead, AxiReadBus

from rtl_tests.cocotb_common import (
    BYTES,
    LIMIT_US,
    WINDOW,
    Scope,
    cycles,
    flush,
    read_channels,
    receive,
    send,
    start_dma,
    transfer,
)

PORTS = 2


async def set_up(dut, rng, pause: float):
    """(image, watches): both memories hold the same random image."""
    image = rng.randbytes(WINDOW[1])
    memories = {}
    for k in range(PORTS):
        bus = AxiReadBus.from_prefix(dut.top, f"stream__m_axi_{k}")
        ram = AxiRamRead(bus, dut.clk, dut.rst, size=len(image))
        ram.write(0, image)
        memories[f"m_axi_{k}_ar"] = (read_channels(ram), pause + 0.1 * k)
    watches = await start_dma(dut, rng, memories, descriptor__valid=0, words__ready=0)
    return image, watches


def words_of(image: bytes, address: int, words: int) -> list[int]:
    def beat(port: int, i: int) -> bytes:
        at = address + (port * words + i) * BYTES
        return image[at : at + BYTES]

    return [
        int.from_bytes(b"".join(beat(k, i) for k in range(PORTS)), "little") for i in range(words)
    ]


@cocotb.test(timeout_time=LIMIT_US, timeout_unit="us")
async def random_descriptors(top):
    dut = Scope(top, "stream")
    rng = random.Random(cocotb.RANDOM_SEED)
    image, watches = await set_up(dut, rng, 0.3)
    commands = [
        (WINDOW[0] + BYTES * rng.randrange(5000), rng.choice([1, 3, 20, 70, 200]))
        for _ in range(20)
    ]
    want = [word for c in commands for word in words_of(image, *c)]
    cocotb.start_soon(send(dut, "descriptor", [transfer(*c) for c in commands], rng, gap=0))
    assert await receive(dut, "words", len(want), rng) == want
    for watch in watches:
        watch.verify()
        assert sum(n for _, n in watch.bursts) == len(want)


@cocotb.test(timeout_time=LIMIT_US, timeout_unit="us")
async def violation_of_one_port(top):
    dut = Scope(top, "stream")
    rng = random.Random(cocotb.RANDOM_SEED + 1)
    _, watches = await set_up(dut, rng, 0.3)
    await send(dut, "descriptor", [transfer(WINDOW[1] - 90 * BYTES, 50)], rng)
    await cycles(dut, 60)
    assert int(dut.violation.value) == 0b10
    assert watches[1].bursts == []
    watches[0].verify()


@cocotb.test(timeout_time=LIMIT_US, timeout_unit="us")
async def flush_in_the_middle_then_good(top):
    dut = Scope(top, "stream")
    rng = random.Random(cocotb.RANDOM_SEED + 2)
    image, watches = await set_up(dut, rng, 0.5)
    for wait in (3, 12, 60):
        old = [transfer(WINDOW[0] + 0x1000 * i, 100) for i in range(8)]
        await send(dut, "descriptor", old, rng, gap=0)
        await cycles(dut, wait)
        await flush(dut, "idle", silent="words")
        good = (WINDOW[0] + 0x2030, 75)
        cocotb.start_soon(send(dut, "descriptor", [transfer(*good)], rng))
        assert await receive(dut, "words", 75, rng) == words_of(image, *good)
    for watch in watches:
        watch.verify()
