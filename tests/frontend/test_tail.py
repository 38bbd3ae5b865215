"""Graphs of operators at the end of a network, as detectors have them, against onnxruntime."""

import json

import numpy as np
import pytest
from onnx import TensorProto, helper

from fpga_gen.errors import UnsupportedModel
from fpga_gen.frontend.importer import import_onnx
from fpga_gen.graph.interpreter import run_float
from fpga_gen.graph.ir import Conv
from fpga_gen_host.host_ops import run_host_ops
from tests.frontend.onnx_models import Net, assert_like_onnxruntime, run_reference


def _heads(net: Net, channels: int) -> list[str]:
    """Maps of three sizes."""
    y = net.op("Relu", net.conv("x", 3, 6))
    maps = []
    for _ in range(3):
        y = net.op("Relu", net.conv(y, 6, 6, strides=[2, 2]))
        maps.append(net.conv(y, 6, channels, k=1))
    return maps


def test_anchors_as_yolov5_has_them(tmp_path):
    """Per head: reshape, transpose, sigmoid, boxes from a grid and anchors; all heads joined."""
    net = Net((1, 3, 32, 24))
    heads = []
    for y, (h, w) in zip(_heads(net, 14), ((16, 12), (8, 6), (4, 3)), strict=True):
        y = net.op("Reshape", y, net.ints(1, 2, 7, h, w))
        y = net.op("Sigmoid", net.op("Transpose", y, perm=[0, 1, 3, 4, 2]))
        net.nodes.append(
            helper.make_node(
                "Split", [y, net.ints(2, 2, 3)], [f"xy{h}", f"wh{h}", f"rest{h}"], axis=4
            )
        )
        grid = np.stack(np.meshgrid(np.arange(w), np.arange(h)), -1)[None, None]
        xy = net.op("Mul", net.op("Add", f"xy{h}", net.const(grid)), net.const(8.0))
        wh = net.op("Mul", net.op("Pow", f"wh{h}", net.const(2.0)), net.random(1, 2, 1, 1, 2))
        y = net.op("Concat", xy, wh, f"rest{h}", axis=4)
        heads.append(net.op("Reshape", y, net.ints(1, -1, 7)))
    net.op("Concat", *heads, axis=1)
    graph = assert_like_onnxruntime(net.save(tmp_path))
    assert len(graph.outputs) == 3
    assert all(isinstance(n, Conv) for n in graph.nodes)
    attributes = [op.attributes for op in graph.host_ops]
    assert json.loads(json.dumps(attributes)) == attributes


def test_distributions_as_yolov8_has_them(tmp_path):
    """Heads joined while they are views, an integral over bins by a tiny convolution, boxes of
    anchor points."""
    net = Net((1, 3, 32, 24))
    sizes = ((16, 12), (8, 6), (4, 3))
    flat = [net.op("Reshape", y, net.ints(1, 11, -1)) for y in _heads(net, 11)]
    y = net.op("Concat", *flat, axis=2)
    total = sum(h * w for h, w in sizes)
    net.nodes.append(helper.make_node("Split", [y, net.ints(8, 3)], ["box", "cls"], axis=1))
    y = net.op("Transpose", net.op("Reshape", "box", net.ints(1, 4, 2, total)), perm=[0, 2, 1, 3])
    y = net.op("Conv", net.op("Softmax", y, axis=1), net.const([[[[0.0]], [[1.0]]]]))
    y = net.op("Reshape", y, net.ints(1, 4, total))
    low = net.op("Slice", y, net.ints(0), net.ints(2), net.ints(1))
    high = net.op("Slice", y, net.ints(2), net.ints(4), net.ints(1))
    points = net.random(1, 2, total)
    low, high = net.op("Sub", points, low), net.op("Add", points, high)
    centre = net.op("Div", net.op("Add", low, high), net.const(2.0))
    boxes = net.op("Concat", centre, net.op("Sub", high, low), axis=1)
    y = net.op("Concat", net.op("Mul", boxes, net.random(1, 1, total)),
               net.op("Sigmoid", "cls"), axis=1)  # fmt: skip
    net.op("Transpose", y, perm=[0, 2, 1])
    graph = assert_like_onnxruntime(net.save(tmp_path))
    assert len(graph.outputs) == 3


@pytest.mark.parametrize("centred", [0, 1])
def test_suppression(centred, tmp_path):
    net = Net((1, 3, 16, 12))
    boxes, scores = _heads(net, 7)[:2]
    y = net.op(
        "Concat", *(net.op("Reshape", m, net.ints(1, 7, -1)) for m in (boxes, scores)), axis=2
    )
    net.nodes.append(helper.make_node("Split", [y, net.ints(4, 3)], ["b", "s"], axis=1))
    net.op(
        "NonMaxSuppression", net.op("Transpose", "b", perm=[0, 2, 1]), "s", net.ints(5),
        net.const(0.3), net.const(0.1), center_point_box=centred, out="found",
    )  # fmt: skip
    path = net.save(tmp_path, "found", types={"found": TensorProto.INT64})
    graph = import_onnx(path)
    for seed in range(3):
        image = np.random.default_rng(seed).normal(size=(3, 16, 12)).astype(np.float32)
        got = run_host_ops(graph, run_float(graph, image))["found"]
        (want,) = run_reference(path, image)
        assert len(want) > 3
        assert np.array_equal(got, want)


