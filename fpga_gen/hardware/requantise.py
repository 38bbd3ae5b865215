"""Requantisation of one output channel, bit for bit numerics.requantise.

stored = clip((((acc + bias) * mult + half) >> shift) - 128 * zero, lo, hi),
half = 2^(shift-1), or 0 when shift is 0. Three named parts: multiply, round, clip; one result per
cycle.
"""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib.wiring import In, Out

from fpga_gen.hardware.mac_leaf import Leaf, emit_leaf
from fpga_gen.hardware.params import EngineParams
from fpga_gen.quant.numerics import ACC_BITS, BIAS_BITS, MULT_BITS, SHIFT_BITS

MODULE = "fpga_gen_requantise"
PRODUCT_BITS = ACC_BITS + MULT_BITS
RESULT_BITS = 18  # saturated before the clip: one bit more than the clip limits and the zero need


class RequantLane(Leaf):
    """See module docstring. acc, bias, mult, shift come together; zero, lo, hi are static."""

    latency = 7

    def __init__(self) -> None:
        super().__init__(
            {
                "acc": In(signed(ACC_BITS)),
                "bias": In(signed(BIAS_BITS)),
                "mult": In(MULT_BITS),
                "shift": In(SHIFT_BITS),
                "zero": In(1),
                "lo": In(signed(16)),
                "hi": In(signed(16)),
                "value": Out(signed(16)),
            }
        )

    def elaborate(self, platform) -> Module:
        m = Module()
        total = Signal(signed(ACC_BITS), reset_less=True)
        mult = Signal(MULT_BITS, reset_less=True)
        m.d.sync += [total.eq(self.acc + self.bias), mult.eq(self.mult)]
        shift = self._later(m, self.shift, 4)
        # Multiply: three registers, for the pipeline of the two DSPs it takes.
        product = Signal(signed(PRODUCT_BITS), reset_less=True)
        product_2 = Signal(signed(PRODUCT_BITS), reset_less=True)
        product_3 = Signal(signed(PRODUCT_BITS), reset_less=True)
        m.d.sync += [
            product.eq(total * mult.as_unsigned()),
            product_2.eq(product),
            product_3.eq(product_2),
        ]
        # Shift by (shift - 1): coarse, then fine; the last bit is the rounding bit.
        amount = Signal(SHIFT_BITS)
        m.d.comb += amount.eq(Mux(shift == 0, 0, shift - 1))
        coarse = Signal(signed(PRODUCT_BITS + 1), reset_less=True)
        fine_amount = Signal(3, reset_less=True)
        # With shift 0 the value enters one place higher, so that bit 0 never rounds.
        value = Mux(shift == 0, Cat(0, product_3).as_signed(), product_3)
        m.d.sync += [
            coarse.eq(value >> Cat(0, 0, 0, amount[3:])),
            fine_amount.eq(amount[:3]),
        ]
        fine = Signal(signed(PRODUCT_BITS + 1))
        m.d.comb += fine.eq(coarse >> fine_amount)
        rounded = Signal(signed(RESULT_BITS), reset_less=True)
        high = fine[RESULT_BITS - 1 :]
        overflow = (fine[-1] == 0) & high.any()
        underflow = (fine[-1] == 1) & ~high.all()
        limit = (1 << (RESULT_BITS - 1)) - 1
        near = Signal(signed(RESULT_BITS + 1))
        m.d.comb += near.eq((fine[: RESULT_BITS + 1].as_signed() + 1) >> 1)
        m.d.sync += rounded.eq(Mux(overflow, limit >> 1, Mux(underflow, -(limit >> 1), near)))
        # Clip.
        shifted = Signal(signed(RESULT_BITS), reset_less=True)
        m.d.comb += shifted.eq(rounded - (self.zero << 7))
        m.d.sync += self.value.eq(
            Mux(shifted < self.lo, self.lo, Mux(shifted > self.hi, self.hi, shifted))
        )
        return m

    def _later(self, m: Module, value, cycles: int):
        for index in range(cycles):
            stage = Signal(len(value), name=f"shift_{index + 1}", reset_less=True)
            m.d.sync += stage.eq(value)
            value = stage
        return value


def emit(params: EngineParams) -> dict[str, str]:
    """{module name: Verilog}."""
    return {MODULE: emit_leaf(RequantLane(), MODULE)}
