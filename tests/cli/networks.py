"""Tiny ONNX networks for tests of the command line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def write_model(
    path: Path,
    *,
    size: int = 12,
    channels: int = 6,
    activation: str = "Relu",
    dynamic: bool = False,
    external: str | None = None,
    outputs: int = 1,
) -> Path:
    """Two 3x3 convolutions, a concat of both and a 1x1 convolution to `outputs` channels."""
    rng = np.random.default_rng(7)

    def weight(name: str, *shape: int) -> onnx.TensorProto:
        return numpy_helper.from_array(rng.normal(0, 0.3, shape).astype(np.float32), name)

    weights = [
        weight("w0", channels, 3, 3, 3),
        weight("w1", channels, channels, 3, 3),
        weight("w2", outputs, 2 * channels, 1, 1),
    ]
    nodes = [
        helper.make_node("Conv", ["image", "w0"], ["a"], pads=[1] * 4, name="first"),
        helper.make_node("Relu", ["a"], ["b"], name="relu"),
        helper.make_node("Conv", ["b", "w1"], ["c"], pads=[1] * 4, name="second"),
        helper.make_node(activation, ["c"], ["d"], name="activation"),
        helper.make_node("Concat", ["b", "d"], ["e"], axis=1, name="concat"),
        helper.make_node("Conv", ["e", "w2"], ["logits"], name="head"),
    ]
    shape = ["N" if dynamic else 1, 3, *(["H", "W"] if dynamic else [size, size])]
    result = [shape[0], outputs, *shape[2:]]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, result)],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    if external is not None:
        tensor = model.graph.initializer[0]
        data = tensor.raw_data
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in (("location", external), ("length", str(len(data)))):
            tensor.external_data.add(key=key, value=value)
        if ".." not in external:
            (path.parent / external).write_bytes(data)
    path.write_bytes(model.SerializeToString())
    return path
