"""Delays of small netlists, counted by hand, against a search of every path."""

from __future__ import annotations

import random
from itertools import pairwise
from pathlib import Path

import pytest

from fpga_gen.errors import ToolError
from fpga_gen.report.timing import clock_verdict
from fpga_gen.synth.arcs import FAST_CYCLES
from fpga_gen.synth.delay_paths import CROSSING, DOUBLE, ENGINE
from fpga_gen.synth.delays import default_delays, read_delays
from fpga_gen.synth.design import Block, MappedDesign
from fpga_gen.synth.estimate import (
    design_timing,
    estimate_facts,
    from_rows,
    highest_clock,
    notable,
    timed_paths,
    to_rows,
)
from fpga_gen.synth.hull import Line, allowed_ps, delay_ps, envelope
from fpga_gen.synth.levels import analyse
from fpga_gen.synth.netlist import Cell
from tests.synth.test_levels import carry, flop, lut, netlist

D = default_delays("xcup")
PERIOD = 1e6 / 300
FF = D.ff_out + D.ff_data


def test_an_envelope_keeps_what_is_longest_at_some_hop_delay():
    random.seed(3)
    for _ in range(200):
        lines = [Line(random.randrange(40), random.randrange(9), "") for _ in range(12)]
        kept = envelope(lines)
        for hop in (0, 0.25, 0.5, 1, 2, 3, 5, 9, 50):
            assert delay_ps(kept, hop) == delay_ps(lines, hop)
        for budget in (40, 45, 60, 100):
            assert allowed_ps(kept, budget) == pytest.approx(allowed_ps(lines, budget))
        assert all(a.hops < b.hops and a.cell_ps > b.cell_ps for a, b in pairwise(kept))


def test_the_worst_path_is_not_the_one_with_the_most_cell_delay():
    """Four LUTs of few picoseconds against one memory without its output register."""
    ram = Cell("r", "RAMB36E2", {"DOA_REG": "0"}, {"DOUTADOUT": (20,), "ADDRARDADDR": (30,)})
    cells = [ram, lut("x", (20, 14), 15), flop("a", 5, 10), flop("b", 15, 9)]
    cells += [lut(f"l{n}", (10 + n,), 11 + n) for n in range(4)]
    timing = analyse(netlist(cells, names={10: "count", 20: "word"}), {})
    paths = {p.start: p for p in timing.delays}
    slow, long = paths["word (RAMB36E2)"], paths["count"]
    assert slow.lines == ((D.bram_out + D.lut + D.ff_data, 1),)
    assert long.lines == ((5 * D.lut + FF, 5),)  # the last LUT is in front of its flip-flop
    assert slow.worst(PERIOD)[0] > long.worst(PERIOD)[0]
    assert long.allowed(PERIOD) == pytest.approx((PERIOD - 5 * D.lut - FF) / 5)
    assert long.allowed(PERIOD) < slow.allowed(PERIOD)


def test_control_pins_and_pins_of_memories_have_their_own_delays():
    pins = {"ENARDEN": (10,), "ADDRARDADDR": (11,)}
    cells = [flop("a", 5, 10), flop("b", 6, 11, enable=10), Cell("r", "RAMB36E2", {}, pins)]
    timing = analyse(netlist(cells, names={10: "go", 11: "b"}), {})
    lines = {(p.start, p.end): p.lines for p in timing.delays}
    assert lines["go", "b"] == ((D.ff_out + D.ff_control, 1),)
    assert lines["go", "r (RAMB36E2)"] == ((D.ff_out + D.bram_control, 1),)
    assert lines["b", "r (RAMB36E2)"] == ((D.ff_out + D.bram_address, 1),)


def test_a_lut_with_two_flip_flops_reaches_one_of_them_through_the_routing():
    cells = [flop("a", 5, 10), lut("l", (10,), 11), flop("b", 11, 12), flop("c", 11, 13)]
    timing = analyse(netlist(cells, names={10: "a", 12: "b", 13: "c"}), {})
    assert {p.lines for p in timing.delays} == {((FF + D.lut, 2),)}


