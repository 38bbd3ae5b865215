"""Convolutions, pooling and elementwise operators against onnxruntime."""

import itertools

import numpy as np
import pytest

from fpga_gen.graph.ir import Add, Conv, MaxPool, Mul, Resample
from tests.frontend.onnx_models import Net, assert_like_onnxruntime

CONVS = [
    {"k": 1},
    {"k": 3, "strides": [2, 2]},
    {"k": (3, 5), "pads": [0, 3, 2, 1]},
    {"k": (1, 7), "strides": [1, 2], "dilations": [1, 1]},
    {"k": 3, "dilations": [3, 2], "pads": [3, 2, 3, 2]},
    {"k": 3, "dilations": [2, 1], "strides": [2, 3], "pads": [0, 1, 3, 0]},
    {"k": 2, "pads": [0, 0, 0, 0], "strides": [2, 2], "bias": False},
    *({"k": k, "auto_pad": a, "strides": s, "pads": None}
      for k, a, s in itertools.product((2, 3), ("SAME_UPPER", "SAME_LOWER", "VALID"),
                                       ([1, 1], [2, 2]))),
]  # fmt: skip


@pytest.mark.parametrize("case", CONVS, ids=str)
def test_conv(case, tmp_path):
    net = Net()
    net.conv("x", 3, 5, **case)
    graph = assert_like_onnxruntime(net.save(tmp_path))
    assert [type(n) for n in graph.nodes] == [Conv]


GROUPS = [
    {"channels": (6, 6), "group": 6},
    {"channels": (6, 12), "group": 6, "strides": [2, 2]},
    {"channels": (6, 6), "group": 6, "dilations": [2, 1], "pads": [2, 0, 1, 1]},
    {"channels": (6, 6), "group": 6, "k": (1, 5), "strides": [3, 1], "bias": False},
    {"channels": (6, 6), "group": 6, "k": 1},
    {"channels": (6, 4), "group": 2},
    {"channels": (8, 8), "group": 4, "k": 3, "auto_pad": "SAME_UPPER", "pads": None},
    {"channels": (6, 9), "group": 3, "k": (3, 1), "strides": [2, 1]},
]


@pytest.mark.parametrize("case", GROUPS, ids=str)
def test_grouped_conv(case, tmp_path):
    case = dict(case)
    channels, out = case.pop("channels")
    net = Net()
    net.conv(net.conv("x", 3, channels), channels // case["group"], out, **case)
    graph = assert_like_onnxruntime(net.save(tmp_path))
    assert graph.nodes[-1].terms[0].groups == case["group"] or case.get("k") == 1
    image = Net((1, 6, 9, 11))
    image.conv("x", 1, 6, group=6)
    assert_like_onnxruntime(image.save(tmp_path))


def test_branches_of_one_map_become_one_convolution(tmp_path):
    """A block that was trained with parallel branches (RepVGG): 3x3 and 1x1."""
    net = Net((1, 4, 9, 11))
    x = net.op("Relu", net.conv("x", 4, 4))
    y = net.op("Add", net.conv(x, 4, 4, strides=[2, 2]), net.conv(x, 4, 4, k=1, strides=[2, 2]))
    net.op("Relu", y)
    graph = assert_like_onnxruntime(net.save(tmp_path))
    (term,) = graph.nodes[1].terms
    assert (term.kernel, term.stride) == ((3, 3), (2, 2))


def test_depthwise_with_batch_norm_and_relu6(tmp_path):
    """1x1, batch norm, ReLU6, depthwise, batch norm: two convolutions are left."""
    net = Net()
    y = net.batch_norm(net.conv("x", 3, 20, 1, bias=False), 20)
    y = net.op("Clip", y, net.const(0.0), net.const(6.0))
    net.batch_norm(net.conv(y, 1, 20, group=20, bias=False), 20)
    graph = assert_like_onnxruntime(net.save(tmp_path))
    assert [type(n) for n in graph.nodes] == [Conv, Conv]
    assert (graph.nodes[0].activation.lo, graph.nodes[0].activation.hi) == (0, 6)
    assert graph.nodes[1].terms[0].groups == 20


POOLS = [
    {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]},
    {"kernel_shape": [2, 2], "strides": [2, 2]},
    {"kernel_shape": [2, 2], "strides": [2, 2], "ceil_mode": 1},
    {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1},
    {"kernel_shape": [3, 2], "strides": [3, 4], "pads": [1, 0, 2, 1], "ceil_mode": 1},
    {"kernel_shape": [2, 3], "strides": [3, 3], "pads": [1, 1, 1, 1], "ceil_mode": 1},
    {"kernel_shape": [2, 2], "strides": [1, 3], "pads": [0, 1, 1, 0]},
    {"kernel_shape": [3, 3], "strides": [2, 1], "auto_pad": "SAME_UPPER"},
    {"kernel_shape": [2, 2], "strides": [1, 1], "auto_pad": "SAME_LOWER"},
    {"kernel_shape": [1, 1], "strides": [2, 2]},
]


