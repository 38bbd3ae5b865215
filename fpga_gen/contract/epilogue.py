"""What happens to a requantised sum on its way to memory, from the quantiser to the exit path.

stored = min(max(value + zero, lo), hi), with the zero of the output's format; the bytes of a 16-bit
result go to two planes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from fpga_gen.contract.isa import ConvInstruction, PoolInstruction, VectorInstruction
from fpga_gen.contract.numerics import FORMATS, Format, requantise

Writer = TypeVar("Writer", ConvInstruction, PoolInstruction, VectorInstruction)


@dataclass(frozen=True)
class Epilogue:
    """The way out of a layer. format: of its output; lo, hi: least and largest stored value."""

    format: Format
    lo: int
    hi: int

    @staticmethod
    def whole(fmt: Format) -> Epilogue:
        """All values of a format."""
        return Epilogue(fmt, fmt.lo, fmt.hi)

    def apply(self, values: np.ndarray) -> np.ndarray:
        """Stored integers of requantised sums."""
        return np.clip(values + self.format.zero, self.lo, self.hi)

    def into(self, instruction: Writer) -> Writer:
        """The instruction with its fields for this epilogue."""
        return replace(
            instruction,
            out16=int(self.format.bits == 16),
            zero=int(self.format.zero != 0),
            lo=self.lo,
            hi=self.hi,
        )

    @staticmethod
    def of(instruction: Writer) -> Epilogue:
        """The epilogue of an instruction; ValueError if there is no such format."""
        wanted = (instruction.out16, instruction.zero)
        for fmt in FORMATS.values():
            if (int(fmt.bits == 16), int(fmt.zero != 0)) == wanted:
                return Epilogue(fmt, instruction.lo, instruction.hi)
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
    return out
