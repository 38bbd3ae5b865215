"""Levels and fan-out of small netlists, counted by hand."""

from __future__ import annotations

import pytest

from fpga_gen.errors import ToolError
from fpga_gen.synth.design import Block, MappedDesign
from fpga_gen.synth.levels import FanOut, Outside, analyse
from fpga_gen.synth.netlist import Cell, Netlist


def lut(name: str, inputs: tuple[int, ...], out: int) -> Cell:
    pins = {f"I{n}": (bit,) for n, bit in enumerate(inputs)}
    return Cell(name, f"LUT{len(inputs)}", {}, {**pins, "O": (out,)})


def flop(name: str, d: int, q: int, enable: int | str = "1") -> Cell:
    return Cell(name, "FDRE", {}, {"C": (1,), "D": (d,), "Q": (q,), "CE": (enable,), "R": ("0",)})


def netlist(cells, inputs=(), outputs=(), names=()) -> Netlist:
    """inputs, outputs: (port, bits); names: {bit: name}."""
    return Netlist("m", dict(inputs), dict(outputs), tuple(cells), dict(names))


def carry(name: str, s: tuple, di: tuple, ci: int | str, co: tuple, o: tuple) -> Cell:
    pins = {"S": s, "DI": di, "CI": (ci,), "CYINIT": ("0",), "CO": co, "O": o}
    return Cell(name, "CARRY4", {}, pins)


def test_luts_between_two_registers():
    cells = [flop("a", 10, 11), lut("l1", (11,), 12), lut("l2", (12, 11), 13), flop("b", 13, 14)]
    timing = analyse(netlist(cells, names={11: "count[3]", 14: "limit"}), {})
    assert (timing.worst.levels, timing.worst.start, timing.worst.end) == (2, "count[3]", "limit")


@pytest.mark.parametrize(("bits", "levels"), [(4, 2), (16, 2), (20, 3), (32, 3), (36, 4)])
def test_a_carry_chain_counts_two_up_to_16_bits(bits: int, levels: int):
    """Registers, a LUT per bit, the chain, a register behind its highest sum."""
    cells, before = [], "0"
    for n in range(bits // 4):
        at = 100 + 20 * n
        s, di, co, o = (tuple(range(at + k, at + k + 4)) for k in (0, 4, 8, 12))
        for bit in range(4):
            cells += [flop(f"a{n}{bit}", 5, di[bit]), lut(f"l{n}{bit}", (di[bit],), s[bit])]
        cells.append(carry(f"c{n}", s, di, before, co, o))
        before = co[3]
    cells.append(flop("sum", o[3], 9))
    assert analyse(netlist(cells), {}).worst.levels == levels


def test_a_chain_without_luts_in_front_still_counts_two():
    cells = [flop("a", 5, 20), carry("c", (20, 20, 20, 20), (20,) * 4, "0", (30, 31, 32, 33),
                                     (40, 41, 42, 43)), flop("b", 43, 9)]  # fmt: skip
    assert analyse(netlist(cells), {}).worst.levels == 2


def test_paths_go_through_the_borders_of_modules():
    """register in the child -> LUT in the child -> LUT in the parent -> LUT and register inside."""
    child = netlist(
        [flop("a", 10, 11), lut("l1", (11,), 12), lut("l2", (20,), 21), flop("b", 21, 22),
         lut("l3", (20,), 23)],
        [("in", (20,))], [("out", (12,)), ("through", (23,))], {11: "start", 22: "end"},
    )  # fmt: skip
    inside = analyse(child, {})
    assert inside.worst.levels == 0
    assert inside.outside.launch["out", 0] == (1, "start")
    assert inside.outside.capture["in", 0] == (1, "end")
    assert inside.outside.through["through", 0] == ((("in", 0), 1),)
    parent = netlist([
        Cell("u", "child", {}, {"in": (31,), "out": (30,), "through": (32,)}),
        lut("l", (30,), 31), flop("c", 32, 33),
    ], names={33: "after"})  # fmt: skip
    timing = analyse(parent, {"child": inside.outside})
    paths = {(p.start, p.end): p.levels for p in timing.paths}
    assert paths == {("u.start", "u.end"): 3, ("u.start", "after"): 3}


def test_loads_are_counted_through_borders():
    child = Outside({}, {}, {}, {("in", 0): (40, 30)})
    cells = [flop("a", 5, 11), *[lut(f"l{n}", (11,), 50 + n) for n in range(20)],
             *[Cell(f"u{n}", "child", {}, {"in": (11,)}) for n in range(2)]]  # fmt: skip
    (widest, *_) = analyse(netlist(cells, names={11: "valid"}), {"child": child}).fan_out
    assert (widest.net, widest.loads, widest.control) == ("valid", 100, 60)


def test_nets_of_the_pins_of_the_top_are_wide_nets():
    """A reset pin with 70 loads; a clock is no load."""
    pins = {"C": (1,), "CE": ("1",)}
    flops = [
        Cell(f"f{n}", "FDRE", {}, {**pins, "D": (9,), "Q": (100 + n,), "R": (2,)})
        for n in range(70)
    ]
    top = netlist(flops, [("clk", (1,)), ("rst", (2,)), ("data", (9, 10))])
    block = Block("top", "", 1, top.cost, analyse(top, {}))
    nets = {f for _, f in MappedDesign("top", {"top": block}).wide_nets(64)}
    assert nets == {FanOut(70, 0, "data"), FanOut(70, 70, "rst")}


def test_block_memories_and_multipliers_without_output_register_start_late():
    ram = Cell("r", "RAMB36E2", {"DOA_REG": "0"}, {"DOUTADOUT": (20,), "ADDRARDADDR": (21,)})
    timing = analyse(netlist([ram, lut("l", (20,), 22), flop("b", 22, 9)]), {})
    assert timing.worst.levels == 3
    registered = Cell("r", "RAMB36E2", {"DOA_REG": "1"}, ram.pins)
    timing = analyse(netlist([registered, lut("l", (20,), 22), flop("b", 22, 9)]), {})
    assert timing.worst.levels == 1


def test_a_combinational_loop_is_an_error():
    with pytest.raises(ToolError, match="combinational loop through ring"):
        analyse(
            netlist([lut("a", (10,), 11), lut("b", (11,), 10)], names={10: "ring", 11: "ring"}), {}
        )
