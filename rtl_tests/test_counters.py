"""Counter and LayerLog against simple models."""

from __future__ import annotations

import random

from fpga_gen.hardware.shell.counters import Counter, LayerLog
from fpga_gen_host.registers import LAYER_LOG_DEPTH
from rtl_tests.bench import simulate


def test_counter_counts_clears_and_saturates():
    rng = random.Random(1)
    dut = Counter(bits=4)

    async def bench(ctx):
        for events in (0, 1, 7, 14, 15, 16, 40):
            ctx.set(dut.clear, 1)
            await ctx.tick()
            ctx.set(dut.clear, 0)
            left = events
            while left:
                now = rng.random() < 0.7
                ctx.set(dut.tick, now)
                left -= now
                await ctx.tick()
            ctx.set(dut.tick, 0)
            await ctx.tick().repeat(2)
            assert ctx.get(dut.value) == min(events, 15)

    simulate(dut, bench)


def test_log_entries_and_overflow():
    rng = random.Random(2)
    dut = LayerLog()
    starts = []

    async def bench(ctx):
        for cycle in range(2 * LAYER_LOG_DEPTH):
            now = rng.random() < 0.6
            ctx.set(dut.cycles, 7 * cycle)
            ctx.set(dut.layer_start, now)
            if now:
                starts.append(7 * cycle)
            await ctx.tick()
        ctx.set(dut.layer_start, 0)
        assert len(starts) > LAYER_LOG_DEPTH
        assert ctx.get(dut.index) == len(starts)
        for at in (0, 1, 500, LAYER_LOG_DEPTH - 1):
            ctx.set(dut.select, at)
            await ctx.tick()
            assert ctx.get(dut.start) == starts[at]
        ctx.set(dut.clear, 1)
        await ctx.tick()
        assert ctx.get(dut.index) == 0

    simulate(dut, bench)
