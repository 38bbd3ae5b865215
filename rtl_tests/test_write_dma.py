"""WritePort against a memory with random readiness and response latency."""

from __future__ import annotations

import random

import pytest

from fpga_gen.hardware.shell.write_dma import MAX_RESPONSES, WritePort
from rtl_tests.axi_bench import BYTES, WriteMemory, open_windows
from rtl_tests.bench import send, simulate

WINDOW = (0x10_0000, 0x20_0000)


def command(address: int, beats: int) -> dict[str, int]:
    return {"address": address // BYTES, "beats": beats}


async def until_idle(ctx, dut) -> None:
    while not ctx.get(dut.idle):
        await ctx.tick()


@pytest.mark.parametrize("seed", range(4))
def test_every_beat_lands(seed):
    rng = random.Random(seed)
    dut = WritePort(depth=128)
    memory = WriteMemory(dut, rng, gap=[0.0, 0.2, 0.5, 0.7][seed])
    at, commands, want = WINDOW[0], [], {}
    for _ in range(8):
        at += BYTES * rng.randrange(300)
        commands.append(command(at, rng.choice([0, 1, 2, 63, 64, 65, 200])))
        for _ in range(commands[-1]["beats"]):
            want[at] = rng.getrandbits(128)
            at += BYTES

    async def give_commands(ctx):
        open_windows(ctx, dut.windows, WINDOW)
        await send(ctx, dut.transfer, commands, rng)

    async def give_data(ctx):
        await send(ctx, dut.data, list(want.values()), rng, gap=[0, 0.5, 0.3, 0.0][seed])
        await ctx.tick().repeat(3)
        await until_idle(ctx, dut)
        assert memory.data == want
        assert ctx.get(dut.drained)
        assert not ctx.get(dut.failed)
        assert not ctx.get(dut.violation)

    simulate(dut, give_commands, give_data, background=[memory.run])


def test_idle_falls_with_the_transfer_and_rises_after_the_response():
    rng = random.Random(1)
    dut = WritePort(depth=128)
    memory = WriteMemory(dut, rng)

    async def bench(ctx):
        open_windows(ctx, dut.windows, WINDOW)
        await send(ctx, dut.transfer, [command(WINDOW[0], 3)], rng, gap=0)
        assert not ctx.get(dut.idle)
        await send(ctx, dut.data, [1, 2, 3], rng)
        await until_idle(ctx, dut)
        assert memory.unanswered == 0
        assert memory.data == {WINDOW[0] + BYTES * i: i + 1 for i in range(3)}

    simulate(dut, bench, background=[memory.run])


def test_no_address_before_its_data():
    rng = random.Random(2)
    dut = WritePort(depth=128)
    memory = WriteMemory(dut, rng, gap=0.0)

    async def bench(ctx):
        open_windows(ctx, dut.windows, WINDOW)
        await send(ctx, dut.transfer, [command(WINDOW[0], 64)], rng)
        await send(ctx, dut.data, range(63), rng, gap=0)
        await ctx.tick().repeat(50)
        assert memory.bursts == []
        await send(ctx, dut.data, [63], rng)
        await until_idle(ctx, dut)
        assert memory.bursts == [(WINDOW[0], 64)]

    simulate(dut, bench, background=[memory.run])


def test_full_throughput():
    rng = random.Random(3)
    dut = WritePort()
    memory = WriteMemory(dut, rng, gap=0.0, latency=5)
    cycles = 0

    async def bench(ctx):
        nonlocal cycles
        open_windows(ctx, dut.windows, WINDOW)
        await send(ctx, dut.transfer, [command(WINDOW[0], 640)], rng, gap=0)
        await send(ctx, dut.data, range(640), rng, gap=0)
        while not ctx.get(dut.idle):
            await ctx.tick()
            cycles += 1
        assert len(memory.data) == 640

    simulate(dut, bench, background=[memory.run])
    assert cycles < 64 + 40  # only the last burst is left when its last beat arrives


def test_unanswered_bursts_are_bounded():
    rng = random.Random(4)
    dut = WritePort(depth=128)
    memory = WriteMemory(dut, rng, gap=0.0, latency=0)
    memory.silent = True
    count = MAX_RESPONSES + 3

    async def bench(ctx):
        open_windows(ctx, dut.windows, WINDOW)
        await send(ctx, dut.data, range(count), rng, gap=0)
        commands = [command(WINDOW[0] + i * BYTES, 1) for i in range(count)]
        await send(ctx, dut.transfer, commands[:-1], rng, gap=0)
        await ctx.tick().repeat(50)
        assert memory.unanswered == MAX_RESPONSES
        memory.silent = False
        await send(ctx, dut.transfer, commands[-1:], rng, gap=0)
        await until_idle(ctx, dut)
        assert list(memory.data.values()) == list(range(count))

    simulate(dut, bench, background=[memory.run])


@pytest.mark.parametrize("address", [WINDOW[0] - BYTES, WINDOW[1] - BYTES])
def test_violation_issues_nothing(address):
    rng = random.Random(5)
    dut = WritePort(depth=128)
    memory = WriteMemory(dut, rng)

    async def bench(ctx):
        open_windows(ctx, dut.windows, WINDOW)
        await send(ctx, dut.data, range(10), rng)
        await send(ctx, dut.transfer, [command(address, 2)], rng)
        await ctx.tick().repeat(50)
        assert ctx.get(dut.violation)
        assert memory.bursts == []
        ctx.set(dut.flush, 1)
        await ctx.tick().repeat(20)
        assert ctx.get(dut.drained)
        ctx.set(dut.flush, 0)
        await send(ctx, dut.transfer, [command(WINDOW[0], 2)], rng)
        await send(ctx, dut.data, [7, 8], rng)
        await until_idle(ctx, dut)
        assert memory.data == {WINDOW[0]: 7, WINDOW[0] + BYTES: 8}

    simulate(dut, bench, background=[memory.run])


def test_write_error_is_sticky_until_flush():
    rng = random.Random(6)
    dut = WritePort(depth=128)
    memory = WriteMemory(dut, rng, bad=range(WINDOW[0], WINDOW[0] + 1))

    async def bench(ctx):
        open_windows(ctx, dut.windows, WINDOW)
        await send(ctx, dut.transfer, [command(WINDOW[0], 1), command(WINDOW[0] + 64, 1)], rng)
        await send(ctx, dut.data, [1, 2], rng)
        await until_idle(ctx, dut)
        await ctx.tick()
        assert ctx.get(dut.failed)
        assert ctx.get(dut.failed_response) == 2
        ctx.set(dut.flush, 1)
        await ctx.tick().repeat(2)
        assert not ctx.get(dut.failed)

    simulate(dut, bench, background=[memory.run])


@pytest.mark.parametrize("wait", [1, 5, 20, 66, 70, 72, 74, 80, 120, 200])
def test_flush_keeps_announced_bursts_true(wait):
    """Whatever is announced before the flush is written with the true data; the rest is not."""
    rng = random.Random(wait)
    dut = WritePort(depth=256)
    memory = WriteMemory(dut, rng, gap=0.5, latency=50)
    flushed = False

    async def produce(ctx):
        ctx.set(dut.data.valid, 1)
        beat = 0
        while not flushed:
            ctx.set(dut.data.payload, beat)
            *_, ready = await ctx.tick().sample(dut.data.ready)
            beat += ready
        ctx.set(dut.data.valid, 0)

    async def bench(ctx):
        nonlocal flushed
        open_windows(ctx, dut.windows, WINDOW)
        await send(ctx, dut.transfer, [command(WINDOW[0] + 160, 700)], rng, gap=0)
        await ctx.tick().repeat(wait)
        ctx.set(dut.flush, 1)
        flushed = True
        await ctx.tick().repeat(3)
        while not ctx.get(dut.drained):
            await ctx.tick()
        assert memory.unanswered == 0
        assert len(memory.data) == sum(n for _, n in memory.bursts) < 700
        assert all(value == (at - WINDOW[0] - 160) // BYTES for at, value in memory.data.items())
        memory.data.clear()
        ctx.set(dut.flush, 0)
        await send(ctx, dut.transfer, [command(WINDOW[0] + 0x4000, 90)], rng)
        await send(ctx, dut.data, range(1000, 1090), rng)
        await until_idle(ctx, dut)
        assert memory.data == {WINDOW[0] + 0x4000 + BYTES * i: 1000 + i for i in range(90)}

    simulate(dut, produce, bench, background=[memory.run])


def test_a_response_nobody_waits_for():
    """It fails until the flush, and is not counted as that of a later burst."""
    rng = random.Random(8)
    dut = WritePort(depth=128)
    memory = WriteMemory(dut, rng)

    async def bench(ctx):
        open_windows(ctx, dut.windows, WINDOW)
        memory.surplus = 2
        while memory.surplus:
            await ctx.tick()
        await ctx.tick().repeat(3)
        assert ctx.get(dut.failed)
        assert ctx.get(dut.broken)
        assert ctx.get(dut.failed_response) == 0
        ctx.set(dut.flush, 1)
        await ctx.tick().repeat(3)
        assert ctx.get(dut.drained)
        ctx.set(dut.flush, 0)
        memory.silent = True
        await send(ctx, dut.transfer, [command(WINDOW[0], 1)], rng)
        await send(ctx, dut.data, [5], rng)
        await ctx.tick().repeat(30)
        assert not ctx.get(dut.idle)
        memory.silent = False
        await until_idle(ctx, dut)
        assert memory.data == {WINDOW[0]: 5}
        assert not ctx.get(dut.failed)

    simulate(dut, bench, background=[memory.run])


@pytest.mark.parametrize("beats", [1, 3, 100])
def test_a_response_before_the_data(beats):
    """It is no response: the port is not idle before the last beat is taken, and says so."""
    rng = random.Random(beats)
    dut = WritePort(depth=128)
    memory = WriteMemory(dut, rng)

    async def bench(ctx):
        open_windows(ctx, dut.windows, WINDOW)
        memory.early = True
        await send(ctx, dut.transfer, [command(WINDOW[0], beats)], rng)
        await send(ctx, dut.data, list(range(beats)), rng)
        await ctx.tick().repeat(80)
        assert not ctx.get(dut.idle)
        assert ctx.get(dut.failed)
        assert ctx.get(dut.broken)
        ctx.set(dut.flush, 1)
        await ctx.tick().repeat(80)
        assert not ctx.get(dut.drained)
        memory.early = False
        while not ctx.get(dut.drained):
            await ctx.tick()
        assert not ctx.get(dut.wvalid)
        ctx.set(dut.flush, 0)
        await ctx.tick().repeat(2)
        memory.data.clear()
        await send(ctx, dut.transfer, [command(WINDOW[0] + 0x4000, 2)], rng)
        await send(ctx, dut.data, [5, 6], rng)
        await until_idle(ctx, dut)
        assert memory.data == {WINDOW[0] + 0x4000: 5, WINDOW[0] + 0x4000 + BYTES: 6}
        assert not ctx.get(dut.failed)

    simulate(dut, bench, background=[memory.run])
