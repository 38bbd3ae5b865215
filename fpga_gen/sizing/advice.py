"""What to change where not even single rows of the maps of a network fit the memory of a board."""

from __future__ import annotations

from fpga_gen.boards import Board, board_names, load_board
from fpga_gen.contract.params import EngineParams
from fpga_gen.graph.ir import Graph
from fpga_gen.schedule.place.segments import Segments
from fpga_gen.sizing.cycles import Work
from fpga_gen.sizing.standin import standin

STEP = 32  # pixels: networks halve their maps five times


def needs_bands(work: Work, params: EngineParams) -> bool:
    """Whether the maps that live at once are larger than the memory, unless layers run in bands of
    rows: then only a schedule tells whether the network fits."""
    return work.words(params) > params.words


def row_words(graph: Graph, params: EngineParams) -> int:
    """Most words that a layer needs for one row of its result: what must fit, whatever spills."""
    segments = Segments(standin(graph, params), params, 1.0)
    return max(segments.smallest(index) for index in range(len(segments.qgraph.nodes)))


def advice(graph: Graph, board: Board, scheme: str) -> str:
    """The boards whose memory has room for single rows of every layer, and about the largest input
    for which this one has it: rows grow with the width of the picture. Empty if the memory is not
    what is in the way."""
    own = board.default_array(scheme)
    need = row_words(graph, own)
    if need <= own.words:
        return ""
    arrays = {name: load_board(name).default_array(scheme) for name in board_names()}
    others = [name for name, array in arrays.items() if row_words(graph, array) <= array.words]
    _, height, width = graph.host_input.model_shape
    size = [side * own.words // need // STEP * STEP for side in (height, width)]
    found = []
    if others:
        found.append(f"boards on which it fits: {', '.join(others)}")
    if min(size) > 0:
        found.append(f"on {board.name} an input of about {size[0]}x{size[1]} fits")
    return "; ".join(found)
