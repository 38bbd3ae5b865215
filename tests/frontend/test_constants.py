"""Folding of constants: the operator of the model's opset, and a budget before anything is made."""

import numpy as np
import pytest
from onnx import helper

from fpga_gen.frontend import budget as limits
from fpga_gen.frontend.budget import Budget
from fpga_gen.frontend.constants import fold
from fpga_gen.frontend.importer import import_onnx
from fpga_gen.frontend.problems import Refused
from fpga_gen.graph.ir import Conv
from tests.frontend.onnx_models import Net, assert_like_onnxruntime

ROW = np.arange(6, dtype=np.float32)
OLD = {  # operator: (opset, attributes, input, result) of forms that newer opsets do not have
    "Squeeze": (11, {"axes": [1]}, ROW.reshape(1, 1, 6), ROW.reshape(1, 6)),
    "Unsqueeze": (11, {"axes": [0, 2]}, ROW, ROW.reshape(1, 6, 1)),
    "Clip": (7, {"min": 1.0, "max": 3.0}, ROW, ROW.clip(1, 3)),
    "ReduceSum": (11, {"axes": [1], "keepdims": 0}, ROW.reshape(2, 3), np.float32([3, 12])),
    "ReduceMax": (11, {"axes": [0]}, ROW.reshape(2, 3), ROW[None, 3:]),
    "Slice": (9, {"starts": [1], "ends": [3], "axes": [0]}, ROW, ROW[1:3]),
    "Cast": (8, {"to": 7}, ROW, np.arange(6)),
}


def folded(op: str, opset: int, *inputs: np.ndarray, **attributes) -> np.ndarray:
    names = [f"i{k}" for k in range(len(inputs))]
    node = helper.make_node(op, names, ["y"], **attributes)
    (result,) = fold(node, list(inputs), opset, Budget())
    return result


@pytest.mark.parametrize("op", OLD)
def test_operators_of_old_opsets(op):
    opset, attributes, value, want = OLD[op]
    got = folded(op, opset, value, **attributes)
    assert got.dtype == want.dtype
    np.testing.assert_array_equal(got, want)


def test_split_of_an_old_opset():
    node = helper.make_node("Split", ["x"], ["a", "b"], split=[2, 4])
    a, b = fold(node, [ROW], 11, Budget())
    assert (a.tolist(), b.tolist()) == (ROW[:2].tolist(), ROW[2:].tolist())


def test_shape_arithmetic_of_opset_11(tmp_path):
    """Squeeze and Unsqueeze with their axes as attributes, between Shape and Reshape."""
    net = Net(opset=11)
    y = net.conv("x", 3, 5)
    size = net.op("Slice", net.op("Shape", y), net.ints(1), net.ints(2))
    size = net.op("Squeeze", size, axes=[0])
    size = net.op("Unsqueeze", size, axes=[0])
    y = net.op("GlobalAveragePool", y)
    net.op("Reshape", y, net.op("Concat", net.ints(1), size, axis=0))
    assert_like_onnxruntime(net.save(tmp_path))


def test_clip_of_weights_of_opset_9(tmp_path):
    net = Net(opset=9)
    weight = net.op("Clip", net.random(4, 3, 1, 1), min=-0.5, max=0.5)
    net.op("Conv", "x", weight)
    (node,) = assert_like_onnxruntime(net.save(tmp_path)).nodes
    assert isinstance(node, Conv)
    assert abs(node.terms[0].weight).max() == 0.5


@pytest.mark.parametrize("kind", ["Dropout", "MaxPool"])
def test_second_output_that_nobody_reads(kind, tmp_path):
    net = Net(opset=12)
    attributes = {"kernel_shape": [2, 2]} if kind == "MaxPool" else {}
    y = net.conv("x", 3, 4)
    net.nodes.append(helper.make_node(kind, [y], ["pooled", "unused"], **attributes))
    net.op("Relu", "pooled")
    assert_like_onnxruntime(net.save(tmp_path))


def test_second_output_that_only_a_dead_node_reads(tmp_path):
    net = Net(opset=12)
    net.nodes.append(helper.make_node("MaxPool", ["x"], ["pooled", "i"], kernel_shape=[2, 2]))
    net.op("Cast", "i", to=1)
    assert_like_onnxruntime(net.save(tmp_path, "pooled"))


def test_expand_to_the_size_it_has():
    """The size of the result counts, not that of the input times the target."""
    big = np.zeros((1, 3, 64, 64), np.float32)
    assert folded("Expand", 13, big, np.array([1, 3, 64, 64])).shape == big.shape
    assert folded("Tile", 13, np.zeros((300, 300)), np.array([1, 200])).shape == (300, 60000)


def test_constant_on_a_foreign_spelling_of_the_domain(tmp_path):
    net = Net()
    net.op("Add", "x", net.op("Neg", net.const([2.0]), domain="ai.onnx"))
    graph = import_onnx(net.save(tmp_path))
    assert graph.nodes[-1].bias.tolist() == [-2.0] * 3


HUGE = {
    "Expand": ((np.ones((1, 1), np.float32), np.array([1 << 14, 1 << 14])), {}),
    "Tile": ((np.ones((1, 1 << 14), np.float32), np.array([1 << 14, 1])), {}),
    "ConstantOfShape": ((np.array([1 << 30]),), {}),
    "Range": ((np.array(0), np.array(1 << 40), np.array(1)), {}),
    "MatMul": ((np.ones((1 << 14, 1), np.float32), np.ones((1, 1 << 14), np.float32)), {}),
    "Add": ((np.ones((1 << 14, 1), np.float32), np.ones((1, 1 << 14), np.float32)), {}),
}


@pytest.mark.parametrize("op", HUGE)
def test_huge_constants_are_refused_before_they_are_made(op, monkeypatch):
    monkeypatch.setattr("fpga_gen.frontend.constants._evaluate", None)
    inputs, attributes = HUGE[op]
    with pytest.raises(Refused, match=r"makes a constant of \d+ elements"):
        folded(op, 13, *inputs, **attributes)


def test_many_constants_are_refused_together(monkeypatch):
    monkeypatch.setattr("fpga_gen.frontend.constants._evaluate", None)
    budget = Budget(bytes=1 << 20)
    node = helper.make_node("ConstantOfShape", ["s"], ["y"])
    with pytest.raises(Refused, match="more constants than a network needs"):
        fold(node, [np.array([1 << 19])], 13, budget)


def test_work_on_constants_is_bounded(monkeypatch):
    monkeypatch.setattr("fpga_gen.frontend.constants._evaluate", None)
    square = np.ones((1 << 11, 1 << 11), np.float32)
    with pytest.raises(Refused, match="computes more on constants"):
        folded("MatMul", 13, square, square)
    with pytest.raises(Refused, match="computes more on constants"):
        folded("GatherND", 13, np.zeros(4), np.zeros((1 << 22, 1), np.int64))


def test_weights_are_bounded_with_the_zeros_between_groups():
    budget = Budget()
    budget.weigh(9 << 14, 9 << 20)
    with pytest.raises(Refused, match="weights are too many"):
        budget.weigh(9 << 16, 9 << 32)
    assert Budget.beside(1 << 20).bytes == limits.MADE_BYTES + (8 << 20)