@pytest.mark.parametrize("size", [(9, 11), (8, 10), (7, 6)])
@pytest.mark.parametrize("case", POOLS, ids=str)
def test_max_pool(case, size, tmp_path):
    net = Net((1, 3, *size))
    net.op("MaxPool", "x", **case)
    assert [type(n) for n in assert_like_onnxruntime(net.save(tmp_path)).nodes] == [MaxPool]


@pytest.mark.parametrize("ceil", [0, 1])
def test_max_pool_dilation(ceil, tmp_path):
    net = Net()
    net.op("MaxPool", "x", kernel_shape=[3, 2], dilations=[2, 3], strides=[2, 2],
           pads=[1, 0, 1, 1], ceil_mode=ceil)  # fmt: skip
    assert_like_onnxruntime(net.save(tmp_path))


@pytest.mark.parametrize("include", [0, 1])
@pytest.mark.parametrize("size", [(9, 11), (8, 10)])
@pytest.mark.parametrize("case", POOLS, ids=str)
def test_average_pool(case, size, include, tmp_path):
    if include and case.get("ceil_mode") and "pads" in case:
        case = {**case, "ceil_mode": 0}  # the combination is refused, see test_refused_operators
    net = Net((1, 3, *size), opset=19)
    net.op("AveragePool", "x", count_include_pad=include, **case)
    graph = assert_like_onnxruntime(net.save(tmp_path))
    expected = Conv if include and ("pads" in case or "auto_pad" in case) else Resample
    assert [type(n) for n in graph.nodes] == [expected]


def test_average_pool_weights_are_exact(tmp_path):
    net = Net((1, 2, 5, 7))
    net.op("AveragePool", "x", kernel_shape=[3, 3], pads=[1, 1, 1, 1])
    (node,) = assert_like_onnxruntime(net.save(tmp_path)).nodes
    assert node.y.denominator == 6  # windows of 2 and 3 rows
    assert node.y.weights == ((3, 3, 0), (2, 2, 2), (2, 2, 2), (2, 2, 2), (0, 3, 3))
    assert node.y.start == (0, 0, 1, 2, 2)


@pytest.mark.parametrize("kind", ["GlobalAveragePool", "GlobalMaxPool"])
def test_global_pool(kind, tmp_path):
    net = Net()
    net.op(kind, "x")
    assert_like_onnxruntime(net.save(tmp_path))


def test_mean_over_long_axis_takes_two_steps(tmp_path):
    net = Net((1, 2, 3, 300))
    net.op("GlobalAveragePool", "x")
    graph = assert_like_onnxruntime(net.save(tmp_path))
    assert [n.x.denominator for n in graph.nodes] == [15, 20]


@pytest.mark.parametrize("opset", [13, 18])
@pytest.mark.parametrize("keep", [0, 1])
@pytest.mark.parametrize("axes", [[2, 3], [-1, -2], [2], [3]])
def test_reduce_mean(axes, keep, opset, tmp_path):
    net = Net(opset=opset)
    if opset < 18:
        net.op("ReduceMean", "x", axes=axes, keepdims=keep)
    else:
        net.op("ReduceMean", "x", net.ints(*axes), keepdims=keep)
    assert_like_onnxruntime(net.save(tmp_path))


def test_mean_over_flattened_space(tmp_path):
    net = Net()
    flat = net.op("Reshape", "x", net.ints(1, 3, -1))
    net.op("ReduceMean", flat, net.ints(2), keepdims=0)
    assert_like_onnxruntime(net.save(tmp_path))


