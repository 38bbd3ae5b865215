"""Requantisation of one output channel, bit for bit numerics.requantise, one result per cycle.

total = acc + bias, made 27 bits wide (one DSP multiplies it); product shifted right with one bit
to spare, so that rounding is one increment: ((2 x >> s) + 1) >> 1 = (x + 2^(s-1)) >> s; clip.
Stages: 1 sum; 2 narrow; 3, 4 multiply; 5 shift by bytes; 6 shift by bits; 7 round; 8 compare;
9 clip and offset. Bits above the window of a shift only matter as `far`: the result is clipped.
"""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, ValueLike, signed, unsigned
from amaranth.lib.wiring import In, Out

from fpga_gen.contract.numerics import (
    ACC_BITS,
    BIAS_BITS,
    DROP_BITS,
    DROP_SHIFT,
    MULT_BITS,
    SHIFT_BITS,
    TOTAL_BITS,
)
from fpga_gen.contract.params import EngineParams
from fpga_gen.hardware.common.leaf import Leaf, emit_leaf
from fpga_gen.hardware.common.resets import data_register

MODULE = "fpga_gen_requantise"
DOUBLE_BITS = TOTAL_BITS + MULT_BITS + 1  # the product with a bit to spare
VALUE_BITS = 16  # of a result
LIMIT_BITS = VALUE_BITS + 1  # clip limits before the offset: -32768..32767, or 0..255
FINE_BITS = LIMIT_BITS + 1  # a rounded result just beyond them, and the rounding bit
COARSE_BITS = FINE_BITS + 7  # seven more places to shift


def differ(bits: Value) -> Value:
    """1 unless all bits are equal: a signed number does not fit the lowest of them."""
    return bits.any() & ~bits.all()


class RequantLane(Leaf):
    """See module docstring. acc, bias, mult, shift come together; the others are static.

    zero: 128 is taken off the clipped value, whose limits lo and hi are 0..255 then. lo, hi: clip
    limits before that.
    """

    latency = 9

    def __init__(self) -> None:
        super().__init__(
            {
                "acc": In(signed(ACC_BITS)),
                "bias": In(signed(BIAS_BITS)),
                "mult": In(MULT_BITS),
                "shift": In(SHIFT_BITS),
                "zero": In(1),
                "lo": In(signed(LIMIT_BITS)),
                "hi": In(signed(LIMIT_BITS)),
                "value": Out(signed(VALUE_BITS)),
            }
        )

    def elaborate(self, platform) -> Module:
        m = Module()

        def register(name: str, shape, value: ValueLike) -> Signal:
            out = Signal(shape, name=name, reset_less=True)
            m.d.sync += out.eq(value)
            return out

        total = register("total", signed(ACC_BITS), self.acc + self.bias)
        mult = register("mult_1", MULT_BITS, self.mult)
        shift_1 = register("shift_1", SHIFT_BITS, self.shift)
        # Narrow.
        far_shift, beyond = Signal(), Signal()
        saturated = Cat((~total[-1]).replicate(TOTAL_BITS - 1), total[-1])
        near = Mux(beyond, saturated, total[:TOTAL_BITS])
        m.d.comb += [
            far_shift.eq(shift_1 >= DROP_SHIFT),
            beyond.eq(differ(total[TOTAL_BITS - 1 :])),
        ]
        narrow = register(
            "narrow", signed(TOTAL_BITS), Mux(far_shift, total >> DROP_BITS, near).as_signed()
        )
        mult = register("mult_2", MULT_BITS, mult)
        shift = register("shift_2", SHIFT_BITS, shift_1 - Mux(far_shift, DROP_BITS, 0))
        # Multiply: two registers, for the pipeline of the DSP.
        product = register("product", signed(DOUBLE_BITS - 1), narrow * mult)
        product = register("product_2", signed(DOUBLE_BITS - 1), product)
        for index in (3, 4):
            shift = register(f"shift_{index}", SHIFT_BITS, shift)
        doubled = Signal(signed(DOUBLE_BITS))
        m.d.comb += doubled.eq(Cat(Const(0, 1), product))
        # Shift by 0, 8 .. 56 places.
        window, lost = Signal(signed(DOUBLE_BITS)), Signal()
        m.d.comb += window.eq(doubled >> Cat(Const(0, 3), shift[3:]))
        with m.Switch(shift[3:]):
            for places in range(0, DOUBLE_BITS - COARSE_BITS + 1, 8):
                with m.Case(places // 8):
                    m.d.comb += lost.eq(differ(doubled[places + COARSE_BITS - 1 :]))
        coarse = register("coarse", signed(COARSE_BITS), window[:COARSE_BITS].as_signed())
        far = register("far_5", unsigned(1), lost)
        sign = register("sign_5", unsigned(1), product[-1])
        shift = register("shift_5", 3, shift[:3])
        # Shift by 0 .. 7 places.
        window, lost = Signal(signed(COARSE_BITS)), Signal()
        m.d.comb += window.eq(coarse >> shift)
        with m.Switch(shift):
            for places in range(8):
                with m.Case(places):
                    m.d.comb += lost.eq(differ(coarse[places + FINE_BITS - 1 :]))
        fine = register("fine", signed(FINE_BITS), window[:FINE_BITS].as_signed())
        far = register("far_6", unsigned(1), far | lost)
        sign = register("sign_6", unsigned(1), sign)
        # Round.
        increment = Signal(signed(FINE_BITS + 1))
        m.d.comb += increment.eq(fine + 1)
        rounded = register("rounded", signed(FINE_BITS), increment[1:].as_signed())
        far = register("far_7", unsigned(1), far)
        sign = register("sign_7", unsigned(1), sign)
        # Compare.
        over = register("over", unsigned(1), Mux(far, ~sign, rounded > self.hi))
        under = register("under", unsigned(1), Mux(far, sign, rounded < self.lo))
        value = register("value_8", VALUE_BITS, rounded[:VALUE_BITS])
        # Clip; taking 128 off 0..255 inverts bit 7 and spreads the result's sign.
        clipped = Signal(VALUE_BITS)
        hi, lo = self.hi[:VALUE_BITS], self.lo[:VALUE_BITS]
        m.d.comb += clipped.eq(Mux(over, hi, Mux(under, lo, value)))
        high = Mux(self.zero, (~clipped[7]).replicate(8), clipped[8:])
        value = data_register(m, self.value)
        m.d.sync += value.eq(Cat(clipped[:7], clipped[7] ^ self.zero, high).as_signed())
        return m


def emit(params: EngineParams) -> dict[str, str]:
    """{module name: Verilog}."""
    return {MODULE: emit_leaf(RequantLane(), MODULE)}
