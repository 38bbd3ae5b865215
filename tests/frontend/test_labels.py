"""Layers are called what the model calls them, if it does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from fpga_gen.frontend.labels import layer_labels


def write(path: Path, nodes: list, weights: dict[str, tuple[int, ...]]) -> Path:
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, 8, 8])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.zeros(s, np.float32), n) for n, s in weights.items()],
    )
    path.write_bytes(helper.make_model(graph).SerializeToString())
    return path


def test_weight_path_and_neither(tmp_path: Path):
    conv = helper.make_node
    nodes = [
        conv("Conv", ["image", "base.0.conv.weight", "base.0.conv.weight_bias"], ["a"], name="n1"),
        conv("Cast", ["head.weight.half"], ["head.weight"], name="cast", to=TensorProto.FLOAT),
        conv("Conv", ["a", "head.weight"], ["b"], name="n2"),
        conv("Conv", ["b", "onnx::Conv_12"], ["c"], name="/net/layer.1/conv/Conv"),
        conv("MaxPool", ["c"], ["d"], name="pool", kernel_shape=[2, 2]),
        conv("Conv", ["d", "w"], ["out"]),
    ]
    path = write(tmp_path / "net.onnx", nodes, {"w": (1, 1, 1, 1)})
    assert layer_labels(path) == {
        "n1": "base.0.conv",
        "n2": "head",
        "/net/layer.1/conv/Conv": "net.layer.1.conv",
    }


def test_labels_of_the_shipped_network():
    model = Path(__file__).resolve().parents[2] / "models" / "pretrained" / "hardnet-mseg.onnx"
    labels = layer_labels(model)
    convolutions = {n.name for n in onnx.load(model).graph.node if n.op_type == "Conv"}
    assert labels.keys() == convolutions
    assert len(set(labels.values())) == len(labels)
