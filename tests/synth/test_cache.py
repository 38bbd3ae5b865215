"""Mapped netlists are kept by what they are, not by what they were called."""

from __future__ import annotations

from pathlib import Path

import pytest

from fpga_gen.synth import yosys
from fpga_gen.synth.design import analyse_design
from fpga_gen.synth.modules import Hierarchy, split_modules
from fpga_gen.synth.yosys import map_modules

TEXT = """module {leaf} (clk, d, q);
  input clk;
  input d;
  output q;
  reg q;
  always @(posedge clk) q <= ~d;
endmodule

module {pair} (clk, d, q);
  input clk;
  input d;
  output q;
  wire x;
  {leaf} first (
    .clk(clk), .d(d), .q(x)
  );
  {leaf} second (
    .clk(clk), .d(x), .q(q)
  );
endmodule
"""


def hierarchy(leaf: str, pair: str) -> Hierarchy:
    return split_modules({"a.v": TEXT.format(leaf=leaf, pair=pair)})


def test_equal_modules_of_other_names_share_a_result(tmp_path: Path, monkeypatch):
    """The ones of port 3 were mapped, port 0 has the same text: its parts are found."""
    one = hierarchy("port3_fifo", "port3")
    map_modules(one, "xcup", cache=tmp_path)
    other = hierarchy("port0_fifo", "port0")
    monkeypatch.setattr(yosys, "_run", lambda *_: pytest.fail("mapped again"))
    design = analyse_design(other, map_modules(other, "xcup", cache=tmp_path), "port0")
    assert {name: block.copies for name, block in design.blocks.items()} == {
        "port0_fifo": 2,
        "port0": 1,
    }
    assert design.cost.ff == 2


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("FORMAT", 1),
        ("SCRIPT", (*yosys.SCRIPT, "stat")),
        ("OPTIONS", {"xcup": "-family xcup"}),
    ],
)
def test_a_netlist_of_another_recipe_is_not_used(tmp_path: Path, monkeypatch, name: str, value):
    design = hierarchy("leaf", "pair")
    asked = []
    monkeypatch.setattr(yosys, "parse_netlist", lambda name, _: name)
    monkeypatch.setattr(yosys, "_run", lambda _, __, wanted: store(wanted))

    def store(wanted: dict[str, Path]) -> None:
        asked.append(sorted(wanted))
        for path in wanted.values():
            yosys._store(path, {})

    for _ in range(2):
        map_modules(design, "xcup", cache=tmp_path)
    assert asked == [["leaf", "pair"]]
    monkeypatch.setattr(yosys, name, value)
    map_modules(design, "xcup", cache=tmp_path)
    assert asked == [["leaf", "pair"]] * 2
