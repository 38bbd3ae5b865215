"""Both forms of the double pair in Verilator against two plain `DspPairChain`s; cost and depth."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from amaranth.hdl import Cat, Module, Signal
from amaranth.lib.wiring import In, Out

from fpga_gen.hardware.array.dsp48_double import DoubleCascade, FastPhase
from fpga_gen.hardware.array.mac_double import FIELD, DoublePair, Phase, pack_pair
from fpga_gen.hardware.array.mac_dsp import DspPairChain, pack_weights
from fpga_gen.hardware.common.leaf import Leaf, emit_leaf, fields
from rtl_tests.test_mac_dsp import dsp48e1_model
from rtl_tests.verilator import run_bench
from rtl_tests.yosys_cost import cells

SWITCHES = 60


@dataclass(frozen=True)
class Part:
    """A slice to simulate: bits of a weight and text of its open model."""

    primitive: str
    weight_bits: int
    model: str


def parts() -> list[Part]:
    """DSP48E1 as Yosys models it, and the same model with the multiplier of DSP48E2, whose slice
    differs for these modes in the widths and in the names of the pre-adder's parameters."""
    e1 = dsp48e1_model()
    e2 = e1
    for old, new in (
        ("DSP48E1", "DSP48E2"),
        ("[24:0]", "[26:0]"),
        ("25'b0", "27'b0"),
        ("[42:0]", "[44:0]"),
        ("43'b", "45'b"),
        ('USE_DPORT = "FALSE"', 'AMULTSEL = "A", BMULTSEL = "B", PREADDINSEL = "A"'),
        ('USE_DPORT == "TRUE"', 'AMULTSEL == "AD"'),
        ('USE_DPORT == "FALSE"', 'AMULTSEL == "A"'),
        ("input [6:0] OPMODE", "input [8:0] OPMODE"),
    ):
        assert old in e2, old
        e2 = e2.replace(old, new)
    return [Part("DSP48E1", 6, e1), Part("DSP48E2", 8, e2)]


