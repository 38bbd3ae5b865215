"""Control sets of small netlists, counted by hand."""

from __future__ import annotations

from fpga_gen.synth.control_sets import control_sets
from fpga_gen.synth.netlist import Cell
from tests.synth.test_levels import netlist


def flop(name: str, q: int, enable: int | str, reset: int | str) -> Cell:
    pins = {"C": (1,), "D": (5,), "Q": (q,), "CE": (enable,), "R": (reset,)}
    return Cell(name, "FDRE", {}, pins)


def test_flip_flops_with_equal_controls_are_one_set():
    cells = [flop("a", 10, 2, "0"), flop("b", 11, 2, "0"), flop("c", 12, "1", "0"),
             flop("d", 13, 2, 3)]  # fmt: skip
    assert control_sets(netlist(cells, [("clk", (1,))]), {}).total == 3


def test_nets_from_outside_are_shared_with_the_parent():
    """Two copies of a module, one set of their own each; the enable that comes in is the same."""
    inside = [flop("a", 10, 2, "0"), flop("b", 11, 12, "0"), flop("c", 12, "1", "0")]
    child = control_sets(netlist(inside, [("clk", (1,)), ("go", (2,))]), {})
    assert (child.inside, len(child.outside)) == (1, 2)
    places = [Cell(f"u{n}", "m", {}, {"clk": (1,), "go": (7,)}) for n in range(2)]
    parent = netlist([*places, flop("d", 14, 7, "0")], [("clk", (1,))])
    found = control_sets(parent, {"m": child})
    assert found.inside == 2 + 1  # one in each copy; that of net 7, which all share
    assert len(found.outside) == 1  # the clock alone
    places[1] = Cell("u1", "m", {}, {"clk": (1,), "go": (8,)})
    assert control_sets(netlist([*places], [("clk", (1,))]), {"m": child}).total == 5
