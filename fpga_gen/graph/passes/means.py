"""Means over large maps: columns of pixels in the array first, what is left in the vector unit.

The vector unit reads a pixel a cycle for a mean; the array reads a pixel in every lane. A depthwise
convolution of k x 1 ones with the same stride leaves one row for k, which goes through as one plane
after the other.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from fpga_gen.graph.ir import Activation, AxisTable, Conv, ConvTerm, Graph, Node, Resample, Tensor
from fpga_gen.graph.passes.rewrite import Fresh, rebuilt

LARGE = 400  # pixels from which an instruction for each plane pays
TALLEST = 15  # rows that a convolution may step at once


def split_large_means(graph: Graph) -> Graph:
    """The mean over a large map becomes the mean of means of columns, all equally high: exact, and
    rounded twice when quantised, the first time before many roundings are averaged. A model that
    came quantised rounds once and is left alone."""
    if graph.hints is not None:
        return graph
    fresh, producers = Fresh(graph), graph.producers()
    nodes: list[Node] = []
    tensors: list[Tensor] = []
    for node in graph.nodes:
        source = graph.tensors[node.inputs[0]]
        height = _height(source.height)
        if (
            not isinstance(node, Resample)
            or not (_is_mean(node.y) and _is_mean(node.x))
            or source.height * source.width < LARGE
            or height == 1
        ):
            nodes.append(node)
            continue
        part = Tensor(
            fresh(f"{node.output}.columns"), source.channels, source.height // height, source.width
        )
        weight = np.full((source.channels, 1, height, 1), 1 / height, np.float32)
        term = ConvTerm(source.name, weight, (height, 1), groups=source.channels)
        bias = np.zeros(source.channels, np.float32)
        before = getattr(producers.get(source.name), "activation", Activation())
        positive = Activation(0.0) if before.non_negative else Activation()
        name = fresh(f"{node.name}.columns")
        tensors.append(part)
        nodes.append(Conv(name, (term,), bias, part.name, positive, node.onnx_name))
        nodes.append(replace(node, input=part.name, y=_mean(part.height)))
    return rebuilt(graph, nodes, tensors) if tensors else graph


def _is_mean(table: AxisTable) -> bool:
    """Whether it is the mean of a whole axis."""
    return table.out_size == 1 and table.taps == table.in_size and len(set(table.weights[0])) == 1


def _mean(size: int) -> AxisTable:
    return AxisTable(size, (0,), ((1,) * size,), size)


def _height(size: int) -> int:
    """Most rows, of those that can be stepped at once, into which a map divides."""
    return max(k for k in range(1, TALLEST + 1) if size % k == 0)
