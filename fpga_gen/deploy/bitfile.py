"""A stand-in for a bitstream: the container of a .bit file around an identity instead of a design.

It holds no configuration and no synchronisation word, so a real device refuses it. The virtual
board accepts it as the one design that it simulates.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from fpga_gen.disk import read_regular, sync_folder

NOTE = b"fpga-gen stand-in bitstream: no configuration data, for the virtual board only"
MAX_BYTES = 1 << 30
HANDOFF_NOTE = b'VIVADOVERSION="fpga-gen '  # in a hand-off that Vivado did not write
# Fields of a .bit file: a fixed preamble, then key, 16-bit length, text for 'a' to 'd'; 'e' has a
# 32-bit length and the data.
HEAD = NOTE + b"\0" * (-len(NOTE) % 4)  # of the data; the design hash follows
HASH_BYTES = 8
PREAMBLE = bytes.fromhex("0009 0ff00ff00ff00ff000 0001")
DATE, TIME = b"2000/01/01", b"00:00:00"  # the same build gives the same bytes


def is_stand_in(path: Path) -> bool:
    """Whether a .bit file is one of these."""
    return _holds(path, NOTE)


def has_stand_in_handoff(path: Path) -> bool:
    """Whether the .hwh beside a .bit is one of fpga-gen's own, or absent."""
    return not path.exists() or _holds(path, HANDOFF_NOTE)


def _holds(path: Path, text: bytes) -> bool:
    try:
        return text in read_regular(path, MAX_BYTES)
    except OSError:
        return False


def remove_stand_ins(folder: Path) -> None:
    """Deletes stand-ins with their hardware hand-off: of an earlier build, or in the way of a real
    bitstream. OSError if the file system refuses."""
    for path in sorted(folder.glob("*.bit")):
        if not is_stand_in(path):
            continue
        handoff = path.with_suffix(".hwh")
        if handoff.exists() and has_stand_in_handoff(handoff):
            handoff.unlink()
        path.unlink()
        sync_folder(folder)


def carried_hash(configuration: bytes) -> int | None:
    """Design hash of a stand-in, None of any other bitstream.

    configuration: the data as PYNQ hands them to the FPGA manager, every four bytes turned round.
    """
    data = b"".join(configuration[i : i + 4][::-1] for i in range(0, len(configuration), 4))
    found = data.removeprefix(HEAD)[:HASH_BYTES]
    return int.from_bytes(found, "big") if data.startswith(HEAD) else None


def stand_in_bitstream(name: str, part: str, design_hash: int, handoff: str) -> bytes:
    """The .bit of one design, told apart by its hash and its hardware handoff."""
    data = HEAD + design_hash.to_bytes(HASH_BYTES, "big")
    data += hashlib.sha256(handoff.encode()).digest()
    texts = (f"{name};UserID=0XFFFFFFFF;Version=fpga-gen".encode(), part.encode(), DATE, TIME)
    fields = b"".join(
        key + (len(text) + 1).to_bytes(2, "big") + text + b"\0"
        for key, text in zip((b"a", b"b", b"c", b"d"), texts, strict=True)
    )
    return PREAMBLE + fields + b"e" + len(data).to_bytes(4, "big") + data
