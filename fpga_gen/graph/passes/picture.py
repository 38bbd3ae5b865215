"""Normalisation folded into the stem: the engine reads the 8-bit pixels themselves.

A normalised picture needs 16 bits on the engine, its pixels have 8 and lose nothing. The zero
padding of the stem becomes pixels of the mean colour that the host puts around the picture.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from fpga_gen.graph.ir import Conv, ConvTerm, Graph, Tensor
from fpga_gen.graph.passes.rewrite import rebuilt

PIXEL_TOP = 255.0


def raw_picture(graph: Graph, mean: tuple[float, ...], std: tuple[float, ...]) -> Graph:
    """Engine input = pixel values 0..255 if only convolutions of equal padding read the input.

    Args:
        mean, std: of the RGB channels, real = (pixel / 255 - mean) / std; a model with one input
            channel takes the first of each.

    A graph whose input has another number of channels, or whose stem or input came with its own
    quantisation, is returned as it is: its integers refer to the normalised picture.
    """
    source = graph.tensors[graph.input]
    terms = [
        t
        for node in graph.nodes
        if isinstance(node, Conv)
        for t in node.terms
        if t.input == graph.input
    ]
    if (
        source.channels not in (1, 3)
        or graph.host_input.gain
        or graph.host_input.space_to_depth != 1
        or graph.input in graph.outputs
        or not terms
        or not all(isinstance(node, Conv) for node in graph.consumers()[graph.input])
        or len({t.pads for t in terms}) != 1
        or min(terms[0].pads) < 0
        or any(t.grid is not None or t.groups != 1 for t in terms)
        or (graph.hints is not None and graph.input in graph.hints.tensors)
    ):
        return graph
    gain = PIXEL_TOP * np.array(std[: source.channels], np.float64)
    offset = PIXEL_TOP * np.array(mean[: source.channels], np.float64)
    nodes = []
    for node in graph.nodes:
        if graph.input in node.inputs:
            assert isinstance(node, Conv)
            bias = node.bias.astype(np.float64)
            changed: list[ConvTerm] = []
            for term in node.terms:
                if term.input == graph.input:
                    weight = term.weight / gain[:, None, None]
                    bias = bias - (weight * offset[:, None, None]).sum((1, 2, 3))
                    weight = weight.astype(np.float32)
                    term = replace(term, weight=weight, pads=(0, 0, 0, 0))
                changed.append(term)
            node = replace(node, terms=tuple(changed), bias=bias.astype(np.float32))
        nodes.append(node)
    pads = _even_pads(source, terms)
    padded = Tensor(
        source.name,
        source.channels,
        source.height + pads[0] + pads[2],
        source.width + pads[1] + pads[3],
    )
    host_input = replace(
        graph.host_input,
        pads=pads,
        gain=tuple(gain.tolist()),
        offset=tuple(offset.tolist()),
    )
    return rebuilt(replace(graph, host_input=host_input), nodes, [padded])


def _even_pads(source: Tensor, terms: list[ConvTerm]) -> tuple[int, int, int, int]:
    """Padding of the stem with a row or a column more where that makes the size even, as
    space-to-depth needs it, and no output appears that would read it."""
    pads = list(terms[0].pads)
    for axis, size in ((0, source.height), (1, source.width)):
        total = size + pads[axis] + pads[axis + 2]
        spare = all((total + 1 - _reach(t, axis)) % t.stride[axis] for t in terms)
        pads[axis + 2] += total % 2 if spare else 0
    top, left, bottom, right = pads
    return top, left, bottom, right


def _reach(term: ConvTerm, axis: int) -> int:
    """Pixels that one output reads along an axis."""
    return (term.weight.shape[2 + axis] - 1) * term.dilation[axis] + 1
