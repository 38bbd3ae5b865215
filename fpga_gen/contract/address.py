"""Addresses of the feature-map memory: pairs (row, bank) with linear = row * banks + bank.

Offsets may have a negative row; the bank part is always 0..banks-1, so that adding two of them is
one small carry.
"""

from __future__ import annotations

from typing import Any

from fpga_gen.contract.fields import bits

BANK_BITS = 6
ROW_BITS = 14
ADDRESS_BITS = BANK_BITS + ROW_BITS


def address(doc: str = "", *, word: bool = False) -> Any:
    """A record's field that holds the code of an address or offset, see `fields.bits`."""
    return bits(ADDRESS_BITS, doc, word=word, address=True)


def pack_address(linear: int, banks: int) -> int:
    """(row, bank) code of a linear address or of a (possibly negative) offset."""
    row, bank = divmod(linear, banks)
    if not -(1 << (ROW_BITS - 1)) <= row < (1 << (ROW_BITS - 1)):
        raise ValueError(f"address {linear} does not fit {ROW_BITS} row bits")
    return bank | (row & ((1 << ROW_BITS) - 1)) << BANK_BITS


def unpack_address(code: int, banks: int) -> int:
    """Linear value of a (row, bank) code (row read as signed)."""
    bank = code & ((1 << BANK_BITS) - 1)
    row = code >> BANK_BITS
    if row >> (ROW_BITS - 1):
        row -= 1 << ROW_BITS
    return row * banks + bank
