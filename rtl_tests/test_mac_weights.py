"""SubgroupWeights and LaneSkew against the numbers that the columns should get."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fpga_gen.contract.column_kinds import DSP_KIND, SP2_KIND
from fpga_gen.contract.numerics import SP2_CODES
from fpga_gen.contract.params import EngineParams
from fpga_gen.hardware.array import mac_double, mac_dsp
from fpga_gen.hardware.array.mac_sp2 import Sp2Column, correction_bits
from fpga_gen.hardware.array.mac_weights import LaneSkew, SubgroupWeights
from rtl_tests.bench import simulate
from tests.engines import SMALL
from tests.schedule.graphs import DOUBLE_CLOCK, THREE_MODES

DSP_ONLY = replace(SMALL, sp2_columns=0)
SP2_ONLY = EngineParams(
    pixels=8, in_channels=4, dsp_columns=0, sp2_columns=2, modes=(1,), tile_groups=16, ports=1,
    sp2_code="sp2-4",
)  # fmt: skip
ENGINES = {"small": SMALL, "three": THREE_MODES, "double": DOUBLE_CLOCK, "dsp": DSP_ONLY,
           "sp2": SP2_ONLY}  # fmt: skip
CAPTURED = 2  # cycles from `capture` to `dsp` and `sp2`


def cut(word: int, bits: int, count: int) -> list[int]:
    return [word >> bits * k & (1 << bits) - 1 for k in range(count)]


def units(params: EngineParams, code: int) -> int:
    """What the inverted terms of a code word are short of, per unit of activation."""
    n1, n2 = params.sp2.select_bits
    common = params.sp2.common_sign
    sign2 = code >> n1 + n2 + (not common) & 1
    sign1 = sign2 if common else code >> n1 & 1
    smallest = [min(v for v in term if v) for term in (params.sp2.first, params.sp2.second)]
    return sign1 * smallest[0] + sign2 * smallest[1]


class Weights:
    """Random weights of a subgroup: the raw slice and what the columns take."""

    def __init__(self, params: EngineParams, rng: np.random.Generator) -> None:
        ci, bits = params.in_channels, params.sp2.bits
        sub_dsp = DSP_KIND.sub_count(params)
        dsp = rng.integers(-127, 128, (ci, sub_dsp))
        dsp[rng.random(dsp.shape) < 0.2] = -127
        codes = rng.integers(0, 1 << bits, (ci, SP2_KIND.sub_count(params)))
        self.raw = at = 0
        for i in range(ci):
            for value, width in (*((v, 8) for v in dsp[i]), *((v, bits) for v in codes[i])):
                self.raw |= (int(value) & (1 << width) - 1) << at
                at += width
        field = mac_double.FIELD if params.double_clock else mac_dsp.FIELD
        mask = (1 << field + 8) - 1
        # Pair after pair of columns, input after input.
        self.dsp = [
            ((int(dsp[i, c + 1]) << field) + int(dsp[i, c])) & mask
            for c in range(0, sub_dsp, 2)
            for i in range(ci)
        ]
        self.dsp_bits = field + 8
        self.codes = codes.T.reshape(-1).tolist()
        self.corrections = [sum(units(params, int(code)) for code in column) for column in codes.T]


@pytest.mark.parametrize("params", ENGINES.values(), ids=ENGINES)
@pytest.mark.parametrize("distance", [8, 13])
def test_active_weights(params: EngineParams, distance: int) -> None:
    """A new slice every `distance` cycles, noise on `raw` in between."""
    rng = np.random.default_rng(distance)
    dut = SubgroupWeights(params)
    slots = [Weights(params, rng) for _ in range(12)]
    late = 1 + Sp2Column.correction_delay  # from `capture`: the columns' switch is one cycle later

    async def bench(ctx) -> None:
        for n in range(len(slots) * distance):
            slot, phase = divmod(n, distance)
            ctx.set(dut.capture, int(phase == 0))
            noise = int.from_bytes(rng.bytes(len(dut.raw) // 8 + 1), "little")
            ctx.set(dut.raw, slots[slot].raw if phase == 1 else noise & (1 << len(dut.raw)) - 1)
            active = slots[slot if phase >= CAPTURED else slot - 1]
            if n >= CAPTURED and params.dsp_columns:
                assert cut(ctx.get(dut.dsp), active.dsp_bits, len(active.dsp)) == active.dsp
            if n >= CAPTURED and params.sp2_columns:
                codes = cut(ctx.get(dut.sp2), params.sp2.bits, len(active.codes))
                assert codes == active.codes
            corrected = slots[slot if phase >= late else slot - 1]
            if n >= late and params.sp2_columns:
                width = correction_bits(params.sp2, params.in_channels)
                got = cut(ctx.get(dut.correction), width, SP2_KIND.sub_count(params))
                assert got == corrected.corrections
            await ctx.tick()

    simulate(dut, bench)


@pytest.mark.parametrize("code", SP2_CODES)
def test_correction_holds_every_term_negative(code: str) -> None:
    params = replace(SMALL, sp2_code=code)
    most = max(units(params, word) for word in range(1 << params.sp2.bits))
    assert most * params.in_channels < 1 << correction_bits(params.sp2, params.in_channels)


@pytest.mark.parametrize("params", [SMALL, THREE_MODES, DOUBLE_CLOCK], ids=["4", "8", "16 double"])
def test_skew(params: EngineParams) -> None:
    """Every input at its own delay; the order that the columns want."""
    rng = np.random.default_rng(4)
    dut = LaneSkew(params)
    ci = params.in_channels
    delays = [dut.delay(i) for i in range(ci)]
    if params.double_clock:  # half a cycle for a slice, after the switch's lead
        assert delays == [1 + (i + 1) // 2 for i in range(ci)]
    else:  # two chains
        assert delays == [i % (ci // 2) for i in range(ci)]
    history = rng.integers(0, 256, (80, ci)).tolist()

    async def bench(ctx) -> None:
        for n, act in enumerate(history):
            ctx.set(dut.act, sum(v << 8 * i for i, v in enumerate(act)))
            skewed, delayed = cut(ctx.get(dut.skewed), 8, ci), cut(ctx.get(dut.delayed), 8, ci)
            for i, d in enumerate(delays):
                if n >= d:
                    assert skewed[i] == history[n - d][i], f"input {i}"
            if n:
                assert delayed == history[n - 1]
            await ctx.tick()

    simulate(dut, bench)
