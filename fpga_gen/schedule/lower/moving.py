"""Lowering of moves: rows of a map to another place in the memory, as a max-pool of 1x1."""

from __future__ import annotations

from dataclasses import replace

from fpga_gen.contract.address import pack_address
from fpga_gen.contract.epilogue import Epilogue
from fpga_gen.contract.isa import MAX_BLOCKS, PoolInstruction
from fpga_gen.contract.numerics import I8
from fpga_gen.contract.params import EngineParams
from fpga_gen.contract.records import BlockRecord
from fpga_gen.schedule.lower.lowered import NO_STREAM, WHOLE, Lowered, Span
from fpga_gen.schedule.lower.placement import Placement
from fpga_gen.schedule.lower.tables import TapTable
from fpga_gen.schedule.lower.walk import Geometry, walking


def lower_move(
    rows: tuple[int, int], source: Placement, target: Placement, height: int, params: EngineParams
) -> list[Lowered]:
    """The POOLs that copy rows [first, end) of a map of `height` rows, byte planes one by one."""
    layout, name = source.layout, source.tensor
    geometry = Geometry(height, layout.width, height, layout.width, (1, 1), rows)
    table = TapTable(params, layout.width, name)
    start, count = table.add(((0, 0),))
    walk = replace(
        walking(PoolInstruction, params, geometry, 1, name),
        n_taps=len(table.records),
        slots=count,
        taps=tuple(table.records),
    )
    words = (rows[1] - rows[0]) * layout.width
    lowered = []
    for low in (False, True) if layout.low else (False,):
        for first in range(0, layout.planes, MAX_BLOCKS):
            planes = range(first, min(first + MAX_BLOCKS, layout.planes))
            sources = [source.address(plane, rows[0], low) for plane in planes]
            blocks = tuple(
                BlockRecord(
                    address=pack_address(at, params.banks), tap_start=start, tap_count=count, pad=1
                )
                for at in sources
            )
            instruction = replace(
                Epilogue.whole(I8).into(walk),
                out_base=pack_address(target.address(first, rows[0], low), params.banks),
                out_plane=pack_address(target.layout.plane, params.banks),
                n_blocks=len(blocks),
                n_groups=len(blocks),
                channels=len(blocks) * params.in_channels,
                blocks=blocks,
            )
            writes = [target.address(plane, rows[0], low) for plane in planes]
            lowered.append(
                Lowered(instruction, NO_STREAM, _spans(sources, words), _spans(writes, words))
            )
    return lowered


def _spans(addresses: list[int], words: int) -> tuple[Span, ...]:
    return tuple((at, at + words, WHOLE) for at in addresses)
