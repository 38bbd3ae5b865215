"""SP2 column: one dot product per lane with weights that are sums of two powers of two.

A term is the activation shifted by its select field and inverted by its sign: three data bits,
two select bits and the sign make one LUT6 per bit. Inversion is one short of negation; the missing
units are a constant of the weights, `correction`, worked out once per column (`correction_of`).
"""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib.wiring import In, Out

from fpga_gen.contract import modules
from fpga_gen.contract.numerics import Sp2Code
from fpga_gen.contract.params import EngineParams
from fpga_gen.errors import ScheduleError
from fpga_gen.hardware.array.mac_dsp import DOT_BITS
from fpga_gen.hardware.common.fan_out import KEEP, copies
from fpga_gen.hardware.common.leaf import Leaf, emit_leaves, fields

MODULE = modules.SP2_COLUMN
CODE_BITS = 48  # code bits of one copy of `switch`


def term_unit(magnitudes: tuple[int, ...]) -> int:
    """log2 of the smallest non-zero magnitude of a term; every magnitude is a power of two."""
    shifts = [v.bit_length() - 1 for v in magnitudes if v]
    if not shifts or any(v & (v - 1) for v in magnitudes):
        raise ScheduleError(f"SP2 magnitudes {magnitudes} must be 0 or powers of two")
    return min(shifts)


def split_code(code: Sp2Code, word: Value) -> tuple[tuple[Value, Value], tuple[Value, Value]]:
    """((select1, sign1), (select2, sign2)) of one code word."""
    n1, n2 = code.select_bits
    at2 = n1 if code.common_sign else n1 + 1
    sign2 = word[at2 + n2]
    return (word[:n1], sign2 if code.common_sign else word[n1]), (word[at2 : at2 + n2], sign2)


def correction_bits(code: Sp2Code, in_channels: int) -> int:
    """Width of the correction of a column: units of every term negative."""
    unit = (1 << term_unit(code.first)) + (1 << term_unit(code.second))
    return (unit * in_channels).bit_length()


def correction_of(m: Module, code: Sp2Code, capture: Value, column: Value, n: int) -> Value:
    """Correction of the n-th column's code words: a sum of sign bits in two pipeline steps.

    The words are there two cycles after `capture`, the correction `Sp2Column.correction_delay`
    cycles after the columns' switch, which comes one cycle after `capture`.
    """
    in_channels = len(column) // code.bits
    width = correction_bits(code, in_channels)
    step = Signal(Sp2Column.correction_delay, name=f"step{n}", reset_less=True, attrs=KEEP)
    m.d.sync += step.eq(Cat(capture, step))
    quarters = []
    for q, words in enumerate(fields(column, len(column) // 4)):
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
    return active


class Sp2Column(Leaf):
    """dot = sum over i of act[i] * level(code[i]); one result per cycle.

    One cycle after `switch` the code words are taken from `weights`; they apply to the activations
    of the cycle after that. `correction` must be there `correction_delay` cycles after `switch`.

    Members:
        act: In(8 * CI), signed bytes, input 0 lowest, not skewed.
        weights: In(code.bits * CI), code words, input 0 lowest.
        correction: In(correction_bits), unsigned.
        switch: In(1).
        dot: Out(20), signed, `latency` + 1 cycles after the `switch` of the activations.
    """

    act_delay = 2  # cycles from `switch` to the activations it applies to
    correction_delay = 5

    def __init__(self, in_channels: int, code: Sp2Code) -> None:
        self.in_channels = in_channels
        self.code = code
        super().__init__(
            {
                "act": In(8 * in_channels),
                "weights": In(code.bits * in_channels),
                "correction": In(correction_bits(code, in_channels)),
                "switch": In(1),
                "dot": Out(DOT_BITS),
            }
        )

    @property
    def latency(self) -> int:
        """Code register, two-term products, two halves of the adder tree, correction."""
        return 5

    def _term(self, m: Module, name: str, act: Value, magnitudes, select: Value, sign: Value):
        """select-th multiple of `act` with its bits inverted when `sign`, in units of the term."""
        unit = term_unit(magnitudes)
        width = 8 + max(magnitudes).bit_length() - 1 - unit
        choices = []
        for index in range(1 << len(select)):
            v = magnitudes[min(index, len(magnitudes) - 1)]
            shift = v.bit_length() - 1 - unit
            choices.append(
                Cat(Const(0, shift), act, act[-1].replicate(width - 8 - shift)) if v else 0
            )
        for bit in range(len(select)):
            choices = [
                Mux(select[bit], high, low)
                for low, high in zip(choices[::2], choices[1::2], strict=True)
            ]
        term = Signal(signed(width), name=name)
        m.d.comb += term.eq(choices[0] ^ sign.replicate(width))
        return term

    def elaborate(self, platform) -> Module:
        m = Module()
        parts = []
        for number, part in enumerate(fields(self.weights, CODE_BITS)):
            code = Signal(len(part), name=f"codes{number}", reset_less=True)
            with m.If(copies(m, self.switch, 1, f"switch{number}")[0]):
                m.d.sync += code.eq(part)
            parts.append(code)
        codes = Cat(parts)
        unit1, unit2 = term_unit(self.code.first), term_unit(self.code.second)
        top = 128 * self.code.max_level + (1 << unit1) + (1 << unit2)
        sums = []
        for i, (act, word) in enumerate(
            zip(fields(self.act, 8), fields(codes, self.code.bits), strict=True)
        ):
            (select1, sign1), (select2, sign2) = split_code(self.code, word)
            term1 = self._term(m, f"first{i}", act, self.code.first, select1, sign1)
            term2 = self._term(m, f"second{i}", act, self.code.second, select2, sign2)
            product = Signal(signed(top.bit_length() + 1), name=f"product{i}", reset_less=True)
            m.d.sync += product.eq((term1 << unit1) + (term2 << unit2))
            sums.append(product)
        level = 0
        while level < 4:  # two adders between registers; a short tree is padded with registers
            level += 1
            if len(sums) > 1:
                top *= 2
                sums = [a + b for a, b in zip(sums[::2], sums[1::2], strict=True)]
            named = [
                Signal(signed(top.bit_length() + 1), name=f"sum{level}_{n}", reset_less=True)
                for n in range(len(sums))
            ]
            domain = m.d.sync if level % 2 == 0 else m.d.comb
            domain += [s.eq(v) for s, v in zip(named, sums, strict=True)]
            sums = named
        dot = Signal(signed(DOT_BITS), reset_less=True)
        m.d.sync += dot.eq(sums[0] + self.correction)
        m.d.comb += self.dot.eq(dot)
        return m


def leaves(params: EngineParams) -> dict[str, Leaf]:
    """The leaf by module name; empty if the engine has no SP2 columns."""
    return {MODULE: Sp2Column(params.in_channels, params.sp2)} if params.sp2_columns else {}


def emit(params: EngineParams) -> dict[str, str]:
    """{module name: Verilog} of the leaf."""
    return emit_leaves(leaves(params))
