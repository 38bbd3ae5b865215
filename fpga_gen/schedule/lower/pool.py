"""Lowering of max-pooling: the pixel walk with a running maximum, one plane per group."""

from __future__ import annotations

from fpga_gen.contract.isa import MAX_BLOCKS, Instruction, Op, pack_address
from fpga_gen.contract.params import EngineParams
from fpga_gen.errors import ScheduleError
from fpga_gen.quant.ir import QMaxPool, QTensor
from fpga_gen.schedule.lower.lowered import NO_STREAM, Lowered, output_fields, whole_words
from fpga_gen.schedule.lower.placement import Placement
from fpga_gen.schedule.lower.tables import TapTable
from fpga_gen.schedule.lower.walk import Geometry, live_taps, walk_fields


def lower_pool(
    node: QMaxPool,
    tensors: dict[str, QTensor],
    places: dict[str, Placement],
    params: EngineParams,
    rows: tuple[int, int] | None = None,
) -> list[Lowered]:
    """The POOL instructions of a layer, or of a window [first, end) of its output rows: one for
    every MAX_BLOCKS planes."""
    tensor, out = tensors[node.input], tensors[node.output]
    source, place = places[node.input], places[node.output]
    if tensor.format.bits != 8 or out.format != tensor.format:
        raise ScheduleError(f"layer '{node.name}': max-pooling needs 8-bit maps of one format")
    if source.layout.positions != place.layout.positions:
        raise ScheduleError(f"layer '{node.name}': input and output differ in channel order")
    planes = source.layout.planes
    geometry = Geometry(
        tensor.height, tensor.width, out.height, out.width, node.stride, rows or (0, out.height)
    )
    taps = live_taps(geometry, node.kernel, node.pads[:2], node.dilation)
    table = TapTable(params, tensor.width, node.name)
    start, count = table.add(tuple(t for _, t in taps) or ((-node.pads[0], -node.pads[1]),))
    row = geometry.rows[0] * node.stride[0]
    lowered = []
    for first in range(0, planes, MAX_BLOCKS):
        chosen = range(first, min(first + MAX_BLOCKS, planes))
        blocks = tuple(
            {
                "address": pack_address(source.address(plane, row), params.banks),
                "tap_start": start,
                "tap_count": count,
                "pad": 1,  # -128: padding never wins
                "shift": 0,
            }
            for plane in chosen
        )
        fields = {
            **walk_fields(params, geometry, 1, node.name),
            **output_fields(params, out, place, first, geometry.rows[0]),
            "n_blocks": len(chosen),
            "n_taps": len(table.records),
            "n_groups": len(chosen),
            "slots": count,
            "channels": len(chosen) * params.in_channels,
            "lo": out.format.lo,
            "hi": out.format.hi,
        }
        fields["zero"] = 0  # stored bytes pass unchanged
        instruction = Instruction(
            Op.POOL, fields, blocks=blocks, taps=tuple(table.records), layer=node.name
        )
        reads, writes = whole_words(source), whole_words(place)
        lowered.append(Lowered(instruction, NO_STREAM, reads, writes))
    return lowered
