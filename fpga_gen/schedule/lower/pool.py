"""Lowering of max-pooling: the pixel walk with a running maximum, one plane per group."""

from __future__ import annotations

from dataclasses import replace

from fpga_gen.contract.address import pack_address
from fpga_gen.contract.epilogue import Epilogue
from fpga_gen.contract.isa import MAX_BLOCKS, PoolInstruction
from fpga_gen.contract.numerics import I8
from fpga_gen.contract.records import BlockRecord
from fpga_gen.errors import ScheduleError
from fpga_gen.quant.ir import QMaxPool
from fpga_gen.schedule.lower.lowered import NO_STREAM, Context, Lowered, whole_words, writing
from fpga_gen.schedule.lower.tables import TapTable
from fpga_gen.schedule.lower.walk import Geometry, live_taps, walking

PASS = Epilogue.whole(I8)  # stored bytes pass unchanged


def lower_pool(node: QMaxPool, context: Context) -> list[Lowered]:
    """The POOL instructions of a layer: one for every MAX_BLOCKS planes."""
    params = context.params
    tensor, out = context.tensors[node.input], context.tensors[node.output]
    source, place = context.places[node.input], context.places[node.output]
    if tensor.format.bits != 8 or out.format != tensor.format:
        raise ScheduleError(f"layer '{node.name}': max-pooling needs 8-bit maps of one format")
    if source.layout.positions != place.layout.positions:
        raise ScheduleError(f"layer '{node.name}': input and output differ in channel order")
    rows = context.rows or (0, out.height)
    geometry = Geometry(tensor.height, tensor.width, out.height, out.width, node.stride, rows)
    taps = live_taps(geometry, node.kernel, node.pads[:2], node.dilation)
    table = TapTable(params, tensor.width, node.name)
    start, count = table.add(tuple(t for _, t in taps) or ((-node.pads[0], -node.pads[1]),))
    walk = replace(
        walking(PoolInstruction, params, geometry, 1, node.name),
        n_taps=len(table.records),
        slots=count,
        taps=tuple(table.records),
    )
    planes, row = source.layout.planes, rows[0] * node.stride[0]
    lowered = []
    for first in range(0, planes, MAX_BLOCKS):
        chosen = range(first, min(first + MAX_BLOCKS, planes))
        blocks = tuple(
            BlockRecord(
                address=pack_address(source.address(plane, row), params.banks),
                tap_start=start,
                tap_count=count,
                pad=1,  # -128: padding never wins
            )
            for plane in chosen
        )
        instruction = replace(
            writing(walk, params, PASS, place, (first, rows[0])),
            n_blocks=len(blocks),
            n_groups=len(blocks),
            channels=len(blocks) * params.in_channels,
            blocks=blocks,
        )
        lowered.append(Lowered(instruction, NO_STREAM, whole_words(source), whole_words(place)))
    return lowered
