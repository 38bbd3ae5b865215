"""The register table is consistent and all its renderings agree with it."""

from __future__ import annotations

import re

import pytest

from fpga_gen_host import registers
from fpga_gen_host.registers import ACCESS, ADDRESS_BITS, REGISTERS, ErrorCode


def test_offsets_and_fields_do_not_collide():
    offsets = [r.offset for r in REGISTERS]
    assert len(set(offsets)) == len(offsets)
    assert len({r.name for r in REGISTERS}) == len(REGISTERS)
    for entry in REGISTERS:
        assert entry.offset % 4 == 0
        assert entry.offset < 1 << ADDRESS_BITS
        used = 0
        for field in entry.fields:
            assert field.access in ACCESS
            assert field.lsb + field.bits <= 32
            assert not used & field.mask, f"{entry.name}.{field.name} overlaps"
            used |= field.mask


def test_port_names_are_unique():
    names = [r.port(f) for r in REGISTERS for f in r.fields]
    assert len(set(names)) == len(names)


def test_constants():
    table = registers.constants()
    assert table["MAGIC"] == int.from_bytes(b"FPGA", "big")
    assert table["STATUS"] == registers.register("STATUS").offset
    assert table["STATUS_ERROR_CODE_MASK"] == 0xFF << table["STATUS_ERROR_CODE_SHIFT"]
    assert table["ERROR_WATCHDOG"] == ErrorCode.WATCHDOG
    assert all(getattr(registers, name) == value for name, value in table.items())
    with pytest.raises(AttributeError, match="has no attribute 'NO_SUCH'"):
        registers.NO_SUCH  # noqa: B018
    with pytest.raises(KeyError):
        registers.register("NO_SUCH")


def test_markdown_lists_every_field_and_error():
    rows = [line for line in registers.markdown().splitlines() if line.startswith("| ")]
    for entry in REGISTERS:
        for field in entry.fields:
            found = [r for r in rows if f"| {entry.name} | {field.name} |" in r]
            assert len(found) == 1
            assert f"0x{entry.offset:02X}" in found[0]
            assert field.doc in found[0]
    assert sum(bool(re.match(r"\| \d+ \| [A-Z_]+ \|", r)) for r in rows) == len(ErrorCode)
    assert all(line.count("|") == rows[0].count("|") for line in rows[: len(rows) // 2])