@pytest.mark.parametrize("ways", [2, 3, 5])
def test_concat(ways, tmp_path):
    net = Net()
    parts = [net.conv("x", 3, 2 + i) for i in range(ways)]
    net.conv(net.op("Concat", *parts, axis=1), sum(range(2, 2 + ways)), 4)
    assert_like_onnxruntime(net.save(tmp_path))


@pytest.mark.parametrize("kind", ["Add", "Sub", "Mul", "Div"])
@pytest.mark.parametrize("shape", [(), (1,), (3, 1, 1), (1, 3, 1, 1)])
def test_constant_operand(kind, shape, tmp_path):
    net = Net()
    constant = net.const(net.rng.uniform(0.5, 2, shape))
    net.op(kind, net.op("Relu", net.conv("x", 3, 3)), constant)
    assert_like_onnxruntime(net.save(tmp_path))


@pytest.mark.parametrize("kind", ["Add", "Sub", "Mul"])
def test_constant_left_operand(kind, tmp_path):
    net = Net()
    net.op(kind, net.random(1, 3, 1, 1), "x")
    assert_like_onnxruntime(net.save(tmp_path))


@pytest.mark.parametrize("kind", ["Add", "Sub", "Mul"])
def test_two_maps(kind, tmp_path):
    net = Net()
    a, b = net.op("Relu", net.conv("x", 3, 4)), net.op("Relu", net.conv("x", 3, 4))
    net.op("Relu", net.op(kind, a, b))
    graph = assert_like_onnxruntime(net.save(tmp_path))
    assert isinstance(graph.nodes[-1], Mul if kind == "Mul" else Add)


@pytest.mark.parametrize("kind", ["Add", "Mul"])
def test_map_with_itself(kind, tmp_path):
    net = Net()
    net.op(kind, "x", "x")
    assert_like_onnxruntime(net.save(tmp_path))


@pytest.mark.parametrize("kind", ["Add", "Mul"])
@pytest.mark.parametrize("channels", [1, 4])
def test_broadcast_maps(kind, channels, tmp_path):
    net = Net()
    a = net.op("Relu", net.conv("x", 3, 4))
    b = net.op("Relu", net.conv(net.op("GlobalAveragePool", "x"), 3, channels, k=1))
    net.op(kind, a, b)
    assert_like_onnxruntime(net.save(tmp_path))


def test_sum_of_many(tmp_path):
    net = Net()
    a, b = (net.op("Relu", net.conv("x", 3, 3)) for _ in range(2))
    net.op("Sum", a, b, a, "x", net.random(3, 1, 1))
    assert_like_onnxruntime(net.save(tmp_path))


def test_neg_and_expand(tmp_path):
    net = Net()
    mean = net.op("GlobalAveragePool", net.op("Neg", "x"))
    net.op("Expand", mean, net.ints(1, 3, 5, 4))
    assert_like_onnxruntime(net.save(tmp_path))


@pytest.mark.parametrize("lo", [None, -0.5, 0.0])
@pytest.mark.parametrize("hi", [None, 0.75])
@pytest.mark.parametrize("opset", [9, 18])
def test_clip(lo, hi, opset, tmp_path):
    net = Net(opset=opset)
    y = net.conv("x", 3, 4)
    if opset < 11:
        net.op("Clip", y, **{k: v for k, v in (("min", lo), ("max", hi)) if v is not None})
    else:
        bounds = ["" if v is None else net.const(v) for v in (lo, hi)]
        net.op("Clip", y, *bounds)
    (node,) = assert_like_onnxruntime(net.save(tmp_path)).nodes
    assert node.activation.lo == (-np.inf if lo is None else lo)
    assert node.activation.hi == (np.inf if hi is None else hi)


def test_min_max(tmp_path):
    net = Net()
    net.op("Min", net.const(1.5), net.op("Max", "x", net.const(-0.25)))
    assert_like_onnxruntime(net.save(tmp_path))


