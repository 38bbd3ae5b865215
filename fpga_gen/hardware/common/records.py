"""Records of the contract as Amaranth layouts: fields by name in flat 64-bit words.

Layouts that are wide or have many fields are `Plain`: Amaranth would name every field of every
signal as a wire of its own in the Verilog.
"""

from __future__ import annotations

from amaranth.hdl import Format, Value, signed, unsigned
from amaranth.lib import data

from fpga_gen.contract.fields import WORD_BITS, Layout
from fpga_gen.contract.isa import (
    BLOCK,
    COLUMN,
    ENTRY,
    ENTRY_BITS,
    GROUP_HEAD,
    HEADER_WORDS,
    LAYOUTS,
    SLOT_ENTRY,
    SOURCE,
    TAP,
    Op,
)
from fpga_gen.contract.parameter_record import PARAM_BITS, PARAMETER
from fpga_gen.contract.records import SlotEntry


class _Plain:
    def format(self, value: Value, format_spec: str) -> Format:
        return Format("{}", Value.cast(value))


class PlainStruct(_Plain, data.StructLayout):
    """A structure without wires for its fields."""


class PlainArray(_Plain, data.ArrayLayout):
    """An array without wires for its elements."""


class RecordLayout(_Plain, data.FlexibleLayout):
    """A record of the contract, in `size` bits: its words unless given."""

    def __init__(self, fields: Layout, size: int = 0) -> None:
        members = {
            f.name: data.Field(signed(f.bits) if f.signed else unsigned(f.bits),
                               WORD_BITS * f.word + f.lsb)
            for f in fields
        }  # fmt: skip
        super().__init__(size or WORD_BITS * fields.words, members)


class HeaderLayout(_Plain, data.FlexibleLayout):
    """Header of any instruction. Its fields: `walk` of CONV and POOL, `vector`, `load`, `store`,
    `fetch`, `page`, `table`; the opcode and `wait` lie at the same place in all of them."""

    def __init__(self) -> None:
        assert RecordLayout(LAYOUTS[Op.CONV]) == RecordLayout(LAYOUTS[Op.POOL])
        ops = {"walk": Op.CONV, "vector": Op.VECTOR, "load": Op.LOAD, "store": Op.STORE,
               "fetch": Op.FETCH, "page": Op.PAGE, "table": Op.TABLE}  # fmt: skip
        super().__init__(
            WORD_BITS * HEADER_WORDS,
            {name: data.Field(RecordLayout(LAYOUTS[op]), 0) for name, op in ops.items()},
        )


HEADER = HeaderLayout()
BLOCK_RECORD = RecordLayout(BLOCK)
TAP_RECORD = RecordLayout(TAP)
SOURCE_RECORD = RecordLayout(SOURCE)
ROW_ENTRY = RecordLayout(ENTRY, ENTRY_BITS)  # of the y table of a VECTOR
COLUMN_ENTRY = RecordLayout(COLUMN)  # of its x table
LIST_ENTRY = RecordLayout(SLOT_ENTRY, WORD_BITS // SlotEntry.PER_WORD)
LIST_WORD = PlainArray(LIST_ENTRY, SlotEntry.PER_WORD)
HEAD_OF_GROUP = RecordLayout(GROUP_HEAD)
PARAMS_OF_CHANNEL = RecordLayout(PARAMETER, PARAM_BITS)
