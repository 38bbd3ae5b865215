"""The hardware of each kind of MAC column: its leaves, its weights, its place in a pixel lane.

Every kind obeys one contract: dot products of a lane come `latency` cycles after the lane's
`switch`, whose weights they are the first to use; the array delays the beat by as much. What the
other stages know of a kind is in contract/column_kinds.py.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

from amaranth.hdl import Cat, Module, Signal, Value

from fpga_gen.contract.column_kinds import DSP_KIND, SP2_KIND, ColumnKind
from fpga_gen.contract.params import EngineParams
from fpga_gen.hardware.array import dsp48, dsp48_double, mac_double, mac_dsp, mac_sp2
from fpga_gen.hardware.array.mac_double import DoublePair, Phase, pack_pair
from fpga_gen.hardware.array.mac_dsp import DOT_BITS, pack_weights
from fpga_gen.hardware.array.mac_sp2 import Sp2Column, correction_bits, correction_of
from fpga_gen.hardware.common.address import delay_line
from fpga_gen.hardware.common.fan_out import LOADS, copies
from fpga_gen.hardware.common.leaf import Leaf, fields, place

Lanes = list[list[dict[str, Value]]]  # pins of the skewed activations, [subgroup][lane]
Weights = list[dict[str, Value]]  # pins of the active weights of every subgroup
Raw = list[list[Value]]  # code words of a subgroup's columns of one kind, [column][input]


class Columns(ABC):
    """The columns of one kind."""

    kind: ColumnKind

    def __init__(
        self, params: EngineParams, *, fast_clk: Value | None = None, expand: bool = False
    ) -> None:
        self.params = params
        self.fast_clk = fast_clk
        self.expand = expand
        assert self.hold == self.kind.hold(params)

    @property
    def name(self) -> str:
        return self.kind.name

    @property
    def sub_columns(self) -> int:
        """Of a subgroup."""
        return self.kind.sub_count(self.params)

    @property
    def columns(self) -> int:
        return self.kind.count(self.params)

    @property
    @abstractmethod
    def latency(self) -> int:
        """Cycles from a lane's switch to the dot products of its beat."""

    @property
    @abstractmethod
    def hold(self) -> int:
        """Smallest distance of two switches: cycles for which the active weights must stay."""

    @property
    @abstractmethod
    def pins(self) -> dict[str, int]:
        """Bits of a subgroup's active weights, by pin of `SubgroupWeights`."""

    @abstractmethod
    def activate(self, m: Module, capture: Value, raw: Raw) -> dict[str, Value]:
        """The pins in `SubgroupWeights`, from code words that are there one cycle after `capture`;
        they follow in the next cycle and stay."""

    @abstractmethod
    def leaves(self) -> dict[str, Leaf]:
        """Leaf modules of the columns, by name."""

    def twins(self) -> dict[str, str]:
        """{module name: Verilog} of leaves that synthesis takes in another form."""
        return {}

    @abstractmethod
    def place(self, m: Module, j: int, lanes: Lanes, weights: Weights, switch: Value) -> Value:
        """Dot products, DOT_BITS each, of all columns of lane j, subgroup by subgroup."""


def captured(m: Module, capture: Value, word: Value, name: str) -> Value:
    """`word` held since `capture`, in parts with an enable each."""
    parts = []
    for number, at in enumerate(range(0, len(word), LOADS)):
        part = Signal(min(LOADS, len(word) - at), name=f"{name}_{number}", reset_less=True)
        with m.If(copies(m, capture, 1, f"{name}_en_{number}")[0]):
            m.d.sync += part.eq(word[at : at + LOADS])
        parts.append(part)
    return Cat(parts)


def in_pairs(raw: Raw, pack: Callable[[Value, Value], Value]) -> Value:
    """Packed weights of neighbouring columns, input by input."""
    return Cat(
        pack(low, high)
        for even, odd in zip(raw[::2], raw[1::2], strict=True)
        for low, high in zip(even, odd, strict=True)
    )