def test_a_carry_chain_is_linear_and_takes_no_hop_between_its_parts():
    cells, before = [flop("a", 5, 10)], "0"
    for n in range(3):
        at = 100 + 20 * n
        s, di, co, o = (tuple(range(at + k, at + k + 4)) for k in (0, 4, 8, 12))
        cells += [lut(f"l{n}{bit}", (10,), s[bit]) for bit in range(4)]
        cells.append(carry(f"c{n}", s, di, before, co, o))
        before = co[3]
    cells.append(flop("sum", o[3], 9))
    (path,) = analyse(netlist(cells, names={10: "a", 9: "sum"}), {}).delays
    chain = D.carry_in + 12 * D.carry_bit + D.carry_out
    assert path.lines == ((D.ff_out + D.lut + chain + D.ff_data, 1),)


def test_paths_compose_over_the_borders_of_modules():
    """As one flat netlist, but for the hop at a border."""
    child = netlist(
        [flop("a", 10, 11), lut("l1", (11,), 12), lut("l2", (20,), 21), flop("b", 21, 22),
         lut("l3", (20,), 23)],
        [("in", (20,))], [("out", (12,)), ("through", (23,))], {11: "start", 22: "end"},
    )  # fmt: skip
    inside = analyse(child, {})
    assert not inside.delays
    parent = netlist([
        Cell("u", "child", {}, {"in": (31,), "out": (30,), "through": (32,)}),
        lut("l", (30,), 31), flop("c", 32, 33),
    ], names={33: "after"})  # fmt: skip
    lines = {(p.start, p.end): p.lines for p in analyse(parent, {"child": inside.outside}).delays}
    assert lines == {
        ("u.start", "u.end"): ((FF + 3 * D.lut, 3),),
        ("u.start", "after"): ((FF + 3 * D.lut, 4),),
    }


def test_registers_behind_a_slice_of_ultrascale_are_its_own():
    """Yosys packs none into a DSP48E2."""
    pins = {"A": (10,), "P": (20, 21), "CLK": (1,)}
    zero = {name: "0" for name in ("MREG", "PREG", "AREG", "BREG")}
    cells = [flop("a", 5, 10), Cell("d", "DSP48E2", zero, pins)]
    cells += [flop(f"m{n}", 20 + n, 30 + n) for n in range(2)]
    names = {10: "a", 20: "p", 30: "m[0]", 31: "m[1]", 40: "q[0]", 41: "q[1]"}
    one = analyse(netlist([*cells, lut("l", (30,), 50), flop("z", 50, 51)], names=names), {})
    assert {p.start: p.lines for p in one.delays} == {
        "a": ((D.ff_out + D.dsp_in_sum, 1),),
        "m": ((D.dsp_out + D.lut + D.ff_data, 1),),
    }
    two = [*cells, *[flop(f"q{n}", 30 + n, 40 + n) for n in range(2)]]
    lines = {p.start: p.lines for p in analyse(netlist(two, names=names), {}).delays}
    assert lines["a"] == ((D.ff_out + D.dsp_in_product, 1),)
    shared = analyse(netlist([*cells, lut("l", (20,), 60), flop("z", 60, 61)], names=names), {})
    assert max(p.lines[0][0] for p in shared.delays) == (
        D.ff_out + D.dsp_through + D.lut + D.ff_data
    )


def two_clocks():
    """clk, 1, and fast_clk, 2: within each, there and back."""
    fast = {"C": (2,), "CE": ("1",), "R": ("0",)}
    cells = [flop("a", 5, 10), lut("l", (10,), 11), flop("b", 11, 12),
             Cell("c", "FDRE", {}, {**fast, "D": (12,), "Q": (13,)}),
             Cell("d", "FDRE", {}, {**fast, "D": (13,), "Q": (14,)}),
             flop("e", 14, 15)]  # fmt: skip
    cells.append(Cell("m", "DSP48E2", {}, {"CLK": (2,), "B": (10,), "A": (12,), "P": (16,)}))
    names = {10: "a", 12: "b", 13: "c", 14: "d", 15: "e", 16: "m"}
    return netlist(cells, [("clk", (1,)), ("fast_clk", (2,))], names=names)


def test_both_clocks_and_their_crossings_are_apart():
    paths = {(p.start, p.end): (p.domain, p.periods) for p in analyse(two_clocks(), {}).delays}
    assert paths == {
        ("a", "b"): (ENGINE, 1.0),
        ("b", "c"): (CROSSING, 0.5),
        ("c", "d"): (DOUBLE, 0.5),
        ("d", "e"): (CROSSING, 0.5),
        ("a", "m (DSP48E2)"): (CROSSING, 0.5 * FAST_CYCLES["B"]),
        ("b", "m (DSP48E2)"): (CROSSING, 0.5 * FAST_CYCLES["A"]),
    }