class Comparison(Leaf):
    """A double pair and two plain ones on the same activations and weights.

    Members:
        act: In(8 * CI), a new pixel with every cycle, not skewed.
        weights: In(4 * bits * CI), four columns, input 0 lowest.
        change: In(1): `weights` apply to the activations of this cycle and after.
        equal: Out(1). busy: Out(1), no dot product is zero.
    """

    def __init__(self, ci: int, bits: int, phase: Phase, dut: DoublePair) -> None:
        self.ci, self.bits, self.phase, self.dut = ci, bits, phase, dut
        super().__init__(
            {
                "act": In(8 * ci),
                "weights": In(4 * bits * ci),
                "change": In(1),
                "fast_clk": In(1),
                "equal": Out(1),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform) -> Module:
        m = Module()
        ci, bits, phase, dut = self.ci, self.bits, self.phase, self.dut
        weights = Signal(len(self.weights), reset_less=True)  # launched by the engine's clock
        m.d.sync += weights.eq(self.weights)
        columns = [fields(c, bits) for c in fields(weights, bits * ci)]
        pairs = [list(zip(columns[2 * s], columns[2 * s + 1], strict=True)) for s in range(2)]
        m.submodules.phase, m.submodules.dut = phase, dut
        delayed = self._delays(m, "act", self.act, ci // 2 + 2)[1:]
        changes = self._delays(m, "change", self.change, ci // 2 + 1)[1:]
        acts = [[fields(word, 8)[i] for word in delayed] for i in range(ci)]
        m.d.comb += [
            phase.fast_clk.eq(self.fast_clk),
            dut.fast_clk.eq(self.fast_clk),
            dut.second.eq(phase.second),
            dut.switch.eq(changes[0]),
            dut.weights.eq(Cat(pack_pair(*w) for pair in pairs for w in pair)),
            dut.act.eq(Cat(acts[i][dut.act_delay + dut.skew(i)] for i in range(ci))),
        ]
        wanted = []
        for s, pair in enumerate(pairs):
            plain = DspPairChain(ci, bits)
            m.submodules[f"plain{s}"] = plain
            m.d.comb += [
                plain.act.eq(Cat(acts[i][i % plain.stages] for i in range(ci))),
                plain.weights.eq(Cat(pack_weights(*w) for w in pair)),
                plain.switch.eq(Cat(changes[: plain.stages])),
            ]
            late = dut.act_delay + dut.latency - plain.latency
            wanted.append(self._delays(m, f"want{s}", Cat(plain.dot0, plain.dot1), late)[-1])
        m.d.comb += [
            self.equal.eq(dut.dots == Cat(wanted)),
            self.busy.eq(Cat(d.any() for d in fields(dut.dots, 20)).all()),
        ]
        return m

    def _delays(self, m: Module, name: str, value, count: int) -> list:
        out = [value]
        for n in range(count):
            late = Signal(len(value), name=f"{name}_{n}", reset_less=True)
            m.d.sync += late.eq(out[-1])
            out.append(late)
        return out


MAIN = r"""
#include "Vbench.h"
#include <cstdint>
#include <cstdio>
#include <cstring>
static uint64_t state = 88172645463325252ull;
static uint32_t draw() {
    state ^= state << 13; state ^= state >> 7; state ^= state << 17;
    return state;
}
static const int CI = %(ci)d, BITS = %(bits)d, EXTREME = (1 << (BITS - 1)) - 1;
template <typename Word> static void put(Word& word, int at, int bits, int value) {
    auto* words = reinterpret_cast<uint32_t*>(&word);
    for (int b = 0; b < bits; b++, at++) {
        words[at / 32] &= ~(1u << at %% 32);
        words[at / 32] |= uint32_t(value >> b & 1) << at %% 32;
    }
}
int main() {
    Vbench top; int good = 0, busy = 0, cycles = 0;
    auto fast = [&](int slow_edge) {
        top.fast_clk = 0; if (slow_edge) top.clk = 0; top.eval();
        top.fast_clk = 1; if (slow_edge) top.clk = 1; top.eval();
    };
    for (int slot = 0; slot < %(slots)d; slot++)
        for (int n = 0; n < %(hold)d; n++, cycles++) {
            bool corner = slot %% 3 == 0;  // all operands extreme: the fields are full
            if (n == 0)
                for (int i = 0; i < 4 * CI; i++) {
                    int sign = draw() & 1;
                    if (corner) sign = (slot / 3 >> i / CI) & 1;
                    int w = sign ? -EXTREME : EXTREME;
                    if (!corner) w = int(draw() %% (2 * EXTREME + 1)) - EXTREME;
                    put(top.weights, i * BITS, BITS, w);
                }
            for (int i = 0; i < CI; i++)
                put(top.act, 8 * i, 8, corner ? (n & 1 ? 127 : -128) : draw());
            top.change = n == 0;
            fast(1); fast(0);
            if (slot > 3) { good += top.equal; busy += top.busy; }
        }
    printf("%%d of %%d, %%d\n", good, cycles - 4 * %(hold)d, busy);
}
"""


E1, E2 = parts()


@pytest.mark.parametrize(
    ("ci", "part"), [(8, E1), (4, E2), (16, E2)], ids=lambda x: getattr(x, "primitive", None)
)
def test_cascade_equals_two_plain_pairs(ci, part, tmp_path):
    """Random and extreme operands, weights that change in the shortest time."""
    dut = DoubleCascade(ci, part.weight_bits, part.primitive)
    compare(tmp_path, ci, part.weight_bits, FastPhase(), dut, {"model.v": part.model})


@pytest.mark.parametrize("ci", [4, 8, 16])
def test_twin_equals_two_plain_pairs(ci, tmp_path):
    """The same for the form that simulators take."""
    compare(tmp_path, ci, 8, Phase(), DoublePair(ci), {})


def compare(folder, ci, bits, phase, dut, models) -> None:
    values = {
        "ci": ci, "bits": bits, "slots": SWITCHES,
        "hold": max(dut.weights_hold, DspPairChain(ci).stages),
    }  # fmt: skip
    text = emit_leaf(Comparison(ci, bits, phase, dut), "bench")
    files = {"bench.v": text, **models, "main.cpp": MAIN % values}
    compared = (SWITCHES - 4) * values["hold"]
    equal, busy = run_bench(folder, files).split(",")
    assert equal == f"{compared} of {compared}"
    assert int(busy) > compared // 2, "dot products that are not zero"


def test_sixteen_slices_and_registers(tmp_path):
    """Four columns of 16 inputs: 16 DSPs, one gate, and the registers behind and around them."""
    found = cells(emit_leaf(DoubleCascade(16), "leaf"), "leaf", "xcup", tmp_path)
    assert found["DSP"] == 16
    assert found["LUT"] <= 4
    assert found["FF"] <= 3 * 2 * FIELD + 24
