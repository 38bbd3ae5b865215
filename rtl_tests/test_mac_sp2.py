"""Sp2Column against numpy: every code word, weight switches, cost per MAC."""

from __future__ import annotations

import numpy as np
import pytest
from amaranth.sim import Simulator

from fpga_gen.contract.numerics import SP2_4, SP2_CODES, TWO_TERM, Sp2Code, all_codes
from fpga_gen.errors import ScheduleError
from fpga_gen.hardware.array.mac_sp2 import MODULE, Sp2Column, term_unit
from fpga_gen.hardware.common.leaf import emit_leaf
from rtl_tests.yosys_cost import cells


def correction(code: Sp2Code, words: np.ndarray) -> int:
    """Units that the inverted terms of these code words lack, from the code's definition."""
    n1, _ = code.select_bits
    total = 0
    for word in words:
        sign2 = int(word) >> (code.bits - 1) & 1
        sign1 = sign2 if code.common_sign else int(word) >> n1 & 1
        total += (sign1 << term_unit(code.first)) + (sign2 << term_unit(code.second))
    return total


def run(code: Sp2Code, ci: int, acts: np.ndarray, words: list[np.ndarray], slots: list[int]):
    """acts [N, CI], one per cycle; code words words[slots[n]] apply to row n."""
    dut = Sp2Column(ci, code)
    total = len(acts)
    levels = np.array([code.decode(c) for c in range(1 << code.bits)])
    seen = 0

    async def bench(ctx):
        nonlocal seen
        latency = dut.latency + 1
        for cycle in range(total + latency):
            n = cycle
            starts = n < total and (n == 0 or slots[n] != slots[n - 1])
            ctx.set(dut.switch, int(starts))
            word = 0  # noise-free zero when no switch: the register must hold
            n = cycle - 1
            if 0 <= n < total and (n == 0 or slots[n] != slots[n - 1]):
                for i, c in enumerate(words[slots[n]]):
                    word |= int(c) << (code.bits * i)
            ctx.set(dut.weights, word)
            n = cycle - dut.act_delay
            if 0 <= n < total:
                ctx.set(dut.act, sum((int(a) & 255) << (8 * i) for i, a in enumerate(acts[n])))
            n = cycle - dut.correction_delay
            if 0 <= n < total:
                ctx.set(dut.correction, correction(code, words[slots[n]]))
            await ctx.tick()
            n = cycle + 1 - latency
            if 0 <= n < total:
                want = int(acts[n] @ levels[words[slots[n]]])
                assert ctx.get(dut.dot.as_signed()) == want, f"row {n}"
                seen += 1

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(bench)
    sim.run()
    assert seen == total


@pytest.mark.parametrize("code", SP2_CODES.values(), ids=lambda c: c.name)
def test_every_code_word_in_every_input(code):
    """One input carries the code word, the others a zero weight or a random one."""
    extremes = (-128, -127, -1, 0, 1, 127)
    rng = np.random.default_rng(1)
    words, slots, acts = [], [], []
    for c, _ in all_codes(code):
        for others in (np.full(4, code.table[0]), rng.integers(1 << code.bits, size=4)):
            others = others.copy()
            others[c % 4] = c
            words.append(others)
            for a in extremes:
                row = rng.integers(-128, 128, 4)
                row[c % 4] = a
                acts.append(row)
                slots.append(len(words) - 1)
    run(code, 4, np.array(acts), words, slots)


@pytest.mark.parametrize("code", SP2_CODES.values(), ids=lambda c: c.name)
@pytest.mark.parametrize("ci", [8, 16])
def test_extreme_sums_and_random(code, ci):
    rng = np.random.default_rng(ci)
    top = code.table[code.max_level]
    low = code.table[-code.max_level]
    words = [np.full(ci, top), np.full(ci, low)]
    words += [rng.integers(1 << code.bits, size=ci) for _ in range(6)]
    acts = np.concatenate(
        [np.full((2, ci), -128), np.full((2, ci), 127), rng.integers(-128, 128, (8, ci))]
    )
    slots = [s for s in range(len(words)) for _ in acts]
    run(code, ci, np.concatenate([acts] * len(words)), words, slots)


def test_magnitudes_must_be_powers_of_two():
    with pytest.raises(ScheduleError, match="powers of two"):
        term_unit((0, 3))
    with pytest.raises(ScheduleError, match="powers of two"):
        term_unit((0,))


@pytest.mark.parametrize(("code", "limit"), [(TWO_TERM, 47), (SP2_4, 34)])
def test_luts_per_mac(code, limit, tmp_path):
    cost = cells(emit_leaf(Sp2Column(16, code), MODULE), MODULE, "xcup", tmp_path)
    assert cost["DSP"] == 0
    assert 16 * 10 < cost["LUT"] <= 16 * limit
