"""BlockFifo keeps order and count under random traffic and reaches one word per cycle."""

from __future__ import annotations

import random
from collections import deque

import pytest

from fpga_gen.hardware.shell.axi_fifo import BlockFifo
from rtl_tests.bench import simulate


@pytest.mark.parametrize(("write", "read"), [(0.5, 0.5), (0.9, 0.3), (0.3, 0.9), (1.0, 1.0)])
def test_against_a_queue(write, read):
    rng = random.Random(f"{write} {read}")
    dut = BlockFifo(width=16, depth=16)
    model: deque[int] = deque()
    seen_full = []
    moved = counted = 0  # counted: words in `count`, where a read shows one cycle late

    async def bench(ctx):
        nonlocal moved, counted
        for _ in range(1500):
            word, valid, take = rng.getrandbits(16), rng.random() < write, rng.random() < read
            ctx.set(dut.write.payload, word)
            ctx.set(dut.write.valid, valid)
            ctx.set(dut.read.ready, take)
            assert ctx.get(dut.count) == counted
            read_late = counted - len(model)
            *_, w_ready, r_valid, r_word = await ctx.tick().sample(
                dut.write.ready, dut.read.valid, dut.read.payload
            )
            assert w_ready == (counted < 16)
            seen_full.append(not w_ready)
            if r_valid and take:
                assert r_word == model.popleft()
                moved += 1
            counted -= read_late
            if valid and w_ready:
                model.append(word)
                counted += 1

    simulate(dut, bench)
    assert any(seen_full) or write <= read
    assert moved > 1490 * min(write, read) * 0.8


def test_latency():
    dut = BlockFifo(width=8, depth=16)

    async def bench(ctx):
        ctx.set(dut.write.payload, 42)
        ctx.set(dut.write.valid, 1)
        await ctx.tick()
        ctx.set(dut.write.valid, 0)
        for _ in range(3):
            assert not ctx.get(dut.read.valid)
            await ctx.tick()
        assert ctx.get(dut.read.valid)
        assert ctx.get(dut.read.payload) == 42

    simulate(dut, bench)
