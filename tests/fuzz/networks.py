"""Networks for the campaigns against the importer: four of well-known shape, and any number drawn
from a table of steps."""

from __future__ import annotations

import random
from collections.abc import Callable

import onnx
from onnx import TensorProto

from tests.frontend.onnx_models import Net
from tests.fuzz.steps import STEPS, Shape


def plain(net: Net) -> None:
    y = net.op("Relu", net.conv("x", 3, 6))
    y = net.op("MaxPool", y, kernel_shape=[2, 2], strides=[2, 2])
    net.op("Sigmoid", net.conv(y, 6, 2, k=1))


def joined(net: Net) -> None:
    y = net.op("Clip", net.batch_norm(net.conv("x", 3, 4), 4), net.const(0.0), net.const(6.0))
    z = net.op("Relu", net.conv(y, 4, 4, group=4))
    net.op("Softmax", net.conv(net.op("Concat", y, z, axis=1), 8, 3), axis=1)


def pyramid(net: Net) -> None:
    y = net.op("Relu", net.conv("x", 3, 4, strides=[2, 2]))
    up = net.op("Resize", y, "", net.const([1, 1, 2, 2]), mode="nearest",
                coordinate_transformation_mode="asymmetric", nearest_mode="floor")  # fmt: skip
    net.op("AveragePool", net.conv(up, 4, 4), kernel_shape=[3, 3], strides=[2, 2])


def classifier(net: Net) -> None:
    y = net.op("Relu", net.conv("x", 3, 8, strides=[2, 2]))
    y = net.op("Flatten", net.op("GlobalAveragePool", net.op("Add", y, net.conv(y, 8, 8))))
    net.op("Gemm", y, net.random(5, 8), net.random(5), transB=1)


KNOWN: tuple[Callable[[Net], None], ...] = (plain, joined, pyramid, classifier)


INPUTS: tuple[Shape, ...] = (
    (1, 3, 9, 11), (1, 4, 8, 8), (1, 1, 12, 5), (1, 6, 7, 7), (1, 2, 1, 16), (1, 8, 8, 3),
    (1, 5, 14), (1, 24),
)  # fmt: skip


def drawn(rng: random.Random) -> onnx.ModelProto:
    """A network of one to six steps, which need not fit their values."""
    net = Net(rng.choice(INPUTS), rng.choice((18, 18, 13, 21, 24)), rng.randrange(1 << 30))
    y, shape = "x", net.shape
    if rng.random() < 0.15 and len(shape) > 2:  # channels last
        y = net.op("Transpose", y, perm=[0, len(shape) - 1, *range(1, len(shape) - 1)])
        shape = (1, shape[-1], *shape[1:-1])
    for _ in range(rng.randint(1, 6)):
        y = rng.choice(STEPS)(net, rng, y, shape)
        shape, _ = _seen(net, y)
        if not shape:
            break
    y = y if net.nodes else net.op("Relu", y)
    return net.model(y, types={y: _seen(net, y)[1]})


def known(rng: random.Random) -> onnx.ModelProto:
    """One of the four."""
    net = Net(seed=rng.randrange(4))
    rng.choice(KNOWN)(net)
    return net.model(net.nodes[-1].output[0])


def _seen(net: Net, value: str) -> tuple[Shape, int]:
    """(shape, type) by ONNX's inference; no shape where it knows none, or the value is no map."""
    if value == "x":
        return net.shape, TensorProto.FLOAT
    model = onnx.shape_inference.infer_shapes(net.model(value, types={value: 0}), data_prop=True)
    kind = model.graph.output[0].type.tensor_type
    shape = tuple(d.dim_value for d in kind.shape.dim)
    fits = kind.elem_type == TensorProto.FLOAT and shape and 0 < min(shape) <= max(shape) < 200
    return shape if fits else (), kind.elem_type or TensorProto.FLOAT
