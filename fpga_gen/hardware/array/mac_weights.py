"""Active weights of one column subgroup, and the activation skew of one lane."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Signal, Value
from amaranth.lib.wiring import In, Out

from fpga_gen.contract import modules
from fpga_gen.contract.params import EngineParams
from fpga_gen.hardware.array.mac_double import DoublePair, pack_pair
from fpga_gen.hardware.array.mac_dsp import DspPairChain, pack_weights
from fpga_gen.hardware.array.mac_sp2 import Sp2Column, correction_bits, split_code, term_unit
from fpga_gen.hardware.common.fan_out import KEEP, LOADS, copies
from fpga_gen.hardware.common.leaf import Leaf, emit_leaves, fields

WEIGHTS, SKEW = modules.WEIGHTS, modules.SKEW


def dsp_leaf(params: EngineParams) -> DspPairChain | DoublePair:
    """The leaf of `dsp_block` DSP columns."""
    return (DoublePair if params.double_clock else DspPairChain)(params.in_channels)


def subgroup_columns(params: EngineParams, raw: Value) -> tuple[list, list]:
    """Weights per column, [column][input]: DSP bytes and SP2 code words of one subgroup's slice.

    Order of `raw`: for every input the DSP columns, then the SP2 columns, lowest bit first.
    """
    dsp: list[list[Value]] = [[] for _ in range(params.sub_dsp)]
    sp2: list[list[Value]] = [[] for _ in range(params.sub_sp2)]
    at = 0
    for _ in range(params.in_channels):
        for column in dsp:
            column.append(raw[at : at + 8])
            at += 8
        for column in sp2:
            column.append(raw[at : at + params.sp2.bits])
            at += params.sp2.bits
    return dsp, sp2


class SubgroupWeights(Leaf):
    """Holds the weights of the current slot in the form the columns take.

    One cycle after `capture` the raw slice is taken; `dsp` and `sp2` follow in the next cycle,
    `correction` `correction_delay` cycles after the SP2 columns' switch, which comes one cycle
    after `capture`.

    Members:
        raw: In(sub_weight_bits), one subgroup of the weight stage.
        capture: In(1).
        dsp: Out(weights of a DSP leaf * sub_dsp / dsp_block), packed pairs, leaf-major. (absent
            without DSP columns)
        sp2: Out(code bits * CI * sub_sp2), code words, column-major. (absent without SP2 columns)
        correction: Out(correction_bits * sub_sp2). (absent without SP2 columns)
    """

    def __init__(self, params: EngineParams) -> None:
        self.params = params
        ci = params.in_channels
        members = {"raw": In(params.sub_weight_bits), "capture": In(1)}
        if params.sub_dsp:
            members["dsp"] = Out(len(dsp_leaf(params).weights) * params.sub_dsp // params.dsp_block)
        if params.sub_sp2:
            members["sp2"] = Out(params.sp2.bits * ci * params.sub_sp2)
            members["correction"] = Out(correction_bits(params.sp2, ci) * params.sub_sp2)
        super().__init__(members)

    def elaborate(self, platform) -> Module:
        m = Module()
        dsp, sp2 = subgroup_columns(self.params, self.raw)
        if dsp:
            pack = pack_pair if self.params.double_clock else pack_weights
            word = Cat(
                pack(low, high)
                for even, odd in zip(dsp[::2], dsp[1::2], strict=True)
                for low, high in zip(even, odd, strict=True)
            )
            m.d.comb += self.dsp.eq(self._captured(m, word, "packed"))
        if sp2:
            codes = self._captured(m, Cat(Cat(column) for column in sp2), "codes")
            m.d.comb += self.sp2.eq(codes)
            self._correction(m, codes)
        return m

    def _captured(self, m: Module, word: Value, name: str) -> Value:
        """`word` held since `capture`, in parts with an enable each."""
        parts = []
        for number, at in enumerate(range(0, len(word), LOADS)):
            part = Signal(min(LOADS, len(word) - at), name=f"{name}_{number}", reset_less=True)
            with m.If(copies(m, self.capture, 1, f"{name}_en_{number}")[0]):
                m.d.sync += part.eq(word[at : at + LOADS])
            parts.append(part)
        return Cat(parts)

    def _correction(self, m: Module, codes: Value) -> None:
        """Units missing from the inverted terms: a sum of sign bits in two pipeline steps."""
        code, ci = self.params.sp2, self.params.in_channels
        width = correction_bits(code, ci)
        totals = []
        for n, column in enumerate(fields(codes, code.bits * ci)):
            step = Signal(Sp2Column.correction_delay, name=f"step{n}", reset_less=True, attrs=KEEP)
            m.d.sync += step.eq(Cat(self.capture, step))
            quarters = []
            for q, words in enumerate(fields(column, code.bits * ci // 4)):
                units = []
                for word in fields(words, code.bits):
                    (_, sign1), (_, sign2) = split_code(code, word)
                    units += [sign1 << term_unit(code.first), sign2 << term_unit(code.second)]
                quarter = Signal(width, name=f"quarter{n}_{q}", reset_less=True)
                with m.If(step[1]):
                    m.d.sync += quarter.eq(sum(units))
                quarters.append(quarter)
            total = Signal(width, name=f"total{n}", reset_less=True)
            with m.If(step[2]):
                m.d.sync += total.eq(sum(quarters))
            active = Signal(width, name=f"active{n}", reset_less=True)
            with m.If(step[Sp2Column.correction_delay - 1]):
                m.d.sync += active.eq(total)
            totals.append(active)
        m.d.comb += self.correction.eq(Cat(totals))


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
