"""RequantLane against numerics.requantise: random values, corners, negative halves."""

import numpy as np
from amaranth.sim import Simulator

from fpga_gen.contract.epilogue import Epilogue, finish
from fpga_gen.contract.numerics import I16, U8
from fpga_gen.hardware.results.requantise import RequantLane


def cases(rng):
    top = 2**31 - 1
    for _ in range(400):
        acc = int(rng.integers(-(2 ** int(rng.integers(1, 31))), 2 ** int(rng.integers(1, 31))))
        bias = int(rng.integers(-(2**20), 2**20))
        if abs(acc + bias) <= top:
            yield acc, bias, int(rng.integers(0, 65536)), int(rng.integers(0, 64))
    for acc in (-top - 1, top, -1, 0, 1, -2, 3, -3, 128, -128):
        for mult in (0, 1, 2, 32768, 65535):
            for shift in (0, 1, 2, 3, 8, 16, 26, 27, 31, 47, 63):
                yield acc, 0, mult, shift
    # Near the clip limits at every shift: results around 0, +-128, 255, +-32768.
    for shift in range(64):
        for result in (0, 1, -1, 127, 128, -128, -129, 255, 256, 32767, 32768, -32768, -32769):
            mult = int(rng.integers(32768, 65536))
            total = (result << shift) // mult + int(rng.integers(-2, 3))
            if abs(total) < top:
                yield total, 0, mult, shift


def test_lane_equals_definition():
    rng = np.random.default_rng(0)
    facts = [(0, -128, 127), (1, -128, 127), (0, -32768, 32767), (0, 0, 32767), (1, -128, 20)]
    items = list(cases(rng))
    dut = RequantLane()

    async def bench(ctx):
        for zero, lo, hi in facts:
            offset = 128 * zero
            for name, value in (("zero", zero), ("lo", lo + offset), ("hi", hi + offset)):
                ctx.set(getattr(dut, name), value)
            await ctx.tick().repeat(dut.latency)
            for step in range(len(items) + dut.latency):
                if step < len(items):
                    for name, value in zip(
                        ("acc", "bias", "mult", "shift"), items[step], strict=True
                    ):
                        ctx.set(getattr(dut, name), value)
                await ctx.tick()
                if step >= dut.latency - 1 and step - dut.latency + 1 < len(items):
                    item = items[step - dut.latency + 1]
                    want = int(finish(item[0], Epilogue(U8 if zero else I16, lo, hi), *item[1:]))
                    assert ctx.get(dut.value) == want, (item, zero, lo, hi)

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run_until(4e-2)
