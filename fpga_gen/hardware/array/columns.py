"""The kinds of MAC columns: which the array has, and how it places those of one pixel lane.

Every kind obeys one contract: dot products of a lane come `latency` cycles after the lane's
`switch`, whose weights they are the first to use; the array delays the beat by as much.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

from amaranth.hdl import Cat, Module, Signal, Value

from fpga_gen.contract.params import EngineParams
from fpga_gen.hardware.array import mac_double, mac_dsp, mac_sp2
from fpga_gen.hardware.array.mac_double import DoublePair, Phase
from fpga_gen.hardware.array.mac_dsp import DOT_BITS, DspPairChain
from fpga_gen.hardware.array.mac_sp2 import Sp2Column
from fpga_gen.hardware.common.address import delay_line
from fpga_gen.hardware.common.leaf import fields, place

Lanes = list[list[dict[str, Value]]]  # pins of the skewed activations, [subgroup][lane]
Weights = list[dict[str, Value]]  # pins of the active weights of every subgroup


class Columns(ABC):
    """The columns of one kind. sub_columns: of a subgroup."""

    name: str

    def __init__(self, params: EngineParams, sub_columns: int, *, expand: bool) -> None:
        self.params = params
        self.sub_columns = sub_columns
        self.expand = expand

    @property
    def columns(self) -> int:
        return self.sub_columns * self.params.subgroups

    @property
    @abstractmethod
    def latency(self) -> int:
        """Cycles from a lane's switch to the dot products of its beat."""

    @abstractmethod
    def place(self, m: Module, j: int, lanes: Lanes, weights: Weights, switch: Value) -> Value:
        """Dot products, DOT_BITS each, of all columns of lane j, subgroup by subgroup."""


class DspColumns(Columns):
    """Pairs of columns on DSP slices at the engine's clock."""

    name = "dsp"

    @property
    def latency(self) -> int:
        leaf = DspPairChain(self.params.in_channels)
        return leaf.act_delay + leaf.latency

    def place(self, m: Module, j: int, lanes: Lanes, weights: Weights, switch: Value) -> Value:
        leaf = DspPairChain(self.params.in_channels)
        late = Signal(leaf.stages, name=f"dsp_switch_{j}")
        m.d.comb += late.eq(Cat(delay_line(m, f"dsp_switch_{j}", switch, leaf.stages)[1:]))
        dots = []
        for s in range(self.params.subgroups):
            for n, packed in enumerate(fields(weights[s]["dsp"], len(leaf.weights))):
                dots += [Signal(DOT_BITS, name=f"dsp_dot_{j}_{s}_{2 * n + x}") for x in (0, 1)]
                pins = {
                    "act": lanes[s][j]["skewed"],
                    "weights": packed,
                    "switch": late,
                    "dot0": dots[-2],
                    "dot1": dots[-1],
                }
                column = DspPairChain(self.params.in_channels)
                place(m, f"dsp_{j}_{s}_{n}", column, mac_dsp.MODULE, pins, expand=self.expand)
        return Cat(dots)


class DoubleColumns(Columns):
    """Fours of columns on DSP slices at twice the engine's clock, with a phase of their own."""

    name = "dsp"

    def __init__(
        self, params: EngineParams, sub_columns: int, fast_clk: Value | None, *, expand: bool
    ) -> None:
        super().__init__(params, sub_columns, expand=expand)
        self.fast_clk = fast_clk

    @property
    def latency(self) -> int:
        leaf = DoublePair(self.params.in_channels)
        return leaf.act_delay + leaf.latency

    def place(self, m: Module, j: int, lanes: Lanes, weights: Weights, switch: Value) -> Value:
        leaf = DoublePair(self.params.in_channels)
        assert leaf.act_delay == self.params.switch_lead
        late = Signal(name=f"dsp_switch_{j}", reset_less=True)
        m.d.sync += late.eq(switch)
        second = Signal(name=f"second_{j}")
        clock = {"fast_clk": self.fast_clk, "second": second}
        place(m, f"phase_{j}", Phase(), mac_double.PHASE, clock, expand=self.expand)
        dots = []
        for s in range(self.params.subgroups):
            for n, packed in enumerate(fields(weights[s]["dsp"], len(leaf.weights))):
                dots.append(Signal(len(leaf.dots), name=f"dsp_dots_{j}_{s}_{n}"))
                pins = {
                    "act": lanes[s][j]["skewed"],
                    "weights": packed,
                    "switch": late,
                    "dots": dots[-1],
                    **clock,
                }
                column = DoublePair(self.params.in_channels)
                place(m, f"dsp_{j}_{s}_{n}", column, mac_double.MODULE, pins, expand=self.expand)
        return Cat(dots)


class Sp2Columns(Columns):
    """Columns of sums of two shifted activations, in LUTs."""

    name = "sp2"

    @property
    def latency(self) -> int:
        return Sp2Column(self.params.in_channels, self.params.sp2).latency

    def place(self, m: Module, j: int, lanes: Lanes, weights: Weights, switch: Value) -> Value:
        p = self.params
        leaf = Sp2Column(p.in_channels, p.sp2)
        dots = []
        for s in range(p.subgroups):
            corrections = fields(weights[s]["correction"], len(leaf.correction))
            for n, codes in enumerate(fields(weights[s]["sp2"], len(leaf.weights))):
                dots.append(Signal(DOT_BITS, name=f"sp2_dot_{j}_{s}_{n}"))
                pins = {
                    "act": lanes[s][j]["delayed"],
                    "weights": codes,
                    "correction": corrections[n],
                    "switch": switch,
                    "dot": dots[-1],
                }
                column = Sp2Column(p.in_channels, p.sp2)
                place(m, f"sp2_{j}_{s}_{n}", column, mac_sp2.MODULE, pins, expand=self.expand)
        return Cat(dots)


def column_kinds(
    params: EngineParams, *, fast_clk: Value | None = None, expand: bool = False
) -> list[Columns]:
    """The kinds that the engine has, in the order of a subgroup's columns."""
    kinds: list[Columns] = []
    if params.dsp_columns and params.double_clock:
        kinds.append(DoubleColumns(params, params.sub_dsp, fast_clk, expand=expand))
    elif params.dsp_columns:
        kinds.append(DspColumns(params, params.sub_dsp, expand=expand))
    if params.sp2_columns:
        kinds.append(Sp2Columns(params, params.sub_sp2, expand=expand))
    return kinds
