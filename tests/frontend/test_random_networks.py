"""Networks drawn at random from all operators that move or compute, against onnxruntime."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import helper

from fpga_gen.frontend.importer import check_onnx
from tests.frontend.onnx_models import Net, assert_like_onnxruntime

Shape = tuple[int, int, int]
Step = tuple[str, Shape]  # value and its (C, H, W)


def _conv(net: Net, draw, x: str, shape: Shape) -> Step:
    c, h, w = shape
    k, stride = draw(st.sampled_from([1, 2, 3])), draw(st.sampled_from([1, 1, 2]))
    if min(h, w) < 3:
        k = stride = 1
    group = draw(st.sampled_from([g for g in (1, 2, c) if c % g == 0]))
    out = group * draw(st.integers(1, 3))
    y = net.conv(x, c // group, out, k=k, strides=[stride] * 2, group=group, pads=[k // 2] * 4)
    size = [(n + 2 * (k // 2) - k) // stride + 1 for n in (h, w)]
    return net.op("Relu", y), (out, *size)


def _transposed(net: Net, draw, x: str, shape: Shape) -> Step:
    c, h, w = shape
    if max(h, w) > 10:
        return x, shape
    k, s = draw(st.integers(1, 4)), draw(st.integers(1, 3))
    out = draw(st.integers(1, 4))
    y = net.op("ConvTranspose", x, net.random(c, out, k, k), strides=[s, s])
    return y, (out, s * (h - 1) + k, s * (w - 1) + k)


def _pool(net: Net, draw, x: str, shape: Shape) -> Step:
    c, h, w = shape
    kind = draw(st.sampled_from(["MaxPool", "AveragePool"]))
    if min(h, w) < 2:
        return net.op("GlobalAveragePool", x), (c, 1, 1)
    return net.op(kind, x, kernel_shape=[2, 2], strides=[1, 1]), (c, h - 1, w - 1)


def _split(net: Net, draw, x: str, shape: Shape) -> Step:
    c, h, w = shape
    if c < 2:
        return x, shape
    first = draw(st.integers(1, c - 1))
    names = [f"part{len(net.nodes)}_{k}" for k in (0, 1)]
    net.nodes.append(
        helper.make_node("Split", [x, net.ints(first, c - first)], names, name=names[0], axis=1)
    )
    if draw(st.booleans()):
        return names[0], (first, h, w)
    return net.op("Concat", *names[::-1], axis=1), shape


def _shuffle(net: Net, draw, x: str, shape: Shape) -> Step:
    c, h, w = shape
    g = draw(st.sampled_from([g for g in (1, 2, 3, 4) if c % g == 0]))
    y = net.op("Reshape", x, net.ints(1, g, c // g, h, w))
    y = net.op("Transpose", y, perm=[0, 2, 1, 3, 4])
    return net.op("Reshape", y, net.ints(1, c, h, w)), shape


def _crop(net: Net, draw, x: str, shape: Shape) -> Step:
    c, h, w = shape
    rows = draw(st.tuples(st.integers(0, h - 1), st.integers(1, 2)))
    columns = draw(st.integers(1, w))
    y = net.op("Slice", x, net.ints(rows[0], 0), net.ints(h, columns), net.ints(2, 3),
               net.ints(rows[1], 1))  # fmt: skip
    return y, (c, -(-(h - rows[0]) // rows[1]), columns)


def _gather(net: Net, draw, x: str, shape: Shape) -> Step:
    c, h, w = shape
    index = draw(st.lists(st.integers(0, c - 1), min_size=1, max_size=4))
    return net.op("Gather", x, net.ints(*index), axis=1), (len(index), h, w)


def _pad(net: Net, draw, x: str, shape: Shape) -> Step:
    c, h, w = shape
    front, top, left, bottom, right = (draw(st.integers(0, 2)) for _ in range(5))
    y = net.op("Pad", x, net.ints(0, front, top, left, 0, 0, bottom, right))
    return y, (c + front, h + top + bottom, w + left + right)


def _blocks(net: Net, draw, x: str, shape: Shape) -> Step:
    c, h, w = shape
    if not h % 2 and not w % 2 and c <= 6:
        return net.op("SpaceToDepth", x, blocksize=2), (4 * c, h // 2, w // 2)
    if not c % 4 and max(h, w) < 12:
        mode = draw(st.sampled_from(["DCR", "CRD"]))
        return net.op("DepthToSpace", x, blocksize=2, mode=mode), (c // 4, 2 * h, 2 * w)
    return x, shape


def _last(net: Net, draw, x: str, shape: Shape) -> Step:
    """Channels last and back, with arithmetic between."""
    c = shape[0]
    y = net.op("Transpose", x, perm=[0, 2, 3, 1])
    y = net.op("Add", net.op("Mul", y, net.random(c)), net.random(c))
    return net.op("Transpose", net.op("Relu", y), perm=[0, 3, 1, 2]), shape


def _residual(net: Net, draw, x: str, shape: Shape) -> Step:
    y = net.conv(x, shape[0], shape[0])
    return net.op("Relu", net.op("Add", x, y)), shape


STEPS = (
    _conv,
    _transposed,
    _pool,
    _split,
    _shuffle,
    _crop,
    _gather,
    _pad,
    _blocks,
    _last,
    _residual,
)
ENDS = ("conv", "softmax", "flat", "as it is", "rows", "dense")


def _end(net: Net, kind: str, x: str, shape: Shape) -> None:
    c, h, w = shape
    if kind == "conv":
        net.conv(x, c, 3)
    elif kind == "softmax":
        net.op("Softmax", net.op("Transpose", x, perm=[0, 2, 3, 1]), axis=-1)
    elif kind == "flat":
        net.op("Concat", net.op("Reshape", x, net.ints(1, c, -1)),
               net.op("Reshape", net.op("Sigmoid", x), net.ints(1, c, -1)), axis=2)  # fmt: skip
    elif kind == "rows":
        net.op("ReduceMean", x, net.ints(2), keepdims=0)
    elif kind == "dense":
        net.op("Gemm", net.op("Flatten", x), net.random(c * h * w, 3))
    else:
        net.op("Identity", x)


@st.composite
def networks(draw) -> Net:
    net = Net((1, draw(st.integers(1, 4)), draw(st.integers(4, 9)), draw(st.integers(4, 9))))
    x, shape = "x", net.shape[1:]
    for step in draw(st.lists(st.sampled_from(STEPS), min_size=1, max_size=6)):
        x, shape = step(net, draw, x, shape)
    _end(net, draw(st.sampled_from(ENDS)), x, shape)
    return net


@settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
@given(networks())
def test_equal_or_refused(net: Net) -> None:
    """Nothing is wrong; what is refused is refused by name."""
    with TemporaryDirectory() as folder:
        path = net.save(Path(folder))
        problems = check_onnx(path)
        if problems:
            assert all(p.node and p.reason and p.remedy for p in problems)
            return
        with np.errstate(over="ignore"):
            assert_like_onnxruntime(path, atol=1e-3)
