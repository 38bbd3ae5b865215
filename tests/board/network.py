"""A network small enough for the small engine that really segments phantom pictures.

A phantom's polyp is redder than the mucosa: 0.48 * R - G, averaged over 3x3 pixels, is positive
inside. One convolution computes it and its negative, another takes their difference.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from fpga_gen.contract.params import EngineParams
from fpga_gen.frontend.importer import import_onnx
from fpga_gen.graph.passes.optimise import optimise
from fpga_gen.images import NORMALISATIONS, Preprocess, prepare
from fpga_gen.phantom import draw_phantom
from fpga_gen.quant.ir import QuantGraph
from fpga_gen.quant.quantise import quantise

SIZE = 48
PREPROCESS = Preprocess("imagenet", "letterbox")
REDNESS = np.array((0.48, -1.0, 0.0))  # weights of R, G, B in 0..1
GAIN = 8.0


def write_model(path: Path) -> Path:
    """The ONNX file: 3x3 convolution to 4 channels, ReLU, 1x1 convolution, sigmoid."""
    mean, std = (np.array(v) for v in NORMALISATIONS["imagenet"])
    box = np.tile((REDNESS * std)[:, None, None] / 9, (1, 3, 3))
    signs = np.array((1.0, -1.0, 0.5, -0.5))
    first = GAIN * signs[:, None, None, None] * box[None]
    bias = GAIN * signs * float(REDNESS @ mean)
    head = np.array((1.0, -1.0, 1.0, -1.0)).reshape(1, 4, 1, 1)
    weights = {"w0": first, "b0": bias, "w1": head}
    nodes = [
        helper.make_node("Conv", ["image", "w0", "b0"], ["a"], pads=[1] * 4, name="redness"),
        helper.make_node("Relu", ["a"], ["b"], name="relu"),
        helper.make_node("Conv", ["b", "w1"], ["c"], name="difference"),
        helper.make_node("Sigmoid", ["c"], ["mask"], name="probability"),
    ]
    graph = helper.make_graph(
        nodes,
        "redness",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, SIZE, SIZE])],
        [helper.make_tensor_value_info("mask", TensorProto.FLOAT, [1, 1, SIZE, SIZE])],
        [numpy_helper.from_array(v.astype(np.float32), n) for n, v in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())
    return path


def segmentation_network(folder: Path, params: EngineParams) -> QuantGraph:
    """The network, quantised on phantoms."""
    graph = optimise(import_onnx(write_model(folder / "redness.onnx")))
    images = [prepare(draw_phantom(96, 96, s)[0], (3, SIZE, SIZE), PREPROCESS) for s in range(4)]
    return quantise(graph, params, images)
