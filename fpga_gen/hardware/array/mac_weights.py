"""Active weights of one column subgroup, and the activation skew of one lane."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Signal, Value
from amaranth.lib.wiring import In, Out

from fpga_gen.contract import modules
from fpga_gen.contract.params import EngineParams
from fpga_gen.hardware.array.columns import Raw, column_kinds
from fpga_gen.hardware.array.mac_double import DoublePair
from fpga_gen.hardware.common.leaf import Leaf, emit_leaves, fields

WEIGHTS, SKEW = modules.WEIGHTS, modules.SKEW


def subgroup_columns(params: EngineParams, raw: Value) -> list[Raw]:
    """Code words of one subgroup's slice of the weight stage, one entry for each kind of column;
    their order in `raw` is that of `EngineParams.sub_kinds`, input after input."""
    inputs = fields(raw, params.sub_weight_bits // params.in_channels)
    found = []
    for part in params.sub_kinds:
        words = [fields(bits[part.bits], part.code.bits) for bits in inputs]
        found.append([list(column) for column in zip(*words, strict=True)])
    return found


class SubgroupWeights(Leaf):
    """Holds the weights of the current slot in the form the columns take.

    One cycle after `capture` the raw slice is taken; the active weights follow in the next cycle,
    see `Columns.activate`.

    Members:
        raw: In(sub_weight_bits), one subgroup of the weight stage.
        capture: In(1).
        and the pins of every kind of column that there is, all Out (`Columns.pins`).
    """

    def __init__(self, params: EngineParams) -> None:
        self.params = params
        members = {"raw": In(params.sub_weight_bits), "capture": In(1)}
        for kind in column_kinds(params):
            members |= {name: Out(bits) for name, bits in kind.pins.items()}
        super().__init__(members)

    def elaborate(self, platform) -> Module:
        m = Module()
        slices = subgroup_columns(self.params, self.raw)
        for kind, raw in zip(column_kinds(self.params), slices, strict=True):
            for name, value in kind.activate(m, self.capture, raw).items():
                m.d.comb += getattr(self, name).eq(value)
        return m


class LaneSkew(Leaf):
    """Delays the inputs of a lane for the systolic DSP columns.

    Members:
        act: In(8 * CI), bytes, input 0 lowest.
        skewed: Out(8 * CI), same order; input i `delay(i)` cycles late.
        delayed: Out(8 * CI), all inputs one cycle late (`Sp2Column.act_delay`).
    """

    def __init__(self, params: EngineParams) -> None:
        self.in_channels = params.in_channels
        self.double = params.double_clock
        super().__init__(
            {
                "act": In(8 * self.in_channels),
                "skewed": Out(8 * self.in_channels),
                "delayed": Out(8 * self.in_channels),
            }
        )

    def delay(self, i: int) -> int:
        """Cycles from the switch to the activation of input i."""
        if self.double:
            return DoublePair.act_delay + DoublePair.skew(i)
        return i % (self.in_channels // 2)

    def elaborate(self, platform) -> Module:
        m = Module()
        first = Signal(8 * self.in_channels, name="delay1", reset_less=True)
        m.d.sync += first.eq(self.act)
        m.d.comb += self.delayed.eq(first)
        inputs = dict(enumerate(fields(self.act, 8)))
        skewed = {i: inputs[i] for i in inputs if self.delay(i) == 0}
        now, late = dict(inputs), dict(enumerate(fields(first, 8)))
        for k in range(1, max(map(self.delay, inputs)) + 1):
            now = {i: late[i] for i in now if self.delay(i) >= k}
            skewed |= {i: now[i] for i in now if self.delay(i) == k}
            rest = [i for i in now if self.delay(i) > k]
            if rest:
                line = Signal(8 * len(rest), name=f"delay{k + 1}", reset_less=True)
                m.d.sync += line.eq(Cat(now[i] for i in rest))
                late = dict(zip(rest, fields(line, 8), strict=True))
        m.d.comb += self.skewed.eq(Cat(skewed[i] for i in range(self.in_channels)))
        return m


def leaves(params: EngineParams) -> dict[str, Leaf]:
    """Both leaves by module name."""
    return {WEIGHTS: SubgroupWeights(params), SKEW: LaneSkew(params)}


def emit(params: EngineParams) -> dict[str, str]:
    """{module name: Verilog} of both leaves."""
    return emit_leaves(leaves(params))
