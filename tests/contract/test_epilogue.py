"""The epilogue: what it stores, and its way through the fields of instructions."""

from __future__ import annotations

import numpy as np
import pytest

from fpga_gen.contract.epilogue import Epilogue, finish
from fpga_gen.contract.isa import ConvInstruction, PoolInstruction, VectorInstruction
from fpga_gen.contract.numerics import FORMATS, I8, I16, U8

WRITERS = (ConvInstruction, PoolInstruction, VectorInstruction)


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize("fmt", FORMATS.values(), ids=FORMATS)
def test_instruction_fields_and_back(kind, fmt) -> None:
    epilogue = Epilogue(fmt, fmt.lo + 7, fmt.hi - 11)
    instruction = epilogue.into(kind(n_blocks=3, layer="conv0"))
    assert (instruction.n_blocks, instruction.layer) == (3, "conv0")
    assert Epilogue.of(kind.decode(kind(**{**vars_of(instruction)}).encode())) == epilogue


def vars_of(instruction) -> dict[str, int]:
    return {name: getattr(instruction, name) for name in ("out16", "zero", "lo", "hi")}


@pytest.mark.parametrize("kind", WRITERS)
def test_there_is_no_wide_format_with_a_zero(kind) -> None:
    with pytest.raises(ValueError, match="no format has 16 bits and a zero"):
        Epilogue.of(kind(out16=1, zero=1))


@pytest.mark.parametrize(
    ("epilogue", "stored"),
    [
        (Epilogue.whole(I8), [-128, -3, 100, 127]),
        (Epilogue.whole(U8), [-128, -128, -28, 127]),
        (Epilogue(U8, -128, 20), [-128, -128, -28, 20]),
        (Epilogue.whole(I16), [-300, -3, 100, 300]),
        (Epilogue(I16, 0, 250), [0, 0, 100, 250]),
    ],
    ids=str,
)
def test_stored_values(epilogue: Epilogue, stored: list[int]) -> None:
    values = np.array([-300, -3, 100, 300])
    assert epilogue.apply(values).tolist() == stored
    assert finish(2 * values - 9, epilogue, 9, 1 << 15, 16).tolist() == stored
