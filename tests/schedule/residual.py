"""Residual blocks as float graphs, optimised and quantised for an engine."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from fpga_gen.contract.params import EngineParams
from fpga_gen.graph.ir import Graph
from fpga_gen.graph.passes.optimise import optimise
from fpga_gen.quant.interpreter import quantise_input, run_integer
from fpga_gen.quant.quantise import quantise
from tests.graph.graphs import RELU, Maker
from tests.schedule.builder import Example


def basic(m: Maker, x: str, channels: int, stride: int) -> str:
    """ResNet's block of two 3x3 convolutions; the shortcut is a 1x1 convolution where shapes
    differ."""
    y = m.conv(x, channels, stride=(stride, stride), activation=RELU)
    return m.add(m.conv(y, channels), _shortcut(m, x, channels, stride), activation=RELU)


def bottleneck(m: Maker, x: str, channels: int, stride: int) -> str:
    """ResNet's block of 1x1, 3x3 and 1x1 convolutions."""
    y = m.conv(x, channels // 4, 1, activation=RELU)
    y = m.conv(y, channels // 4, stride=(stride, stride), activation=RELU)
    return m.add(m.conv(y, channels, 1), _shortcut(m, x, channels, stride), activation=RELU)


def _shortcut(m: Maker, x: str, channels: int, stride: int) -> str:
    if stride == 1 and m.tensors[x].channels == channels:
        return x
    return m.conv(x, channels, 1, stride=(stride, stride))


def averaged(m: Maker, x: str, channels: int, stride: int) -> str:
    """Two strided branches of one map, their sum joined by a branch at the small size."""
    strides = {"stride": (stride, stride)}
    y = m.conv(m.conv(x, channels, activation=RELU, **strides), channels)
    return m.add(y, m.conv(x, channels, 3, **strides), m.conv(x, channels, 1, **strides))


BLOCKS: dict[str, Callable[[Maker, str, int, int], str]] = {
    "basic": basic,
    "bottleneck": bottleneck,
    "averaged": averaged,
}


def residual_graph(block: str, size: tuple[int, int] = (10, 14)) -> Graph:
    """A stem and four blocks: change of width, identity, stride 2 to an even and to an odd size."""
    m = Maker((3, *size))
    x = m.conv("x", 8, activation=RELU)
    for channels, stride in ((12, 1), (12, 1), (16, 2), (20, 2)):
        x = BLOCKS[block](m, x, channels, stride)
    return m.graph(x)


def residual(block: str, params: EngineParams, size: tuple[int, int] = (10, 14)) -> Example:
    """The blocks as the quantiser leaves them, with the integer network's values of an image."""
    graph = optimise(residual_graph(block, size))
    scheme = "mixed" if params.sp2_columns else "fixed8"
    qgraph = quantise(graph, params, None, scheme=scheme)
    image = np.random.default_rng(5).normal(size=graph.host_input.model_shape)
    stored = quantise_input(qgraph, image.astype(np.float32))
    return Example(qgraph, stored, run_integer(qgraph, stored))
