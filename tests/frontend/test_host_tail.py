"""Operators at the end of a network that the host runs, and models with several outputs."""

import json

import numpy as np
import pytest
from onnx import TensorProto

from fpga_gen.errors import UnsupportedModel
from fpga_gen.frontend.importer import check_onnx, import_onnx
from tests.frontend.onnx_models import Net, assert_like_onnxruntime


def _kinds(graph) -> list[str]:
    return [op.kind for op in graph.host_ops]


def test_sigmoid(tmp_path):
    net = Net()
    net.op("Sigmoid", net.conv("x", 3, 2))
    graph = assert_like_onnxruntime(net.save(tmp_path))
    assert _kinds(graph) == ["sigmoid"]
    assert graph.outputs == ("n0",)
    assert graph.output_names == ("n1",)


@pytest.mark.parametrize("opset", [11, 13])
@pytest.mark.parametrize("axis", [1, -1, 2])
def test_softmax_over_map(axis, opset, tmp_path):
    net = Net(opset=opset)
    net.op("Softmax", net.conv("x", 3, 4), axis=axis)
    graph = assert_like_onnxruntime(net.save(tmp_path))
    whole = opset == 11 and axis > 0
    assert _kinds(graph) == (["reshape", "softmax", "reshape"] if whole else ["softmax"])


@pytest.mark.parametrize("opset", [11, 18])
def test_classifier(opset, tmp_path):
    net = Net(opset=opset)
    flat = net.op("Flatten", net.op("GlobalAveragePool", net.conv("x", 3, 4)))
    net.op("Softmax", net.op("Gemm", flat, net.random(4, 6)), axis=1)
    assert _kinds(assert_like_onnxruntime(net.save(tmp_path))) == ["reshape", "softmax"]


@pytest.mark.parametrize("keep", [0, 1])
def test_segmentation_tail(keep, tmp_path):
    net = Net()
    y = net.op("Resize", net.conv("x", 3, 4), "", net.const([1, 1, 4, 4]), mode="linear")
    y = net.op("Clip", y, net.const(-1.0), net.const(1.0))
    net.op("ArgMax", net.op("Softmax", y, axis=1), axis=1, keepdims=keep, out="classes")
    path = net.save(tmp_path, "classes", types={"classes": TensorProto.INT64})
    graph = assert_like_onnxruntime(path)
    assert _kinds(graph) == ["resize", "clip", "softmax", "argmax"]
    attributes = [op.attributes for op in graph.host_ops]
    assert json.loads(json.dumps(attributes)) == attributes


def test_host_nearest_resize_after_sigmoid(tmp_path):
    net = Net()
    y = net.op("Sigmoid", net.conv("x", 3, 9))
    net.op("Resize", y, "", "", net.ints(1, 9, 20, 5), mode="nearest", nearest_mode="floor")
    assert _kinds(assert_like_onnxruntime(net.save(tmp_path))) == ["sigmoid", "resize"]


@pytest.mark.parametrize("cut", ["Reshape", "Flatten", "Squeeze", "Transpose"])
def test_reshaped_output(cut, tmp_path):
    net = Net()
    y = net.op("GlobalAveragePool", net.conv("x", 3, 4))
    arguments = {
        "Reshape": [net.ints(0, -1)],
        "Flatten": [],
        "Squeeze": [net.ints(3)],
        "Transpose": [],
    }[cut]
    net.op(cut, y, *arguments, **({"perm": [0, 2, 3, 1]} if cut == "Transpose" else {}))
    assert _kinds(assert_like_onnxruntime(net.save(tmp_path))) == ["reshape"]


def test_outputs_that_share_a_map(tmp_path):
    net = Net()
    y = net.conv("x", 3, 2)
    net.op("Sigmoid", y, out="p")
    net.op("Identity", y, out="same")
    net.op("Relu", y, out="positive")
    graph = assert_like_onnxruntime(net.save(tmp_path, y, "p", "same", "positive"))
    assert len(graph.outputs) == 2  # the map itself, and what Relu makes of it
    assert graph.output_names == (y, "p", "same", "positive")


def test_input_as_output(tmp_path):
    net = Net()
    net.op("Sigmoid", "x")
    assert_like_onnxruntime(net.save(tmp_path))


def test_large_resize_inside_the_network_stays_on_the_engine(tmp_path):
    net = Net((1, 2, 5, 4))
    y = net.op("Resize", net.conv("x", 2, 2), "", net.const([1, 1, 4, 4]), mode="linear")
    net.conv(y, 2, 3)
    assert _kinds(assert_like_onnxruntime(net.save(tmp_path))) == []


@pytest.mark.parametrize("op", ["Softmax", "ArgMax"])
def test_host_operator_inside_the_network_is_refused(op, tmp_path):
    net = Net()
    y = net.op(op, net.conv("x", 3, 3), axis=1)
    net.conv(y, 3 if op == "Softmax" else 1, 400)
    net.nodes[-1].name = "after"
    with pytest.raises(UnsupportedModel, match=rf"{op} '.*middle of the network.*'after'"):
        import_onnx(net.save(tmp_path))


def test_a_sigmoid_that_is_final_and_read_is_on_the_engine(tmp_path):
    net = Net()
    gate = net.op("Sigmoid", net.conv("x", 3, 3), name="gate")
    net.op("Mul", gate, "x", out="y")
    assert _kinds(assert_like_onnxruntime(net.save(tmp_path, gate, "y"))) == []


def test_both_uses_must_be_final(tmp_path):
    net = Net()
    gate = net.op("Softmax", net.conv("x", 3, 3), name="gate")
    net.conv(gate, 3, 400)
    problems = check_onnx(net.save(tmp_path, gate, f"n{len(net.nodes) - 1}"))
    assert [(p.node, p.op) for p in problems] == [("gate", "Softmax")]


def test_cast_of_a_class_map(tmp_path):
    net = Net()
    net.op("Cast", net.op("ArgMax", "x", axis=1), to=TensorProto.FLOAT)
    graph = assert_like_onnxruntime(net.save(tmp_path))
    assert _kinds(graph) == ["argmax", "cast"]


def test_cast_to_a_small_integer_is_refused(tmp_path):
    net = Net()
    net.op("Cast", net.op("ArgMax", "x", axis=1), to=TensorProto.INT8, out="y")
    (problem,) = check_onnx(net.save(tmp_path, "y", types={"y": TensorProto.INT8}))
    assert problem.op == "Cast"


def test_sigmoid_does_not_overflow(tmp_path):
    net = Net()
    net.op("Sigmoid", net.op("Mul", "x", net.const(1e4)))
    with np.errstate(over="raise"):
        assert_like_onnxruntime(net.save(tmp_path))


def test_reshape_after_a_host_operator(tmp_path):
    net = Net()
    y = net.op("Softmax", net.conv("x", 3, 4), axis=1)
    y = net.op("Reshape", y, net.ints(1, 2, 2, -1))
    net.op("Relu", net.op("Squeeze", y, net.ints(0)))
    graph = assert_like_onnxruntime(net.save(tmp_path))
    assert _kinds(graph) == ["softmax", "reshape", "reshape", "clip"]
