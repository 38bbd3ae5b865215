"""What to change where the maps of a network are too large for a board."""

from __future__ import annotations

import math

from fpga_gen.boards import Board, board_names, load_board
from fpga_gen.contract.params import EngineParams
from fpga_gen.graph.ir import Graph
from fpga_gen.sizing.cycles import Work, frame_work

STEP = 32  # pixels: networks halve their maps five times


def needs_bands(work: Work, params: EngineParams) -> bool:
    """Whether the maps that live at once are larger than the memory, unless layers run in bands of
    rows: then only a schedule tells whether the network fits."""
    return work.words(params) > params.words


def advice(graph: Graph, board: Board, scheme: str) -> str:
    """The boards that hold all maps, and about the largest input of which this one does: maps grow
    with the area of the picture. Empty if the maps are not what is in the way."""
    work = frame_work(graph)
    own = board.default_array(scheme)
    if not needs_bands(work, own):
        return ""
    others = [
        name
        for name in board_names()
        if not needs_bands(work, load_board(name).default_array(scheme))
    ]
    _, height, width = graph.host_input.model_shape
    factor = math.sqrt(own.words / work.words(own))
    size = [int(side * factor) // STEP * STEP for side in (height, width)]
    found = []
    if others:
        found.append(f"boards that hold all its maps: {', '.join(others)}")
    if min(size) > 0:
        found.append(f"{board.name} holds those of an input of about {size[0]}x{size[1]}")
    return "; ".join(found)
