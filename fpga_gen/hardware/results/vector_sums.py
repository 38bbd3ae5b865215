"""Arithmetic of the vector unit: word, value, product and sum, one term a cycle: of each pixel the
values of two neighbouring columns."""

from __future__ import annotations

from amaranth.hdl import Array, Module, Mux, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from fpga_gen.contract.numerics import ACC_BITS
from fpga_gen.contract.params import EngineParams
from fpga_gen.hardware.common.address import add, constant, delay
from fpga_gen.hardware.common.fan_out import copies_for, tree
from fpga_gen.hardware.common.joints import VectorResult
from fpga_gen.hardware.results.vector_term import FACTS, term_layout

CHANNELS_PER_COPY = 2  # channels that share one copy of their controls
OPERAND_BITS = 18  # of a multiplier


class VectorSums(wiring.Component):
    """acc = (first ? 0 : acc) + products of a pixel's columns, for CI channels of every pixel of a
    step.

    Members:
        term: In, see `term_layout`. words: In, what was read, from the first pixel's word on.
        facts: In, of the instruction: a 16-bit result leaves in two steps.
        result: Out, 5 cycles after its last term.
    """

    def __init__(self, params: EngineParams) -> None:
        self.params = params
        super().__init__(
            {
                "term": In(term_layout(params)),
                "words": In(params.vector_words * params.word_bits),
                "facts": In(FACTS),
                "result": Out(VectorResult(params)),
            }
        )

    def elaborate(self, platform) -> Module:
        m = Module()
        self.groups = -(-self.params.vector_pixels * self.params.in_channels // CHANNELS_PER_COPY)
        values = [self._values(m, tap) for tap in range(self.params.vector_taps)]
        self._put_out(m, self._sums(m, values))
        return m

    def _copied(self, m: Module, value: Value, name: str, reset_less: bool = True) -> list:
        """A register for every few channels, see fan_out."""
        return tree(m, value, [self.groups], name, reset_less=reset_less)

    def _values(self, m: Module, tap: int) -> list[Signal]:
        """Value of every channel in a pixel's left or right column, a cycle after its byte."""
        p, term = self.params, self.term
        high_plane = self._copied(m, term.high_plane, f"high_copy_{tap}")
        plus = self._copied(m, term.plus, f"plus_copy_{tap}")
        skip = tree(m, term.skip, [copies_for(p.word_bits)], f"skip_copy_{tap}")

        def byte(word: int, channel: int) -> Value:
            return self.words[word * p.word_bits + 8 * channel :][:8]

        found = [byte(tap, k) for k in range(p.in_channels)]
        if p.vector_pixels == 2:
            for k in range(p.in_channels):
                options = [byte(n, k) for n in range(tap, p.vector_words)]
                found.append(Array(options)[skip[k * len(skip) // p.in_channels]])
        values = []
        for channel, stored in enumerate(found):
            copy, stored = channel // CHANNELS_PER_COPY, stored.as_signed()
            value = Signal(signed(OPERAND_BITS), name=f"value_{tap}_{channel}", reset_less=True)
            low = stored + Mux(plus[copy], 128, 0)
            m.d.sync += value.eq(Mux(high_plane[copy], stored << 8, low))
            values.append(value)
        return values

    def _sums(self, m: Module, values: list[list[Signal]]) -> list[Signal]:
        """values: by column of a pixel. A product of maps is one of the left columns."""
        p, term = self.params, self.term
        second = self._copied(m, term.second, "second_copy")
        take = self._copied(m, term.valid & term.operand, "operand_copy", False)
        take_first = self._copied(m, term.operand_first, "operand_first_copy")
        sum_now = self._copied(m, term.valid & ~term.operand, "sum", False)
        add_up = [delay(m, v, 2, f"sum_now_{k}") for k, v in enumerate(sum_now)]
        firsts = self._copied(m, term.first, "first")
        first = [delay(m, v, 2, f"first_{k}") for k, v in enumerate(firsts)]
        weights = [
            delay(m, term.weights[index], 1, f"value_weight_{index}").as_signed()
            for index in range(p.vector_pixels * p.vector_taps)
        ]
        sums = []
        for channel, value in enumerate(values[0]):
            copy, pixel = channel // CHANNELS_PER_COPY, channel // p.in_channels
            operand = Signal(signed(OPERAND_BITS), name=f"operand_{channel}", reset_less=True)
            left, both, acc = (
                Signal(signed(ACC_BITS), name=f"{n}_{channel}", reset_less=True)
                for n in ("product", "products", "sum")
            )
            weight, *others = weights[pixel * p.vector_taps :][: p.vector_taps]
            m.d.sync += left.eq(value * Mux(second[copy], operand, weight))
            total: Value = left
            for column, other in zip(values[1:], others, strict=True):
                right = Signal(signed(ACC_BITS), name=f"right_{channel}", reset_less=True)
                m.d.sync += right.eq(column[channel] * other)
                total = left + right
            m.d.sync += both.eq(total)
            with m.If(take[copy]):
                m.d.sync += operand.eq(Mux(take_first[copy], value, operand + value))
            with m.If(add_up[copy]):
                m.d.sync += acc.eq(Mux(first[copy], both, acc + both))
            sums.append(acc)
        return sums

    def _put_out(self, m: Module, sums: list[Signal]) -> None:
        """The result, of a 16-bit map a second time for its low bytes."""
        p, term, result = self.params, self.term, self.result
        channels = len(sums)
        done = delay(m, term.last, 4, "done", reset_less=False)
        low_step = delay(m, done & self.facts.out16, 1, "low_step", reset_less=False)
        low_steps = tree(m, done & self.facts.out16, [copies_for(channels * ACC_BITS)], "low_copy")
        both = delay(m, term.both, 4, "done_both")
        for channel, acc in enumerate(sums):
            held = delay(m, acc, 1, f"held_{channel}")  # the next result may be under way
            low = low_steps[channel * len(low_steps) // channels]
            m.d.comb += result.sums[channel].eq(Mux(low, held, acc))
        m.d.comb += [
            result.valid.eq(done | low_step),
            result.high.eq(done & self.facts.out16),
            result.both.eq(Mux(low_step, delay(m, both, 1, "low_both"), both)),
        ]
        for index in range(p.vector_pixels):
            address = delay(m, term.address, 3, f"product_address_{index}")
            if index:
                address = add(m, address, constant(index, p.banks), p.banks, f"pixel_{index}")
            address = delay(m, address, 1, f"done_address_{index}")
            low_sum = add(m, address, self.facts.out_low, p.banks, f"vector_low_{index}")
            low_address = delay(m, low_sum, 1, f"low_address_{index}")
            m.d.comb += result.address[index].eq(Mux(low_step, low_address, address))
