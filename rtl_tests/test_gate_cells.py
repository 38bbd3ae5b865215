"""The block RAM models of gate_cells.v: RAMs of the engine, mapped, against their Verilog."""

from __future__ import annotations

from pathlib import Path

import pytest

from fpga_gen.hardware.common.ram import RamShape
from fpga_gen.synth.modules import split_modules
from fpga_gen.synth.yosys import map_modules
from rtl_tests.gates import HERE, LINT_OFF, models, module_text
from rtl_tests.verilator import run_bench

pytestmark = pytest.mark.timeout(900)
SHAPES = {
    "narrow": RamShape(5, 700, "block"),
    "wide": RamShape(72, 512, "block"),
    "banks": RamShape(64, 1024, "block", lanes=8, registered=True, unchecked=True),
    "ultra": RamShape(64, 2048, "ultra", lanes=8, registered=True),
}
BENCH = """
module bench (input clk, input [{a}:0] r_addr, input [{a}:0] w_addr, input [{w}:0] w_data,
              input [{e}:0] w_en, output reg bad, output reg read_written);
    wire [{w}:0] x, y;
    {name} rtl (.clk(clk), .r_addr(r_addr), .r_data(x), .w_addr(w_addr), .w_data(w_data),
                .w_en(w_en));
    gates g (.clk(clk), .r_addr(r_addr), .r_data(y), .w_addr(w_addr), .w_data(w_data),
             .w_en(w_en));
    reg [{depth}:0] written = 0;          // rows that were written whole
    reg [2:0] known = 0, meets = 0;
    always @(posedge clk) begin
        if (&w_en) written[w_addr] <= 1;
        known <= {{known[1:0], written[r_addr]}};
        meets <= {{meets[1:0], |w_en && w_addr == r_addr}};
        bad <= known[{latency}] && !(meets[{latency}] && {unchecked}) && x != y;
        read_written <= known[{latency}];
    end
endmodule
"""
MAIN = r"""
#include "Vbench.h"
#include <cstdio>
#include <cstdint>
static uint64_t state = 88172645463325252ull;
static uint64_t next() {{
    state ^= state << 13; state ^= state >> 7; state ^= state << 17; return state;
}}
int main() {{
    Vbench b;
    long bad = 0, compared = 0;
    for (long i = 0; i < 60000; i++) {{
        b.r_addr = next() % {rows};
        b.w_addr = i < {rows} ? i : next() % 8 ? next() % {rows} : b.r_addr;
        b.w_en = i < {rows} ? ({ones}) : (next() & ({ones}));
        {data}
        b.clk = 0; b.eval(); b.clk = 1; b.eval();
        bad += b.bad; compared += b.read_written;
    }}
    printf("%ld of %ld\n", bad, compared);
}}
"""


CASES = [
    pytest.param(shape, family, id=f"{shape}-{family}", marks=[] if quick else [pytest.mark.slow])
    for shape, family, quick in (
        ("banks", "xcup", True), ("wide", "xc7", True), ("ultra", "xcup", False),
        ("wide", "xcup", False), ("narrow", "xcup", False), ("narrow", "xc7", False),
        ("banks", "xc7", False),
    )
]  # fmt: skip


@pytest.mark.parametrize(("shape", "family"), CASES)
def test_mapped_ram(shape: str, family: str, tmp_path: Path):
    ram = SHAPES[shape]
    hierarchy = split_modules({"ram.v": ram.verilog()})
    netlists = map_modules(hierarchy, family)
    kinds = {cell.kind for netlist in netlists.values() for cell in netlist.primitives()}
    assert any(kind.startswith(("RAMB", "URAM")) for kind in kinds)
    gates = "\n".join(
        module_text(n, "gates" if name == ram.name else f"gate_{hierarchy.digests[name]}")
        for name, n in netlists.items()
    )
    places = {
        "a": ram.address_bits - 1, "w": ram.width - 1, "e": ram.lanes - 1, "name": ram.name,
        "depth": ram.depth - 1, "latency": ram.read_latency - 1, "unchecked": int(ram.unchecked),
        "rows": ram.depth, "ones": f"{(1 << ram.lanes) - 1}ull",
        "data": f"b.w_data = next() & {hex((1 << ram.width) - 1)}ull;" if ram.width <= 64
        else "for (int k = 0; k < 3; k++) b.w_data[k] = next(); b.w_data[2] &= 255;",
    }  # fmt: skip
    said = run_bench(
        tmp_path,
        {
            "ram.v": ram.verilog(),
            "gates.v": LINT_OFF + gates,
            "cells.v": LINT_OFF + models() + (HERE / "gate_cells.v").read_text(),
            "bench.v": BENCH.format(**places),
            "main.cpp": MAIN.format(**places),
        },
    )
    bad, compared = (int(text) for text in said.split(" of "))
    assert compared > 50_000
    assert bad == 0, f"{bad} of {compared}"
