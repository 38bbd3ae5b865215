"""DspPairChain against numpy: corners of the packing, weight switches, cost on a DSP family."""

from __future__ import annotations

import numpy as np
import pytest
from amaranth.sim import Simulator

from fpga_gen.hardware.mac_dsp import FIELD, MODULE, DspPairChain
from fpga_gen.hardware.mac_leaf import emit_leaf
from rtl_tests.yosys_cost import cells


def packed_word(weights: np.ndarray, bits: int) -> int:
    """weights [CI, 2] -> the leaf's packed operand."""
    word = 0
    for i, (w0, w1) in enumerate(weights):
        word |= ((int(w0) + (int(w1) << FIELD)) & ((1 << bits) - 1)) << (bits * i)
    return word


def run(ci: int, acts: np.ndarray, weights: list[np.ndarray], slots: list[int]):
    """acts [N, CI] one per cycle; weights[slots[n]] apply to cycle n. Checks every result."""
    dut = DspPairChain(ci)
    half, total = ci // 2, len(acts)
    seen = 0

    async def bench(ctx):
        nonlocal seen
        for cycle in range(total + dut.latency):
            act = switch = word = 0
            for i in range(ci):
                n = cycle - i % half  # the caller's skew
                if 0 <= n < total:
                    act |= (int(acts[n, i]) & 255) << (8 * i)
                    starts = n == 0 or slots[n] != slots[n - 1]
                    switch |= int(starts) << (i % half)
                    part = packed_word(weights[slots[n]], dut.packed_bits)
                    mask = ((1 << dut.packed_bits) - 1) << (dut.packed_bits * i)
                    word |= part & mask if starts else 0
            for name, value in (("act", act), ("switch", switch), ("weights", word)):
                ctx.set(getattr(dut, name), value)
            await ctx.tick()
            n = cycle + 1 - dut.latency
            if 0 <= n < total:
                want = acts[n] @ weights[slots[n]]
                got = [ctx.get(port.as_signed()) for port in (dut.dot0, dut.dot1)]
                assert got == want.tolist(), f"cycle {n}"
                seen += 1

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(bench)
    sim.run()
    assert seen == total


@pytest.mark.parametrize("ci", [4, 8, 16])
def test_random_with_switches(ci):
    rng = np.random.default_rng(ci)
    weights = [rng.integers(-127, 128, (ci, 2)) for _ in range(5)]
    acts = rng.integers(-128, 128, (200, ci))
    run(ci, acts, weights, [n // 40 for n in range(200)])


def test_packing_corners():
    """Every combination of extreme weights meets every extreme activation in all inputs."""
    extremes = (-127, -1, 0, 1, 127)
    weights = [np.tile((w0, w1), (16, 1)) for w0 in extremes for w1 in extremes]
    alternating = np.where(np.arange(16) % 2, 127, -128)
    acts = [np.full(16, a) for a in (-128, -1, 0, 127)] + [alternating, alternating[::-1]]
    acts += [np.full(16, -128), np.full(16, 127)] * 2
    slots = [s for s in range(len(weights)) for _ in acts]
    run(16, np.array(acts * len(weights)), weights, slots)


def test_one_dsp_per_packed_multiply(tmp_path):
    """Registers and adders of the chain go into the DSPs; only the sum of the chains is left.

    Yosys packs DSP registers for 7-series alone, whose multiplier is 25 bits wide: the structure
    is checked there with 7-bit weights, the count of DSPs at full width on UltraScale+.
    """
    narrow = cells(emit_leaf(DspPairChain(16, weight_bits=7), MODULE), MODULE, "xc7", tmp_path)
    assert narrow["DSP"] == 16
    assert narrow["LUT"] <= 40
    assert narrow["FF"] <= 40
    full = cells(emit_leaf(DspPairChain(16), MODULE), MODULE, "xcup", tmp_path)
    assert full["DSP"] == 16
