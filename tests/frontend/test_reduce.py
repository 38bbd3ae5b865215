"""Reductions inside a network, in every order of the axes, against onnxruntime."""

import numpy as np
import pytest

from fpga_gen.errors import UnsupportedModel
from fpga_gen.frontend.importer import check_onnx, import_onnx
from tests.frontend.onnx_models import Net, assert_like_onnxruntime

CASES = [
    ("NCHW", [2, 3]), ("NCHW", [2]), ("NCHW", [3]), ("NCHW", [1]), ("NCHW", [1, 2, 3]),
    ("NHWC", [1, 2]), ("NHWC", [3]), ("NHWC", [2]), ("NCL", [2]), ("NLC", [1]), ("NLC", [2]),
]  # fmt: skip


OPERATORS = ("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin")
# Extremes are those of pixels, see test_maximum_of_channels_is_refused.
RUNS = [
    (op, order, axes) for op in OPERATORS for order, axes in CASES
    if op in OPERATORS[:2] or order[axes[0]] != "C"
]  # fmt: skip


@pytest.mark.parametrize("keep", [0, 1])
@pytest.mark.parametrize("case", RUNS, ids=str)
def test_reduction(case, keep, tmp_path):
    op, order, axes = case
    net = Net((1, 3, 6, 7))
    y = net.op("Relu", net.conv("x", 3, 5))
    if order == "NHWC":
        y = net.op("Transpose", y, perm=[0, 2, 3, 1])
    elif order in ("NCL", "NLC"):
        y = net.op("Reshape", y, net.ints(1, 5, 42))
        y = net.op("Transpose", y, perm=[0, 2, 1]) if order == "NLC" else y
    opset_axes = net.ints(*axes)
    y = net.op(op, y, opset_axes, keepdims=keep)
    y = net.op("Reshape", y, net.ints(1, -1))
    size = {"N": 1, "C": 5, "H": 6, "W": 7, "L": 42}
    count = int(np.prod([size[a] for k, a in enumerate(order) if k not in axes]))
    net.op("Gemm", y, net.random(count, 300))  # too large for the host
    graph = assert_like_onnxruntime(net.save(tmp_path))
    assert all(step.kind in ("reshape", "view") for step in graph.host_ops)


def test_maximum_of_channels_is_refused(tmp_path):
    net = Net()
    net.conv(net.op("ReduceMax", "x", net.ints(1)), 1, 400)
    with pytest.raises(UnsupportedModel, match="compares channels with each other"):
        import_onnx(net.save(tmp_path))


@pytest.mark.parametrize("op", OPERATORS)
def test_number_without_axes(op, tmp_path):
    """Of all axes, the batch's too: at the end on the host, elsewhere refused."""
    net = Net()
    y = net.op(op, net.op("Relu", net.conv("x", 3, 5)), keepdims=0)
    assert_like_onnxruntime(net.save(tmp_path))
    net.op("Gemm", net.op("Reshape", y, net.ints(1, 1)), net.random(1, 300))
    with pytest.raises(UnsupportedModel, match="a number without axes"):
        import_onnx(net.save(tmp_path))


def test_square(tmp_path):
    net = Net()
    net.conv(net.op("Pow", net.conv("x", 3, 4), net.const(2.0)), 4, 2)
    assert_like_onnxruntime(net.save(tmp_path))


REFUSED = {
    "InstanceNormalization": (lambda n: ["x", n.random(3), n.random(3)], {}, "deviation"),
    "LpPool": (lambda n: ["x"], {"kernel_shape": [2, 2]}, "sums powers"),
    "LpNormalization": (lambda n: ["x"], {"axis": 1}, "norm that it measures"),
    "ReduceL2": (lambda n: ["x", n.ints(1)], {}, "takes a root"),
    "MatMul": (lambda n: ["x", n.op("Transpose", "x", perm=[0, 1, 3, 2])], {}, "two feature maps"),
}


@pytest.mark.parametrize("op", REFUSED)
def test_refused_by_name(op, tmp_path):
    inputs, attributes, reason = REFUSED[op]
    net = Net(opset=18)
    y = net.op(op, *inputs(net), name="culprit", **attributes)
    net.conv(y, 1 if op == "ReduceL2" else 3, 400)
    (problem,) = check_onnx(net.save(tmp_path))
    assert problem.node == "culprit"
    assert reason in problem.reason
    assert problem.remedy
