"""Word queue: order, latency and count under random writes and reads."""

import numpy as np
import pytest
from amaranth.sim import Simulator

from fpga_gen.hardware.common.word_queue import DEPTH, WordQueue

WIDTH = 40


@pytest.mark.parametrize("reads", [0.3, 0.7, 1.0])
def test_words_come_out_in_order(reads):
    rng = np.random.default_rng(int(reads * 10))
    dut = WordQueue(WIDTH, expand=True)
    sent = [int(v) for v in rng.integers(0, 1 << WIDTH, 200)]
    got, fullest = [], 0

    async def bench(ctx):
        nonlocal fullest
        at = 0
        while len(got) < len(sent):
            count = ctx.get(dut.count)
            assert count == at - len(got)
            fullest = max(fullest, count)
            write = at < len(sent) and count < DEPTH and rng.random() < 0.8
            ctx.set(dut.write, int(write))
            ctx.set(dut.data, sent[at] if write else 0)
            at += write
            ctx.set(dut.read.ready, int(rng.random() < reads))
            _, _, valid, ready, data = await ctx.tick().sample(
                dut.read.valid, dut.read.ready, dut.read.payload
            )
            if valid and ready:
                got.append(data)

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run_until(5e-3)
    assert got == sent
    if reads < 0.5:
        assert fullest == DEPTH


def test_a_word_is_read_two_cycles_after_its_write():
    dut = WordQueue(WIDTH, expand=True)

    async def bench(ctx):
        ctx.set(dut.write, 1)
        ctx.set(dut.data, 123)
        await ctx.tick()
        ctx.set(dut.write, 0)
        assert not ctx.get(dut.read.valid)
        await ctx.tick()
        assert ctx.get(dut.read.valid)
        assert ctx.get(dut.read.payload) == 123

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
