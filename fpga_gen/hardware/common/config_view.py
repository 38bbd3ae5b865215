"""Header bits of the running instruction as named values (fields from isa.LAYOUTS)."""

from __future__ import annotations

from collections.abc import Sequence

from amaranth.hdl import Value

from fpga_gen.contract.isa import LAYOUTS, Field, Op


class Fields:
    """Attribute access to the fields of a record held in flat bits of 64-bit words."""

    def __init__(self, bits: Value, layout: Sequence[Field]) -> None:
        for field in layout:
            start = field.word * 64 + field.lsb
            value = bits[start : start + field.bits]
            setattr(self, field.name, value.as_signed() if field.signed else value)

    def __getattr__(self, name: str) -> Value:  # only reached for unknown names
        raise AttributeError(f"instruction has no field {name!r}")


def header_fields(bits: Value, op: Op) -> Fields:
    return Fields(bits, LAYOUTS[op])
