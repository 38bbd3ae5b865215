"""A network of global pools over 900 pixels and Gemms of 1,100 features, from ONNX."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from fpga_gen.contract.params import EngineParams
from fpga_gen.frontend.importer import import_onnx
from fpga_gen.graph.passes.optimise import optimise
from fpga_gen.quant.interpreter import run_integer, stored_dtype
from fpga_gen.quant.quantise import quantise
from tests.schedule.graphs import Example

SIZE, FEATURES = 30, 1100


def large_windows(folder: Path, params: EngineParams) -> Example:
    """Conv -> GlobalMaxPool + GlobalAveragePool -> Gemm -> Gemm."""
    rng = np.random.default_rng(3)

    def weight(name: str, *shape: int) -> onnx.TensorProto:
        values = rng.standard_normal(shape) * (2 / np.prod(shape[1:])) ** 0.5
        return numpy_helper.from_array(values.astype(np.float32), name)

    node = helper.make_node
    graph = helper.make_graph(
        [
            node("Conv", ["image", "w0"], ["c"], kernel_shape=[3, 3], pads=[1] * 4),
            node("Relu", ["c"], ["r"]),
            node("GlobalMaxPool", ["r"], ["top"]),
            node("GlobalAveragePool", ["r"], ["mean"]),
            node("Concat", ["top", "mean"], ["both"], axis=1),
            node("Flatten", ["both"], ["flat"]),
            node("Gemm", ["flat", "w1"], ["g"], transB=1),
            node("Relu", ["g"], ["h"]),
            node("Gemm", ["h", "w2"], ["result"], transB=1),
        ],
        "large-windows",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, SIZE, SIZE])],
        [helper.make_tensor_value_info("result", TensorProto.FLOAT, [1, 5])],
        [weight("w0", 9, 3, 3, 3), weight("w1", FEATURES, 18), weight("w2", 5, FEATURES)],
    )
    path = folder / "large.onnx"
    opset = [helper.make_opsetid("", 13)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=7), path)
    qgraph = quantise(optimise(import_onnx(path)), params, None)
    tensor = qgraph.tensors[qgraph.input]
    shape = (tensor.channels, tensor.height, tensor.width)
    stored = rng.integers(tensor.format.lo, tensor.format.hi + 1, shape)
    stored = stored.astype(stored_dtype(tensor))
    return Example(qgraph, stored, run_integer(qgraph, stored))
