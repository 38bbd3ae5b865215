"""What goes with a word that the vector unit reads."""

from __future__ import annotations

from amaranth.hdl import signed
from amaranth.lib import data

from fpga_gen.contract.isa import ADDRESS_BITS, MAX_SKIP, width
from fpga_gen.contract.params import EngineParams
from fpga_gen.hardware.common.records import PlainStruct

WEIGHT_BITS = 1 + max(width("factor"), 2 * width("weight"))


def term_layout(params: EngineParams) -> PlainStruct:
    """One term of a result, or a byte plane of one, in the cycle in which its word is there.

    valid: there is one; weights: of each pixel, signed; skip: words from the first pixel's value to
    the second's; operand: it is the first factor of a product, operand_first: its first plane;
    second: it is the second factor; first, last: of the sum; both: the second pixel is there;
    address: output of the first pixel. A cycle before the others: high_plane: high byte of a 16-bit
    value; plus: 128 is added.
    """
    return PlainStruct(
        {
            "valid": 1,
            "weights": data.ArrayLayout(signed(WEIGHT_BITS), params.vector_pixels),
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