class DspColumns(Columns):
    """Pairs of columns on DSP slices at the engine's clock."""

    kind = DSP_KIND

    @property
    def latency(self) -> int:
        leaf = mac_dsp.pair_of(self.params)
        return leaf.act_delay + leaf.latency

    @property
    def hold(self) -> int:
        return mac_dsp.pair_of(self.params).weights_hold

    @property
    def pins(self) -> dict[str, int]:
        leaf = mac_dsp.pair_of(self.params)
        return {"dsp": len(leaf.weights) * self.sub_columns // 2}

    def activate(self, m: Module, capture: Value, raw: Raw) -> dict[str, Value]:
        def pack(low: Value, high: Value) -> Value:
            return pack_weights(low, high, mac_dsp.FIELDS[self.params.family])

        return {"dsp": captured(m, capture, in_pairs(raw, pack), "packed")}

    def leaves(self) -> dict[str, Leaf]:
        return mac_dsp.leaves(self.params)

    def twins(self) -> dict[str, str]:
        return {mac_dsp.MODULE: dsp48.emit_pair(self.params, mac_dsp.MODULE)}

    def place(self, m: Module, j: int, lanes: Lanes, weights: Weights, switch: Value) -> Value:
        leaf = mac_dsp.pair_of(self.params)
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
                column = mac_dsp.pair_of(self.params)
                place(m, f"dsp_{j}_{s}_{n}", column, mac_dsp.MODULE, pins, expand=self.expand)
        return Cat(dots)


class DoubleColumns(Columns):
    """Fours of columns on DSP slices at twice the engine's clock, with a phase of their own."""

    kind = DSP_KIND

    @property
    def latency(self) -> int:
        leaf = DoublePair(self.params.in_channels)
        return leaf.act_delay + leaf.latency

    @property
    def hold(self) -> int:
        return DoublePair(self.params.in_channels).weights_hold

    @property
    def pins(self) -> dict[str, int]:
        leaf = DoublePair(self.params.in_channels)
        return {"dsp": len(leaf.weights) * self.sub_columns // mac_double.COLUMNS}

    def activate(self, m: Module, capture: Value, raw: Raw) -> dict[str, Value]:
        return {"dsp": captured(m, capture, in_pairs(raw, pack_pair), "packed")}

    def leaves(self) -> dict[str, Leaf]:
        return mac_double.leaves(self.params)

    def twins(self) -> dict[str, str]:
        return {
            mac_double.MODULE: dsp48_double.emit_block(self.params.in_channels, mac_double.MODULE),
            mac_double.PHASE: dsp48_double.emit_phase(mac_double.PHASE),
        }

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

    kind = SP2_KIND

    @property
    def latency(self) -> int:
        return Sp2Column(self.params.in_channels, self.params.sp2).latency

    @property
    def hold(self) -> int:
        return Sp2Column.correction_delay

    @property
    def pins(self) -> dict[str, int]:
        code, ci = self.params.sp2, self.params.in_channels
        return {
            "sp2": code.bits * ci * self.sub_columns,
            "correction": correction_bits(code, ci) * self.sub_columns,
        }

    def activate(self, m: Module, capture: Value, raw: Raw) -> dict[str, Value]:
        code, ci = self.params.sp2, self.params.in_channels
        words = captured(m, capture, Cat(Cat(column) for column in raw), "codes")
        columns = fields(words, code.bits * ci)
        corrections = [correction_of(m, code, capture, c, n) for n, c in enumerate(columns)]
        return {"sp2": words, "correction": Cat(corrections)}

    def leaves(self) -> dict[str, Leaf]:
        return mac_sp2.leaves(self.params)

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


def hardware_of(kind: ColumnKind, params: EngineParams) -> type[Columns]:
    """The hardware of the columns of a kind on an engine."""
    dsp = DoubleColumns if params.double_clock else DspColumns
    return {DSP_KIND: dsp, SP2_KIND: Sp2Columns}[kind]


def column_kinds(
    params: EngineParams, *, fast_clk: Value | None = None, expand: bool = False
) -> list[Columns]:
    """The kinds that the engine has, in the order of a subgroup's columns."""
    return [
        hardware_of(kind, params)(params, fast_clk=fast_clk, expand=expand) for kind in params.kinds
    ]
