"""ReadPort against a memory with random latency and gaps."""

from __future__ import annotations

import random

import pytest

from fpga_gen.hardware.shell.read_dma import FORGET_CYCLES, MAX_BURSTS, ReadPort
from rtl_tests.axi_bench import BYTES, ReadMemory, beat_value, open_windows
from rtl_tests.bench import receive, send, simulate

WINDOW = (0x10_0000, 0x20_0000)


def command(address: int, beats: int) -> dict[str, int]:
    return {"address": address // BYTES, "beats": beats}


def expected(commands) -> list[int]:
    return [beat_value((c["address"] + i) * BYTES) for c in commands for i in range(c["beats"])]


@pytest.mark.parametrize("seed", range(4))
def test_data_order_and_boundaries(seed):
    rng = random.Random(seed)
    dut = ReadPort(depth=128)
    memory = ReadMemory(dut, rng, gap=[0.0, 0.2, 0.5, 0.7][seed])
    commands = [
        command(WINDOW[0] + BYTES * rng.randrange(2000), rng.choice([0, 1, 2, 63, 64, 65, 300]))
        for _ in range(6)
    ]
    commands.append(command(WINDOW[1] - 70 * BYTES, 70))  # up to the last byte of the window
    want = expected(commands)

    async def produce(ctx):
        open_windows(ctx, dut.windows, WINDOW)
        await send(ctx, dut.transfer, commands, rng)

    async def consume(ctx):
        assert await receive(ctx, dut.data, len(want), rng, gap=[0, 0.5, 0.2, 0.0][seed]) == want
        await ctx.tick().repeat(3)
        assert ctx.get(dut.idle)
        assert not ctx.get(dut.violation)
        assert not ctx.get(dut.failed)

    simulate(dut, produce, consume, background=[memory.run])
    assert sum(beats for _, beats in memory.bursts) == len(want)
    assert memory.most_outstanding <= 128


def test_stalled_consumer_never_overflows_the_fifo():
    rng = random.Random(7)
    dut = ReadPort(depth=128)
    memory = ReadMemory(dut, rng, gap=0.0, latency=0)
    commands = [command(WINDOW[0], 1000)]

    async def bench(ctx):
        open_windows(ctx, dut.windows, WINDOW)
        await send(ctx, dut.transfer, commands, rng)
        await ctx.tick().repeat(400)
        assert sum(beats for _, beats in memory.bursts) <= 128
        want = expected(commands)
        assert await receive(ctx, dut.data, 1000, rng, gap=0.0) == want

    simulate(dut, bench, background=[memory.run])


def test_full_throughput():
    """1024 beats with 30 cycles of latency take hardly more than 1024 cycles."""
    rng = random.Random(1)
    dut = ReadPort()
    memory = ReadMemory(dut, rng, gap=0.0, latency=0)
    cycles = 0

    async def bench(ctx):
        nonlocal cycles
        open_windows(ctx, dut.windows, WINDOW)
        await send(ctx, dut.transfer, [command(WINDOW[0], 512), command(WINDOW[0], 512)], rng, 0)
        got = 0
        ctx.set(dut.data.ready, 1)
        while got < 1024:
            *_, valid = await ctx.tick().sample(dut.data.valid)
            got += valid
            cycles += 1

    simulate(dut, bench, background=[memory.run])
    assert cycles < 1024 + 30


@pytest.mark.parametrize(
    ("address", "beats"),
    [
        (WINDOW[0] - BYTES, 2),
        (WINDOW[1] - BYTES, 2),
        (WINDOW[1], 1),
        (0xFF_FFFF_FFF0, 0xFFFFFF),
        (0, 1),
    ],
)
def test_violation_issues_nothing_and_flush_recovers(address, beats):
    rng = random.Random(3)
    dut = ReadPort(depth=128)
    memory = ReadMemory(dut, rng)

    async def bench(ctx):
        open_windows(ctx, dut.windows, WINDOW, (0x8000, 0x8000))
        await send(ctx, dut.transfer, [command(address, beats)], rng)
        await ctx.tick().repeat(60)
        assert ctx.get(dut.violation)
        assert memory.bursts == []
        ctx.set(dut.flush, 1)
        await ctx.tick().repeat(4)
        assert ctx.get(dut.idle)
        ctx.set(dut.flush, 0)
        await ctx.tick()
        assert not ctx.get(dut.violation)
        good = [command(WINDOW[0], 10)]
        await send(ctx, dut.transfer, good, rng)
        assert await receive(ctx, dut.data, 10, rng) == expected(good)

    simulate(dut, bench, background=[memory.run])


def test_second_window():
    rng = random.Random(4)
    dut = ReadPort(depth=128)
    memory = ReadMemory(dut, rng)
    good = [command(0x9000, 20)]

    async def bench(ctx):
        open_windows(ctx, dut.windows, WINDOW, (0x9000, 0x9140))
        await send(ctx, dut.transfer, good, rng)
        assert await receive(ctx, dut.data, 20, rng) == expected(good)
        assert not ctx.get(dut.violation)

    simulate(dut, bench, background=[memory.run])


def test_read_error_is_sticky_until_flush():
    rng = random.Random(5)
    dut = ReadPort(depth=128)
    bad = WINDOW[0] + 70 * BYTES
    memory = ReadMemory(dut, rng, bad=range(bad, bad + 1))

    async def bench(ctx):
        open_windows(ctx, dut.windows, WINDOW)
        await send(ctx, dut.transfer, [command(WINDOW[0], 100)], rng)
        await receive(ctx, dut.data, 60, rng, gap=0.0)
        await receive(ctx, dut.data, 40, rng, gap=0.0)
        assert ctx.get(dut.failed)
        assert ctx.get(dut.failed_response) == 2
        ctx.set(dut.flush, 1)
        await ctx.tick().repeat(2)
        assert not ctx.get(dut.failed)

    simulate(dut, bench, background=[memory.run])


@pytest.mark.parametrize("wait", [1, 3, 5, 7, 8, 9, 30, 100])
def test_flush_finishes_outstanding_bursts(wait):
    """Whenever the flush comes, every issued beat is taken, and the next transfer is right."""
    rng = random.Random(wait)
    dut = ReadPort(depth=128)
    memory = ReadMemory(dut, rng, gap=0.5, latency=50)

    async def bench(ctx):
        open_windows(ctx, dut.windows, WINDOW)
        await send(ctx, dut.transfer, [command(WINDOW[0] + 160, 700)], rng, gap=0)
        await ctx.tick().repeat(wait)
        ctx.set(dut.flush, 1)
        await ctx.tick().repeat(3)
        while not ctx.get(dut.idle):
            await ctx.tick()
        assert not ctx.get(dut.data.valid)
        assert memory.outstanding == 0
        assert sum(beats for _, beats in memory.bursts) <= 128 + 64
        ctx.set(dut.flush, 0)
        good = [command(WINDOW[0] + 0x4000, 90)]
        await send(ctx, dut.transfer, good, rng)
        assert await receive(ctx, dut.data, 90, rng) == expected(good)

    simulate(dut, bench, background=[memory.run])


@pytest.mark.parametrize("beat", [0, 40, 62, 64, 98])
def test_a_burst_that_ends_early(beat):
    """RLAST, and the rest of the burst never comes: a flush ends all the same, after a while."""
    rng = random.Random(beat)
    dut = ReadPort(depth=128)
    memory = ReadMemory(dut, rng, cut=WINDOW[0] + beat * BYTES)

    async def bench(ctx):
        open_windows(ctx, dut.windows, WINDOW)
        await send(ctx, dut.transfer, [command(WINDOW[0], 100)], rng)
        ctx.set(dut.data.ready, 1)
        await ctx.tick().until(dut.failed)
        assert ctx.get(dut.broken)
        ctx.set(dut.flush, 1)
        waited = 0
        while not ctx.get(dut.idle) or waited < 4:
            await ctx.tick()
            waited += 1
        assert FORGET_CYCLES <= waited <= FORGET_CYCLES + 300
        assert not ctx.get(dut.failed)
        ctx.set(dut.flush, 0)
        good = [command(WINDOW[0] + 0x4000, 70)]
        await send(ctx, dut.transfer, good, rng)
        assert await receive(ctx, dut.data, 70, rng) == expected(good)
        assert not ctx.get(dut.failed)

    simulate(dut, bench, background=[memory.run])


@pytest.mark.parametrize("beat", [0, 40, 62, 63, 64, 99])
def test_rlast_at_a_wrong_beat(beat):
    """100 beats in bursts of 64 and 36: early, or missing. All beats are delivered, then it fails
    until the flush, and works afterwards."""
    rng = random.Random(beat)
    dut = ReadPort(depth=128)
    memory = ReadMemory(dut, rng, wrong_last=WINDOW[0] + beat * BYTES)
    commands = [command(WINDOW[0], 100)]

    async def bench(ctx):
        open_windows(ctx, dut.windows, WINDOW)
        await send(ctx, dut.transfer, commands, rng)
        assert await receive(ctx, dut.data, beat, rng) == expected(commands)[:beat]
        await ctx.tick().repeat(150)
        assert ctx.get(dut.failed)
        assert ctx.get(dut.broken)
        assert ctx.get(dut.failed_response) == 0
        ctx.set(dut.flush, 1)
        await ctx.tick().repeat(2)
        while not ctx.get(dut.idle):
            await ctx.tick()
        assert not ctx.get(dut.failed)
        assert memory.outstanding == 0
        ctx.set(dut.flush, 0)
        good = [command(WINDOW[0] + 0x4000, 70)]
        await send(ctx, dut.transfer, good, rng)
        assert await receive(ctx, dut.data, 70, rng) == expected(good)
        assert not ctx.get(dut.failed)

    simulate(dut, bench, background=[memory.run])


def test_a_beat_nobody_asked_for_is_dropped():
    rng = random.Random(21)
    dut = ReadPort(depth=128)
    memory = ReadMemory(dut, rng)

    async def bench(ctx):
        open_windows(ctx, dut.windows, WINDOW)
        for surplus in (1, 200):  # more than the buffer holds
            memory.surplus = surplus
            while memory.surplus:
                await ctx.tick()
            await ctx.tick().repeat(4)
            assert ctx.get(dut.failed)
            assert ctx.get(dut.broken)
            assert not ctx.get(dut.data.valid)
            assert ctx.get(dut.idle)
            ctx.set(dut.flush, 1)
            await ctx.tick().repeat(3)
            ctx.set(dut.flush, 0)
            good = [command(WINDOW[0] + 0x100, 200)]

            await send(ctx, dut.transfer, good, rng)
            assert await receive(ctx, dut.data, 200, rng) == expected(good)
            assert not ctx.get(dut.failed)

    simulate(dut, bench, background=[memory.run])


def test_single_beats_are_not_held_back():
    """As many bursts in flight as their lengths are remembered."""
    rng = random.Random(22)
    dut = ReadPort()
    memory = ReadMemory(dut, rng, gap=0.0, latency=0)
    commands = [command(WINDOW[0] + 64 * i, 1) for i in range(3 * MAX_BURSTS)]

    async def produce(ctx):
        open_windows(ctx, dut.windows, WINDOW)
        await send(ctx, dut.transfer, commands, rng, gap=0)

    async def consume(ctx):
        assert await receive(ctx, dut.data, len(commands), rng, gap=0) == expected(commands)
        assert not ctx.get(dut.failed)

    simulate(dut, produce, consume, background=[memory.run])
