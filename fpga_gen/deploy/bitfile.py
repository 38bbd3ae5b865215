"""A stand-in for a bitstream: the container of a .bit file around an identity instead of a design.

It holds no configuration and no synchronisation word, so a real device refuses it. The virtual
board accepts it as the one design that it simulates.
"""

from __future__ import annotations

import hashlib

NOTE = b"fpga-gen stand-in bitstream: no configuration data, for the virtual board only"
# Fields of a .bit file: a fixed preamble, then key, 16-bit length, text for 'a' to 'd'; 'e' has a
# 32-bit length and the data.
PREAMBLE = bytes.fromhex("0009 0ff00ff00ff00ff000 0001")
DATE, TIME = b"2000/01/01", b"00:00:00"  # the same build gives the same bytes


def is_stand_in(data: bytes) -> bool:
    """Whether a .bit file is one of these."""
    return NOTE in data


def stand_in_bitstream(name: str, part: str, design_hash: int, handoff: str) -> bytes:
    """The .bit of one design, told apart by its hash and its hardware handoff."""
    identity = hashlib.sha256(f"{design_hash:016x}\n{handoff}".encode()).digest()
    data = (NOTE + b"\0" * (-len(NOTE) % 4)) + identity
    texts = (f"{name};UserID=0XFFFFFFFF;Version=fpga-gen".encode(), part.encode(), DATE, TIME)
    fields = b"".join(
        key + (len(text) + 1).to_bytes(2, "big") + text + b"\0"
        for key, text in zip((b"a", b"b", b"c", b"d"), texts, strict=True)
    )
    return PREAMBLE + fields + b"e" + len(data).to_bytes(4, "big") + data
