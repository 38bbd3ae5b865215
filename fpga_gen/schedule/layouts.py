"""How the maps lie on chip, and in the regions of input and results, where none leaves the chip."""

from __future__ import annotations

from fpga_gen.contract.params import EngineParams
from fpga_gen.quant.ir import QuantGraph
from fpga_gen.schedule.lower.placement import map_layout
from fpga_gen_host.regions import InputLayout, MapLayout, OutputLayout

OUTPUT_ALIGN = 64  # bytes: outputs start on a boundary of their own


def map_layouts(qgraph: QuantGraph, params: EngineParams) -> dict[str, MapLayout]:
    """Layout of every map; outputs are rounded up to whole beats for STORE."""
    return {
        name: map_layout(tensor, params, beats=name in qgraph.outputs)
        for name, tensor in qgraph.tensors.items()
    }


def input_layout(layout: MapLayout, params: EngineParams) -> InputLayout:
    """Cut the input's run into parts that can be loaded without bank conflicts."""
    part = params.load_part(layout.words)
    used = {(layout.byte_offset + c) % params.in_channels for c in layout.positions}
    packed = max(used) < params.in_channels * 3 // 4
    return InputLayout(layout, part, params.load_words, params.ports, packed)


def results_layout(qgraph: QuantGraph, layouts: dict[str, MapLayout]) -> OutputLayout:
    """The output region: results one behind the other."""
    maps, offsets, at = [], [], 0
    for name in dict.fromkeys(qgraph.outputs):
        maps.append(layouts[name])
        offsets.append(at)
        at += layouts[name].words * layouts[name].word_channels
        at += -at % OUTPUT_ALIGN
    return OutputLayout(tuple(maps), tuple(offsets), at)
