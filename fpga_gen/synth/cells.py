"""What the cells of a netlist mapped by Yosys for AMD devices take and how deep they are.

Levels: a LUT is one; a carry chain counts one for every 16 bits it passes, so that with the LUTs
in front of it, which share its slices, up to 16 bits are two levels; the multiplexers behind the
LUTs of a slice (MUXF7..9) are free. A source inside a hard block without an output register
starts at `UNREGISTERED` levels, a shift register or LUT memory at one.
"""

from __future__ import annotations

import re
from dataclasses import astuple, dataclass, field

CARRY_BITS_PER_LEVEL = 16
UNREGISTERED = 2  # levels of a block RAM or multiplier without its output register

# LUTs of memory and shift-register primitives (UG474, UG574: SLICEM).
LUT_MEMORY = {
    "RAM32X1S": 1,
    "RAM32X1D": 2,
    "RAM64X1S": 1,
    "RAM64X1D": 2,
    "RAM128X1S": 2,
    "RAM128X1D": 4,
    "RAM256X1S": 4,
    "RAM256X1D": 8,
    "RAM512X1S": 8,
    "RAM32M": 4,
    "RAM64M": 4,
    "RAM32M16": 8,
    "RAM64M8": 8,
}
SHIFT_REGISTERS = ("SRL16E", "SRLC16E", "SRLC32E")
_LUT = re.compile(r"LUT[1-6]|INV")
_FLIP_FLOP = re.compile(r"FD[RSCP]E(_1)?|LD[CP]E")
_WIDE_MUX = re.compile(r"MUXF[789]")
BLOCK_RAM = {"RAMB36E1": 1.0, "RAMB36E2": 1.0, "RAMB18E1": 0.5, "RAMB18E2": 0.5}
IGNORED = ("VCC", "GND", "BUFG", "$scopeinfo", "$print", "$check")


@dataclass(frozen=True)
class Cost:
    """Primitives of a block; adds, and multiplies by a number of copies. lut: LUTs, those used as
    memory or shift registers (lut_memory) among them; bram36: halves are RAMB18."""

    lut: float = 0
    ff: float = 0
    dsp: float = 0
    bram36: float = 0
    uram: float = 0
    lut_memory: float = field(default=0)

    def __add__(self, other: Cost) -> Cost:
        return Cost(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))

    def __mul__(self, copies: float) -> Cost:
        return Cost(*(copies * a for a in astuple(self)))


def is_flip_flop(kind: str) -> bool:
    return bool(_FLIP_FLOP.fullmatch(kind))


def is_lut(kind: str) -> bool:
    return bool(_LUT.fullmatch(kind))


def is_wide_mux(kind: str) -> bool:
    return bool(_WIDE_MUX.fullmatch(kind))


def is_slice_memory(kind: str) -> bool:
    """LUT memory and shift registers."""
    return kind in LUT_MEMORY or kind in SHIFT_REGISTERS


def is_hard_block(kind: str) -> bool:
    """Block RAM, UltraRAM and DSP."""
    return kind in BLOCK_RAM or kind.startswith(("URAM288", "DSP48"))


def is_primitive(kind: str) -> bool:
    """Cells that this module knows; the others are modules, or an error."""
    return (
        kind in LUT_MEMORY
        or kind in SHIFT_REGISTERS
        or kind in IGNORED
        or kind == "CARRY4"
        or kind == "CARRY8"
        or is_lut(kind)
        or is_flip_flop(kind)
        or is_wide_mux(kind)
        or is_hard_block(kind)
    )


def cell_cost(kind: str) -> Cost:
    """What one primitive takes."""
    if is_lut(kind):
        return Cost(lut=1)
    if is_flip_flop(kind):
        return Cost(ff=1)
    if kind in SHIFT_REGISTERS:
        return Cost(lut=1, lut_memory=1)
    if kind in LUT_MEMORY:
        return Cost(lut=LUT_MEMORY[kind], lut_memory=LUT_MEMORY[kind])
    if kind in BLOCK_RAM:
        return Cost(bram36=BLOCK_RAM[kind])
    if kind.startswith("URAM288"):
        return Cost(uram=1)
    if kind.startswith("DSP48"):
        return Cost(dsp=1)
    return Cost()
