"""Registers in the hardware handoff (.hwh), from the register table."""

from __future__ import annotations

from xml.etree import ElementTree as Xml

from fpga_gen_host.registers import Field, Register

ACCESS = {"ro": "read-only", "rw": "read-write", "w1c": "read-write", "pulse": "write-only"}
REGISTER_BITS = 32


def _properties(parent: Xml.Element, values: dict[str, str]) -> None:
    for name, value in values.items():
        Xml.SubElement(parent, "PROPERTY", NAME=name, VALUE=value)


def register_element(entry: Register) -> Xml.Element:
    """A register with its fields."""
    item = Xml.Element("REGISTER", NAME=entry.name)
    kinds = {ACCESS[f.access] for f in entry.fields}
    _properties(
        item,
        {
            "DESCRIPTION": entry.doc,
            "ADDRESS_OFFSET": f"0x{entry.offset:X}",
            "SIZE": str(REGISTER_BITS),
            "ACCESS": kinds.pop() if len(kinds) == 1 else "read-write",
            "IS_ENABLED": "true",
            "RESET_VALUE": f"0x{sum(f.reset << f.lsb for f in entry.fields):X}",
        },
    )
    Xml.SubElement(item, "FIELDS").extend(_field(entry, f) for f in entry.fields)
    return item


def _field(entry: Register, field: Field) -> Xml.Element:
    item = Xml.Element("FIELD", NAME=field.name if field.name != "value" else entry.name)
    _properties(
        item,
        {
            "DESCRIPTION": field.doc,
            "ADDRESS_OFFSET": str(field.lsb),
            "ACCESS": ACCESS[field.access],
            "BIT_OFFSET": str(field.lsb),
            "BIT_WIDTH": str(field.bits),
        },
    )
    return item
