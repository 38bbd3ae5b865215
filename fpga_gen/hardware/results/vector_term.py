"""What the parts of the vector unit tell each other of a read and its word."""

from __future__ import annotations

from amaranth.hdl import signed
from amaranth.lib import data

from fpga_gen.contract.address import ADDRESS_BITS
from fpga_gen.contract.isa import MAX_SKIP, MAX_TABLE, width
from fpga_gen.contract.params import EngineParams
from fpga_gen.hardware.common.records import PlainStruct

# A read that is issued. x_index: word of the x table; low: of the low byte plane; base: of the
# plane that the source's block reads, low_offset: from there to the low bytes; wide, zero, factor,
# still: of the source; pixel: of the output, out: where it goes; first_source: of several; first,
# last: of the result's reads; both: the second pixel is there.
READ = PlainStruct(
    {
        "valid": 1,
        "y_index": range(MAX_TABLE),
        "x_index": range(MAX_TABLE // 2),
        "low": 1,
        "base": ADDRESS_BITS,
        "low_offset": ADDRESS_BITS,
        "wide": 1,
        "zero": 1,
        "factor": signed(width("factor")),
        "still": 1,
        "pixel": ADDRESS_BITS,
        "out": ADDRESS_BITS,
        "first_source": 1,
        "first": 1,
        "last": 1,
        "both": 1,
    }
)
# Facts of an instruction, while it runs. product: MUL.
FACTS = data.StructLayout(
    {
        "direct_address": 1,
        "direct_weight": 1,
        "product": 1,
        "out16": 1,
        "out_low": ADDRESS_BITS,
    }
)
WEIGHT_BITS = 1 + max(width("factor"), 2 * width("weight"))


def term_layout(params: EngineParams) -> PlainStruct:
    """One term of a result, or a byte plane of one, in the cycle in which its word is there.

    valid: there is one; weights: of each pixel's columns, signed; skip: words from the first
    pixel's left column to the second's; operand: it is the first factor of a product,
    operand_first: its first plane; second: it is the second factor; first, last: of the sum; both:
    the second pixel is there; address: output of the first pixel. A cycle before the others:
    high_plane: high byte of a 16-bit value; plus: 128 is added.
    """
    return PlainStruct(
        {
            "valid": 1,
            "weights": data.ArrayLayout(
                signed(WEIGHT_BITS), params.vector_pixels * params.vector_taps
            ),
            "skip": range(MAX_SKIP + 1),
            "operand": 1,
            "operand_first": 1,
            "second": 1,
            "first": 1,
            "last": 1,
            "both": 1,
            "address": ADDRESS_BITS,
            "high_plane": 1,
            "plus": 1,
        }
    )
