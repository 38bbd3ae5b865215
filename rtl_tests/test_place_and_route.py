"""The wrapper that `make pnr` places blocks in: every bit of a block's pins matters."""

from __future__ import annotations

from pathlib import Path

from bench.place_and_route import WRAPPER, ports_of, wrapped
from rtl_tests.verilator import run_bench

BLOCK = """module block (
    input clk,
    input [4:0] a,
    input b,
    output reg [3:0] c
);
    always @(posedge clk) c <= a[3:0] ^ {4{a[4] ^ b}};
endmodule
"""
BENCH = f"""module bench (input clk, input bit_in, output bit_out);
    {WRAPPER} top (.clk(clk), .bit_in(bit_in), .bit_out(bit_out));
endmodule
"""
MAIN = """
#include "Vbench.h"
#include <cstdio>
int main() {
    Vbench top;
    for (int n = 0; n < 40; n++) {
        top.bit_in = n == 8;
        top.clk = 0; top.eval(); top.clk = 1; top.eval();
        putchar('0' + top.bit_out);
    }
}
"""


def test_every_bit_of_a_wrapped_block_matters(tmp_path: Path) -> None:
    """A one on its way through the inputs is heard at each output, in time."""
    text = BLOCK + wrapped("block", ports_of(BLOCK)) + BENCH
    printed = run_bench(tmp_path, {"bench.v": text, "main.cpp": MAIN}).strip()
    heard = [0] * 40
    for at, result in enumerate([1, 2, 4, 8, 15, 15]):  # a[0..4], then b
        for bit in range(4):
            # The output, its register, its parity, the parities above it, the pin.
            heard[8 + at + 3 + (4 - bit)] ^= result >> bit & 1
    assert [int(digit) for digit in printed] == heard