@pytest.mark.parametrize("kind", ["Max", "Min", "Pow", "Add", "Mul"])
@pytest.mark.parametrize("shape", [(1, 10), (1, 3, 6, 7)])
def test_constant_with_more_axes_than_the_map(shape, kind, tmp_path):
    """The result has the axes of the constant."""
    net = Net(shape)
    net.op(kind, net.op("Relu", "x"), net.const(np.full([1] * (len(shape) + 1), 2.0)))
    assert_like_onnxruntime(net.save(tmp_path))


@pytest.mark.parametrize("kind", ["Add", "Mul"])
def test_constant_that_repeats_the_map(kind, tmp_path):
    net = Net((1, 3, 6, 7))
    pooled = net.op("Flatten", net.op("GlobalAveragePool", net.conv("x", 3, 4)))
    net.op(kind, net.random(5, 8), net.op("Concat", pooled, pooled, axis=1))
    assert_like_onnxruntime(net.save(tmp_path))


def test_slice_backwards_from_before_the_map(tmp_path):
    net = Net((1, 3, 6, 7))
    net.op("Slice", net.op("Relu", "x"), net.ints(-100), net.ints(-(1 << 40)), net.ints(2),
           net.ints(-1))  # fmt: skip
    assert_like_onnxruntime(net.save(tmp_path))


def test_batch_norm(tmp_path):
    net = Net()
    y = net.batch_norm(net.conv("x", 3, 4, bias=False), 4)
    net.conv(net.batch_norm(net.op("Relu", y), 4), 4, 2)
    graph = assert_like_onnxruntime(net.save(tmp_path))
    assert [type(n) for n in graph.nodes] == [Conv] * 3  # the second one stays, as 1x1


@pytest.mark.parametrize("trans", [0, 1])
@pytest.mark.parametrize("bias", [None, (), (5,), (1, 5)])
def test_gemm(trans, bias, tmp_path):
    net = Net((1, 3, 4, 2))
    flat = net.op("Flatten", net.op("Relu", "x"))
    weight = net.random(5, 24) if trans else net.random(24, 5)
    extra = [] if bias is None else [net.random(*bias)]
    net.op("Gemm", flat, weight, *extra, transB=trans, alpha=0.5, beta=2.0)
    assert_like_onnxruntime(net.save(tmp_path))


def test_classifier_tail(tmp_path):
    net = Net()
    pooled = net.op("GlobalAveragePool", net.op("Relu", net.conv("x", 3, 6)))
    flat = net.op("Squeeze", pooled, net.ints(2, 3))
    hidden = net.op("Relu", net.batch_norm(net.op("MatMul", flat, net.random(6, 7)), 7))
    net.op("Add", net.op("MatMul", hidden, net.random(7, 4)), net.random(4))
    graph = assert_like_onnxruntime(net.save(tmp_path))
    assert [type(n) for n in graph.nodes] == [Conv, Resample, Conv, Conv]


@pytest.mark.parametrize("opset", [9, 18])
def test_pad_into_conv_and_pool(opset, tmp_path):
    net = Net(opset=opset)

    def pad(x, *pads):
        if opset < 11:
            return net.op("Pad", x, pads=list(pads))
        return net.op("Pad", x, net.ints(*pads))

    y = net.conv(pad("x", 0, 0, 1, 2, 0, 0, 0, 3), 3, 4, pads=[1, 0, 1, 0], strides=[2, 2])
    y = pad(net.op("Relu", y), 0, 0, 1, 1, 0, 0, 1, 0)
    net.op("MaxPool", y, kernel_shape=[3, 3], strides=[2, 2])
    net.op("AveragePool", y, kernel_shape=[3, 3], strides=[2, 2])
    path = net.save(tmp_path, f"n{len(net.nodes) - 2}", f"n{len(net.nodes) - 1}")
    assert_like_onnxruntime(path)


def test_dead_and_neutral_nodes(tmp_path):
    net = Net()
    net.op("Tanh", "x", out="unused")  # not supported, and not needed
    y = net.op("Dropout", net.op("Identity", net.conv("x", 3, 4)))
    y = net.op("Unsqueeze", net.op("Squeeze", y, net.ints(0)), net.ints(0))
    net.op("Cast", y, to=1)
    graph = assert_like_onnxruntime(net.save(tmp_path))
    assert [type(n) for n in graph.nodes] == [Conv]