def test_cycles_of_crossings_are_those_of_the_constraints():
    text = (Path("fpga_gen") / "deploy" / "tcl" / "double_clock.xdc").read_text()
    for name, pins in (("activations", "B"), ("weights", "AD"), ("taps", ("tap0",))):
        for pin in pins:
            cycles = FAST_CYCLES[pin]
            assert f"set_multicycle_path {cycles} -setup -end -from $engine" in text
            kind = "-to" if name == "taps" else "-through"
            assert f"set_multicycle_path {cycles} -setup -end -from $engine {kind} ${name}" in text


def design_of(module) -> MappedDesign:
    block = Block("top", "", 1, module.cost, analyse(module, {}))
    return MappedDesign("top", {"top": block})


def test_facts_name_the_clock_that_a_hop_delay_allows():
    timing = design_timing(design_of(two_clocks()), 300, "xcup", 64, block_of=lambda _: "x")
    (worst, *_) = timing.paths
    assert (worst.start, worst.end, worst.domain) == ("top/b", "top/c", CROSSING)
    assert worst.allowed_ps_per_hop == timing.allowed_ps_per_hop == round(PERIOD / 2 - FF, 1)
    assert timing.mhz_at_ps_per_hop["500"] == round(1e6 / 2 / (FF + 500), 1)
    assert (timing.pairs, timing.tight_pairs) == (6, 0)
    assert {c.domain for c in timing.classes} == {ENGINE, DOUBLE, CROSSING}
    assert "within reach" in clock_verdict(timing, 300)
    for clock, word in ((950, "tight"), (1000, "out of reach")):
        fast = design_timing(design_of(two_clocks()), clock, "xcup", 64, block_of=lambda _: "x")
        assert fast.tight_pairs == 3
        assert f"estimate: {word}" in clock_verdict(fast, clock)
    assert "no estimate yet" in clock_verdict(None, 300)


def test_what_the_table_keeps_gives_the_same_facts_at_every_clock():
    random.seed(5)
    cells, names = [], {}
    for n in range(60):
        at = 100 * (n + 2)
        depth = random.randrange(1, 7)
        cells += [flop(f"a{n}", 5, at)]
        cells += [lut(f"l{n}{k}", (at + k,), at + k + 1) for k in range(depth)]
        cells += [flop(f"b{n}", at + depth, at + 50, *([at + depth] if n % 3 else []))]
        names |= {at: f"a{n}", at + 50: f"b{n}"}
    paths = timed_paths(design_of(netlist(cells, names=names)), lambda _: "x")
    kept = from_rows(to_rows(notable(paths)))
    assert len(kept) < len(paths)
    for clock in (100, 250, 300, 425):
        assert estimate_facts(kept, clock, "xcup") == estimate_facts(paths, clock, "xcup")
    for hop in (0, 100, 500, 2000):
        assert highest_clock(kept, hop) == highest_clock(paths, hop)


def test_a_file_replaces_delays(tmp_path: Path):
    file = tmp_path / "delays.toml"
    file.write_text("[xcup]\nlut = 100\n")
    assert read_delays(file, "xcup").lut == 100
    assert read_delays(file, "xcup").ff_out == D.ff_out
    for text, message in (
        ("[xc7]\nlut = 1\n", r"no section \[xcup\]"),
        ("[xcup]\nlutt = 1\n", "lutt is unknown"),
        ("[xcup]\nlut = -1\n", "lut must be"),
        ("[xcup]\nlut = true\n", "lut must be"),
        ("[xcup\n", "cannot be read"),
    ):
        file.write_text(text)
        with pytest.raises(ToolError, match=message):
            read_delays(file, "xcup")


def test_a_slower_lut_is_a_slower_clock(tmp_path: Path):
    file = tmp_path / "delays.toml"
    file.write_text("[xcup]\nlut = 1000\n")
    module = netlist([flop("a", 5, 10), lut("l", (10,), 11), flop("b", 11, 12)])
    own, other = (
        analyse(module, {}, delays=d).delays[0].allowed(PERIOD)
        for d in (D, read_delays(file, "xcup"))
    )
    assert own - other == pytest.approx(1000 - D.lut)
