"""What every lowering returns, and the fields of a result map that all of them share."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fpga_gen.hardware.params import EngineParams
from fpga_gen.isa import Instruction, pack_address
from fpga_gen.quant.ir import QTensor
from fpga_gen.schedule.placement import Placement

Span = tuple[int, int]  # words [first, end) of the feature-map memory
NO_STREAM = np.zeros(0, np.uint32)


@dataclass(frozen=True, eq=False)
class Lowered:
    """An instruction, the granules it takes from the stream, and the words it touches."""

    instruction: Instruction
    stream: np.ndarray
    reads: tuple[Span, ...]
    writes: tuple[Span, ...]


def output_fields(
    params: EngineParams, tensor: QTensor, placement: Placement, plane: int, row: int
) -> dict[str, int]:
    """Header fields of the result map, from (plane, row) on."""
    layout = placement.layout
    return {
        "out_base": pack_address(placement.address(plane, row), params.banks),
        "out_plane": pack_address(layout.plane, params.banks),
        "out_low": pack_address(layout.low, params.banks),
        "out16": 1 if layout.low else 0,
        "zero": 1 if tensor.format.zero else 0,
    }