def test_the_best_and_their_boxes(tmp_path):
    """TopK of the scores, boxes gathered by its indices."""
    net = Net((1, 3, 16, 12))
    y = net.op("Reshape", _heads(net, 5)[0], net.ints(1, 5, -1))
    net.nodes.append(helper.make_node("Split", [y, net.ints(4, 1)], ["b", "s"], axis=1))
    scores = net.op("Squeeze", "s", net.ints(1))
    net.nodes.append(
        helper.make_node("TopK", [scores, net.ints(7)], ["best", "where"], name="top", axis=1)
    )
    index = net.op("Expand", net.op("Unsqueeze", "where", net.ints(1)), net.ints(1, 4, 7))
    net.op("GatherElements", "b", index, axis=2, out="boxes")
    path = net.save(tmp_path, "boxes", "best", "where", types={"where": TensorProto.INT64})
    assert_like_onnxruntime(path)


TAILS = {
    "mean": lambda n, y: n.op("ReduceMean", y, n.ints(1), keepdims=0),
    "norm": lambda n, y: n.op("Div", y, n.op("ReduceL2", y, n.ints(1))),
    "exp": lambda n, y: n.op("Exp", n.op("Mul", y, n.random(1, 4, 1, 1))),
    "log softmax": lambda n, y: n.op("LogSoftmax", y, axis=1),
    "map of constants": lambda n, y: n.op("Mul", y, n.random(1, 1, 9, 11)),
    "threshold": lambda n, y: n.op(
        "Where", n.op("Greater", y, n.const(0.1)), y, n.const(0.0)),
    "pixel shuffle": lambda n, y: n.op("DepthToSpace", y, blocksize=2),
    "pixel shuffle, other order": lambda n, y: n.op("DepthToSpace", y, blocksize=2, mode="CRD"),
    "padding": lambda n, y: n.op("Pad", y, n.ints(0, 0, 1, 2, 0, 1, 0, 3)),
    "tile": lambda n, y: n.op("Tile", y, n.ints(1, 2, 1, 1)),
    "difference of maps": lambda n, y: n.op("Max", y, n.op("Neg", y)),
    "hard swish": lambda n, y: n.op("HardSwish", n.op("Softmax", y, axis=1)),
    "rows": lambda n, y: n.op("Gather", y, n.ints(3, 1), axis=2),
    "matrix": lambda n, y: n.op("MatMul", y, n.random(11, 3)),
    "join over rows": lambda n, y: n.op("Concat", y, n.op("Sigmoid", y), axis=2),
    "batch first": lambda n, y: n.op("Transpose", y, perm=[2, 0, 3, 1]),
    "channels last": lambda n, y: n.op("Transpose", y, perm=[0, 2, 3, 1]),
}  # fmt: skip


@pytest.mark.parametrize("case", TAILS)
def test_tail(case, tmp_path):
    net = Net()
    TAILS[case](net, net.conv("x", 3, 4))
    graph = assert_like_onnxruntime(net.save(tmp_path))
    assert graph.host_ops


def test_the_engine_keeps_what_it_can_do(tmp_path):
    """Only what it cannot do, and what follows, goes to the host."""
    net = Net()
    y = net.op("Relu", net.op("Add", net.conv("x", 3, 4), net.conv("x", 3, 4)))
    y = net.op("MaxPool", y, kernel_shape=[2, 2])
    net.op("Mul", net.op("Sigmoid", y), net.const(2.0))
    graph = assert_like_onnxruntime(net.save(tmp_path))
    assert [op.kind for op in graph.host_ops] == ["sigmoid", "constant", "mul"]


def test_large_final_resize_goes_to_the_host(tmp_path):
    net = Net((1, 3, 20, 20))
    net.op("Resize", net.conv("x", 3, 21), "", net.const([1, 1, 16, 16]), mode="linear")
    assert [op.kind for op in import_onnx(net.save(tmp_path)).host_ops] == ["resize"]


def test_size_known_only_at_run_time_is_refused(tmp_path):
    net = Net((1, 3, 16, 12))
    y = net.op("Reshape", net.conv("x", 3, 4), net.ints(1, 4, -1))
    found = net.op(
        "NonMaxSuppression", net.op("Transpose", y, perm=[0, 2, 1]),
        net.op("Slice", y, net.ints(0), net.ints(1), net.ints(1)), net.ints(5),
    )  # fmt: skip
    net.op("Reshape", found, net.ints(3, 5), out="y")
    with pytest.raises(UnsupportedModel, match="cannot run on the host"):
        import_onnx(net.save(tmp_path, "y", types={"y": TensorProto.INT64}))


@pytest.mark.parametrize("opset", [9, 18])
def test_a_clip_without_bounds_makes_infinities_finite(opset, tmp_path):
    net = Net(opset=opset)
    net.op("Clip", net.op("Div", "x", net.op("Relu", "x")))
    path = net.save(tmp_path)
    graph = import_onnx(path)
    image = np.full(graph.host_input.model_shape, -2, np.float32)
    (want,) = run_reference(path, image)
    (got,) = run_host_ops(graph, run_float(graph, image)).values()
    np.testing.assert_array_equal(got, want)
    assert np.isfinite(got).all()


def test_a_bfloat16_constant_of_the_host(tmp_path):
    net = Net((1, 3, 6, 7))
    half = net.const(0.5)
    net.op("Mul", net.op("Softmax", net.conv("x", 3, 4), axis=1), half)
    model = net.model("n2")
    (tensor,) = [t for t in model.graph.initializer if t.name == half]
    tensor.CopyFrom(helper.make_tensor(half, TensorProto.BFLOAT16, [1], [0.5]))
    (tmp_path / "net.onnx").write_bytes(model.SerializeToString())
    (constant,) = [
        op for op in import_onnx(tmp_path / "net.onnx").host_ops if op.kind == "constant"
    ]
    assert constant.attributes["dtype"] == "float32"
