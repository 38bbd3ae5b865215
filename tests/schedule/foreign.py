"""Networks in ONNX whose operators move elements, imported, optimised and quantised for an engine:
what the schedule makes of selections, crops and phases."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from onnx import helper

from fpga_gen.contract.params import EngineParams
from fpga_gen.frontend.importer import import_onnx
from fpga_gen.graph.passes.optimise import optimise
from fpga_gen.quant.interpreter import quantise_input, run_integer
from fpga_gen.quant.quantise import quantise
from tests.frontend.onnx_models import Net
from tests.schedule.builder import Example


def cross_stage(net: Net) -> str:
    """Halves of a map, one through a convolution, joined, shuffled and read by groups."""
    y = net.op("Relu", net.conv("x", 3, 12))
    net.nodes.append(helper.make_node("Split", [y, net.ints(6, 6)], ["l", "r"], axis=1, name="s"))
    z = net.op("Relu", net.conv("r", 6, 6))
    y = net.op("Relu", net.conv(net.op("Concat", "l", z, "r", axis=1), 18, 12))
    y = net.op("Transpose", net.op("Reshape", y, net.ints(1, 3, 4, 8, 10)), perm=[0, 2, 1, 3, 4])
    return net.conv(net.op("Reshape", y, net.ints(1, 12, 8, 10)), 4, 6, group=3)


def cropped(net: Net) -> str:
    """A crop in front of a convolution, one in front of a pool, and every other row and column."""
    y = net.op("Relu", net.conv("x", 3, 8))
    inner = net.op("Slice", y, net.ints(1, 2), net.ints(8, 9), net.ints(2, 3))
    a = net.conv(inner, 8, 6, k=3, pads=[0, 0, 0, 0])
    b = net.conv(net.op("MaxPool", inner, kernel_shape=[3, 3]), 8, 6, k=1)
    y = net.op("Relu", net.op("Add", a, b))
    y = net.op("Slice", y, net.ints(0, 1), net.ints(9, 9), net.ints(2, 3), net.ints(2, 2))
    return net.conv(y, 6, 5)


def unshuffled(net: Net) -> str:
    """Space to depth, whose phases are terms of one strided convolution."""
    y = net.op("Relu", net.conv("x", 3, 8))
    y = net.op("Relu", net.conv(net.op("SpaceToDepth", y, blocksize=2), 32, 8))
    return net.conv(y, 8, 4, k=1)


def transposed(net: Net) -> str:
    """Phases of several windows, interleaved, cropped, read by a convolution; a pixel shuffle."""
    y = net.op("Relu", net.conv("x", 3, 6))
    weight = net.random(6, 5, 3, 3)
    y = net.op("Relu", net.op("ConvTranspose", y, weight, strides=[2, 2], pads=[1, 1, 1, 1]))
    y = net.op("Relu", net.conv(y, 5, 8, strides=[2, 2]))
    y = net.op("DepthToSpace", y, blocksize=2)
    return net.conv(y, 2, 3, k=1)


NETWORKS: dict[str, Callable[[Net], str]] = {
    "cross stage": cross_stage,
    "cropped": cropped,
    "unshuffled": unshuffled,
    "transposed": transposed,
}


def foreign(name: str, params: EngineParams, folder: Path) -> Example:
    """A network as the quantiser leaves it, with the integer network's values of an image."""
    net = Net((1, 3, 8, 10))
    return quantised(net.save(folder, NETWORKS[name](net)), params)


def quantised(path: Path, params: EngineParams) -> Example:
    """A model in ONNX likewise."""
    graph = optimise(import_onnx(path))
    scheme = "mixed" if params.sp2_columns else "fixed8"
    qgraph = quantise(graph, params, None, scheme=scheme)
    image = np.random.default_rng(5).normal(size=graph.host_input.model_shape)
    stored = quantise_input(qgraph, image.astype(np.float32))
    return Example(qgraph, stored, run_integer(qgraph, stored))
