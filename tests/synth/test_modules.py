"""Verilog cut into modules: names, placements, digests."""

from __future__ import annotations

from fpga_gen.synth.modules import split_modules

LEAF = """module {name} (clk, d, q);
  input clk;
  input d;
  output q;
  reg q;
  always @(posedge clk) q <= {expression};
endmodule
"""
TOP = """/* written by a tool */
module top (clk, d, q);
  \\left.a  first (
    .clk(clk)
  );
  right second (
    .clk(clk)
  );
  right third (
    .clk(clk)
  );
endmodule
"""


def design(left: str = "d", right: str = "d") -> dict[str, str]:
    return {
        "a.v": LEAF.format(name="\\left.a ", expression=left),
        "b.v": LEAF.format(name="right", expression=right),
        "top.v": TOP,
        "leaves.vlt": "module ignored (",
    }


def test_modules_and_copies():
    hierarchy = split_modules(design())
    assert set(hierarchy.modules) == {"left.a", "right", "top"}
    assert list(hierarchy.modules)[-1] == "top"
    assert hierarchy.counts("top") == {"top": 1, "left.a": 1, "right": 2}


def test_equal_modules_share_a_digest_and_a_change_reaches_the_parents():
    plain = split_modules(design()).digests
    assert plain["left.a"] == plain["right"]
    changed = split_modules(design(right="~d")).digests
    assert changed["left.a"] == plain["left.a"]
    assert changed["right"] != plain["right"]
    assert changed["top"] != plain["top"]


def test_the_form_for_simulation_is_left_out():
    text = "`ifdef VERILATOR\nmodule m (a);\n  simulated\nendmodule\n`else\nmodule m (a);\n  real\n"
    (module,) = split_modules({"m.v": text + "endmodule\n`endif\n"}).modules.values()
    assert "real" in module.text
    assert "simulated" not in module.text
