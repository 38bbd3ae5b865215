"""How many fast cycles the paths from the engine's clock to the double pair have, against the
multipliers that deploy/tcl/double_clock.xdc gives Vivado: with values that are wrong until that
many cycles are over the results are right, with one cycle more they are not."""

from __future__ import annotations

import pytest
from amaranth.hdl import ClockDomain, ClockSignal, Module, Mux, Signal, Value

from fpga_gen.hardware.array.dsp48_double import DoubleCascade, FastPhase
from fpga_gen.hardware.array.mac_double import DoublePair
from fpga_gen.hardware.array.mac_dsp import DspPairChain
from fpga_gen.hardware.common.leaf import emit_leaf
from rtl_tests.test_dsp48_double import E2, MAIN, SWITCHES, Comparison
from rtl_tests.verilator import run_bench
from tests.deploy.xdc import path_exceptions

WIRES = "wires"  # clock domain: the fast clock
INPUTS = {"activations": "act", "weights": "weights", "taps": "switch"}  # by name in the file
STATED = {pin: path_exceptions()[name].setup for name, pin in INPUTS.items()}


class SlowWires(DoublePair):
    """`DoubleCascade` behind wires that take their time.

    cycles: {input: fast cycles from the edge of launch to the first capture that sees it}; until
    then all bits of an input of which one has changed are inverted.
    """

    def __init__(self, in_channels: int, cycles: dict[str, int]) -> None:
        super().__init__(in_channels)
        self.cycles = cycles

    def elaborate(self, platform) -> Module:
        m = Module()
        m.domains += ClockDomain(WIRES, local=True, reset_less=True)
        m.d.comb += ClockSignal(WIRES).eq(self.fast_clk)
        m.submodules.inner = inner = DoubleCascade(self.in_channels)
        for name in ("act", "weights", "switch"):
            late = self._late(m, name, getattr(self, name), self.cycles[name] - 1)
            m.d.comb += getattr(inner, name).eq(late)
        m.d.comb += [
            inner.fast_clk.eq(self.fast_clk),
            inner.second.eq(self.second),
            self.dots.eq(inner.dots),
        ]
        return m

    def _late(self, m: Module, name: str, value: Value, count: int) -> Value:
        settled: Value = Signal(1, init=1, name=f"{name}_settled")
        m.d.comb += settled.eq(1)
        before = value
        for n in range(count):
            line = Signal(len(value), name=f"{name}_line{n}", reset_less=True)
            m.d[WIRES] += line.eq(before)
            before, settled = line, settled & (line == value)
        return Mux(settled, value, ~value)


def wrong_results(folder, ci: int, cycles: dict[str, int]) -> int:
    dut = SlowWires(ci, cycles)
    hold = max(dut.weights_hold, DspPairChain(ci).stages)
    text = emit_leaf(Comparison(ci, 8, FastPhase(), dut), "bench")
    main = MAIN % {"ci": ci, "bits": 8, "slots": SWITCHES, "hold": hold}
    out = run_bench(folder, {"bench.v": text, "model.v": E2.model, "main.cpp": main})
    equal, _, compared = out.partition(",")[0].split()
    assert int(compared) == (SWITCHES - 4) * hold
    return int(compared) - int(equal)


@pytest.mark.parametrize("ci", [4, 16])
def test_values_may_come_as_late_as_stated(ci, tmp_path):
    assert STATED == {"act": 2, "weights": 3, "switch": 2}
    assert wrong_results(tmp_path, ci, STATED) == 0


@pytest.mark.parametrize("name", STATED)
def test_and_no_later(name, tmp_path):
    assert wrong_results(tmp_path, 4, {**STATED, name: STATED[name] + 1}) > 0
