"""What happens to a requantised sum on its way to memory, from the quantiser to the exit path.

stored = min(max(value + zero, lo), hi), with the zero of the output's format; the bytes of a 16-bit
result go to two planes.

With a table: stored = table[min(max(value, lo), hi)]. Its TABLE_ENTRIES entries are stored bytes,
that of value v at v mod TABLE_ENTRIES; the value is then a level of a grid of its own, as a signed
byte.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from fpga_gen.contract.isa import (
    TABLE_ENTRIES,
    ConvInstruction,
    PoolInstruction,
    VectorInstruction,
)
from fpga_gen.contract.numerics import FORMATS, I8, Format, requantise

Writer = TypeVar("Writer", ConvInstruction, PoolInstruction, VectorInstruction)


@dataclass(frozen=True)
class Epilogue:
    """The way out of a layer. format: of its output; lo, hi: least and largest stored value, or
    least and largest index of the table if there is one (empty: none)."""

    format: Format
    lo: int
    hi: int
    table: tuple[int, ...] = ()

    @staticmethod
    def whole(fmt: Format) -> Epilogue:
        """All values of a format."""
        return Epilogue(fmt, fmt.lo, fmt.hi)

    @staticmethod
    def through(table: tuple[int, ...], fmt: Format) -> Epilogue:
        """A table of stored values of an 8-bit format."""
        return Epilogue(fmt, I8.lo, I8.hi, table)

    def apply(self, values: np.ndarray) -> np.ndarray:
        """Stored integers of requantised sums."""
        if self.table:
            index = np.clip(values, self.lo, self.hi)
            return np.array(self.table, np.int64)[index % TABLE_ENTRIES]
        return np.clip(values + self.format.zero, self.lo, self.hi)

    def into(self, instruction: Writer) -> Writer:
        """The instruction with its fields for this epilogue; the number of its table follows."""
        return replace(
            instruction,
            out16=int(self.format.bits == 16),
            zero=int(self.format.zero != 0 and not self.table),
            lo=self.lo,
            hi=self.hi,
            curve=self.table,
        )

    @staticmethod
    def of(instruction: Writer, table: tuple[int, ...] = ()) -> Epilogue:
        """The epilogue of an instruction; ValueError if there is no such format. table: the one
        that it has the number of; what its bytes mean, the instruction does not say."""
        if table and instruction.out16:
            raise ValueError("16-bit results index no table")
        wanted = (instruction.out16, instruction.zero)
        for fmt in FORMATS.values():
            if (int(fmt.bits == 16), int(fmt.zero != 0)) == wanted:
                return Epilogue(fmt, instruction.lo, instruction.hi, table)
        raise ValueError("no format has 16 bits and a zero")


def finish(acc, epilogue: Epilogue, bias, mult, shift) -> np.ndarray:
    """Stored integers of sums: requantised, then the epilogue. The others as in `requantise`."""
    return epilogue.apply(requantise(acc, bias, mult, shift))


def describe() -> dict:
    """Examples of every format's epilogue and its instruction fields, JSON-able."""
    values = np.array([-40000, -200, -129, -1, 0, 1, 127, 255, 300, 40000])
    out = {}
    for name, fmt in FORMATS.items():
        epilogue = Epilogue(fmt, fmt.lo + 3, fmt.hi - 5)
        words = epilogue.into(ConvInstruction()).encode()
        out[name] = {"stored": epilogue.apply(values).tolist(), "conv": [f"{w:x}" for w in words]}
    table = Epilogue.through(tuple(i - 128 for i in range(TABLE_ENTRIES)), I8)
    out["table"] = {"stored": table.apply(values).tolist()}
    return out
