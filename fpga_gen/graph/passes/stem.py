"""Space-to-depth rewrite of the stem: 3 input channels at full size waste a 16-channel array."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from fpga_gen.graph.ir import Conv, ConvTerm, Graph, Tensor
from fpga_gen.graph.passes.rewrite import rebuilt


def space_to_depth(graph: Graph) -> Graph:
    """Engine input (4C, H/2, W/2) if only stride-2 convolutions read an input of even size.

    A tap at offset d (from the output's origin) moves to phase d mod 2 and offset floor(d / 2):
    3x3 stride 2 padding 1 becomes 2x2 stride 1 with padding (1, 1, 0, 0).
    """
    source = graph.tensors[graph.input]
    readers = graph.consumers()[graph.input]
    if (
        graph.host_input.space_to_depth != 1
        or source.height % 2
        or source.width % 2
        or graph.input in graph.outputs
        or not readers
        or not all(_strided(node, graph.input) for node in readers)
    ):
        return graph
    nodes = []
    for node in graph.nodes:
        if graph.input in node.inputs:
            assert isinstance(node, Conv)
            size = graph.tensors[node.output].shape[1:]
            node = replace(node, terms=tuple(_rearranged(t, source, size) for t in node.terms))
        nodes.append(node)
    packed = Tensor(source.name, 4 * source.channels, source.height // 2, source.width // 2)
    graph = replace(graph, host_input=replace(graph.host_input, space_to_depth=2))
    return rebuilt(graph, nodes, [packed])


def _strided(node, name: str) -> bool:
    return isinstance(node, Conv) and all(
        t.input == name and t.stride == (2, 2) and t.groups == 1 for t in node.terms
    )


def _rearranged(term: ConvTerm, source: Tensor, size: tuple[int, ...]) -> ConvTerm:
    out, channels, kh, kw = term.weight.shape
    ys = [k * term.dilation[0] - term.pads[0] for k in range(kh)]
    xs = [k * term.dilation[1] - term.pads[1] for k in range(kw)]
    y0, x0 = min(ys[0] // 2, 0), min(xs[0] // 2, 0)
    rows, columns = ys[-1] // 2 - y0 + 1, xs[-1] // 2 - x0 + 1
    weight = np.zeros((out, 4 * channels, rows, columns), np.float32)
    for ky, dy in enumerate(ys):
        for kx, dx in enumerate(xs):
            phase = (dy % 2 * 2 + dx % 2) * channels
            weight[:, phase : phase + channels, dy // 2 - y0, dx // 2 - x0] = term.weight[
                :, :, ky, kx
            ]
    bottom = size[0] - 1 + rows - source.height // 2 + y0
    right = size[1] - 1 + columns - source.width // 2 + x0
    return ConvTerm(term.input, weight, (1, 1), (-y0, -x0, bottom, right), grid=term.grid)
