"""Space-to-depth rewrite of the stem: 3 input channels at full size waste a 16-channel array, and
pixels further apart than two are read one at a time."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from fpga_gen.graph.ir import Conv, ConvTerm, Graph, Tensor
from fpga_gen.graph.passes.rewrite import rebuilt


def space_to_depth(graph: Graph) -> Graph:
    """Engine input (b * b * C, H / b, W / b) if only convolutions of stride b read an input whose
    size is a multiple of it.

    A tap at offset d (from the output's origin) moves to phase d mod b and offset floor(d / b):
    3x3 stride 2 padding 1 becomes 2x2 stride 1 with padding (1, 1, 0, 0).
    """
    source = graph.tensors[graph.input]
    block = _block(graph)
    if (
        block == 1
        or graph.host_input.space_to_depth != 1
        or source.height % block
        or source.width % block
        or graph.input in graph.outputs
    ):
        return graph
    nodes = []
    for node in graph.nodes:
        if graph.input in node.inputs:
            assert isinstance(node, Conv)
            size = graph.tensors[node.output].shape[1:]
            node = replace(
                node, terms=tuple(_rearranged(t, source, block, size) for t in node.terms)
            )
        nodes.append(node)
    size = (block * block * source.channels, source.height // block, source.width // block)
    graph = replace(graph, host_input=replace(graph.host_input, space_to_depth=block))
    return rebuilt(graph, nodes, [Tensor(source.name, *size)])


def _block(graph: Graph) -> int:
    """The stride of all convolutions that read the input; 1 if they differ or something else reads
    it, or if they leave out so many pixels that reading one at a time is no loss."""
    found = set()
    for node in graph.consumers()[graph.input]:
        if not isinstance(node, Conv):
            return 1
        for term in node.terms:
            down, right = term.stride
            used = down == 2 or min(term.kernel) >= down
            if term.input != graph.input or down != right or term.groups != 1 or not used:
                return 1
            found.add(down)
    return found.pop() if len(found) == 1 else 1


def _rearranged(term: ConvTerm, source: Tensor, block: int, size: tuple[int, ...]) -> ConvTerm:
    out, channels, kh, kw = term.weight.shape
    ys = [k * term.dilation[0] - term.pads[0] for k in range(kh)]
    xs = [k * term.dilation[1] - term.pads[1] for k in range(kw)]
    y0, x0 = min(ys[0] // block, 0), min(xs[0] // block, 0)
    rows, columns = ys[-1] // block - y0 + 1, xs[-1] // block - x0 + 1
    weight = np.zeros((out, block * block * channels, rows, columns), np.float32)
    for ky, dy in enumerate(ys):
        for kx, dx in enumerate(xs):
            first = (dy % block * block + dx % block) * channels
            phase, y, x = slice(first, first + channels), dy // block - y0, dx // block - x0
            weight[:, phase, y, x] = term.weight[:, :, ky, kx]
    bottom = size[0] - 1 + rows - source.height // block + y0
    right = size[1] - 1 + columns - source.width // block + x0
    return ConvTerm(term.input, weight, (1, 1), (-y0, -x0, bottom, right), grid=term.grid)
