"""Steps of drawn networks: operators with every attribute that the importer reads. What a step
makes need not be valid."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from onnx import TensorProto

from tests.frontend.onnx_models import Net

Shape = tuple[int, ...]
Step = Callable[[Net, random.Random, str, Shape], str]  # of a value and its shape: the next value


def _some(rng: random.Random, **options: Sequence) -> dict[str, Any]:
    """Some of the attributes, each with one of its values."""
    return {name: rng.choice(values) for name, values in options.items() if rng.random() < 0.5}


def _conv(net: Net, rng: random.Random, x: str, shape: Shape) -> str:
    if len(shape) not in (3, 4):
        return x
    channels, rank = shape[1], len(shape) - 2
    group = rng.choice([g for g in (1, 1, 2, 3, channels) if channels % g == 0])
    filters = group * rng.randint(1, 3)
    kernel = [rng.choice((1, 1, 2, 3, 3, 4)) for _ in range(rank)]
    attributes: dict[str, Any] = _some(
        rng, strides=[[rng.randint(1, 3) for _ in range(rank)]],
        dilations=[[rng.randint(1, 2) for _ in range(rank)]], kernel_shape=[kernel],
    )  # fmt: skip
    attributes["group"] = group
    if rng.random() < 0.3:
        attributes["auto_pad"] = rng.choice(("SAME_UPPER", "SAME_LOWER", "VALID", "NOTSET"))
    elif rng.random() < 0.7:
        attributes["pads"] = [rng.randint(0, 2) for _ in range(2 * rank)]
    weight = net.random(filters, channels // group, *kernel)
    more = [net.random(filters)] if rng.random() < 0.6 else []
    return net.op("Conv", x, weight, *more, **attributes)


def _transposed(net: Net, rng: random.Random, x: str, shape: Shape) -> str:
    if len(shape) not in (3, 4) or max(shape[2:]) > 12:
        return x
    channels, rank = shape[1], len(shape) - 2
    group = rng.choice([g for g in (1, 1, 2, channels) if channels % g == 0])
    kernel = [rng.randint(1, 4) for _ in range(rank)]
    stride = [rng.randint(1, 3) for _ in range(rank)]
    attributes = _some(
        rng, dilations=[[rng.randint(1, 2) for _ in range(rank)]],
        output_padding=[[rng.randint(0, 1) for _ in range(rank)]], kernel_shape=[kernel],
        pads=[[rng.randint(0, 2) for _ in range(2 * rank)]],
    )  # fmt: skip
    if rng.random() < 0.2:
        attributes["output_shape"] = [n * s for n, s in zip(shape[2:], stride, strict=True)]
    elif rng.random() < 0.2:
        attributes["auto_pad"] = rng.choice(("SAME_UPPER", "SAME_LOWER", "VALID"))
    weight = net.random(channels, rng.randint(1, 3), *kernel)
    return net.op("ConvTranspose", x, weight, strides=stride, group=group, **attributes)


def _pool(net: Net, rng: random.Random, x: str, shape: Shape) -> str:
    rank = len(shape) - 2
    if rank < 1:
        return x
    kind = rng.choice(("MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool"))
    if kind.startswith("Global"):
        return net.op(kind, x)
    attributes = _some(
        rng, strides=[[rng.randint(1, 3) for _ in range(rank)]], ceil_mode=[0, 1],
        pads=[[rng.randint(0, 1) for _ in range(2 * rank)]],
        dilations=[[rng.randint(1, 2) for _ in range(rank)]],
    )  # fmt: skip
    if kind == "AveragePool":
        attributes |= _some(rng, count_include_pad=[0, 1])
        if net.opset < 19:
            attributes.pop("dilations", None)
    if rng.random() < 0.2:
        attributes["auto_pad"] = rng.choice(("SAME_UPPER", "SAME_LOWER", "VALID"))
        attributes.pop("pads", None)
    kernel = [rng.randint(1, 4) for _ in range(rank)]
    return net.op(kind, x, kernel_shape=kernel, **attributes)


def _resize(net: Net, rng: random.Random, x: str, shape: Shape) -> str:
    if len(shape) not in (3, 4) or max(shape) > 40:
        return x
    attributes = _some(
        rng, mode=["nearest", "linear", "cubic"], nearest_mode=["floor", "ceil",
        "round_prefer_floor", "round_prefer_ceil"], antialias=[0, 1],
        coordinate_transformation_mode=["half_pixel", "asymmetric", "align_corners",
                                        "pytorch_half_pixel", "half_pixel_symmetric",
                                        "tf_crop_and_resize", "tf_half_pixel_for_nn"],
    )  # fmt: skip
    factors = [rng.choice((0.5, 1, 2, 2, 3, 1.5, 0.3, 2.7)) for _ in shape[2:]]
    if net.opset >= 18 and rng.random() < 0.2:
        axis = rng.randrange(2, len(shape))
        named = [rng.choice((axis, axis - len(shape)))]
        return net.op("Resize", x, "", net.const(factors[axis - 2 : axis - 1]), axes=named,
                      **attributes)  # fmt: skip
    if rng.random() < 0.5:
        return net.op("Resize", x, "", net.const([1, 1, *factors]), **attributes)
    sizes = [max(1, int(n * f)) for n, f in zip(shape[2:], factors, strict=True)]
    return net.op("Resize", x, "", "", net.ints(*shape[:2], *sizes), **attributes)


def _pad(net: Net, rng: random.Random, x: str, shape: Shape) -> str:
    low = -1 if rng.random() < 0.2 else 0
    amounts = [rng.randint(low, 2) if k % len(shape) else 0 for k in range(2 * len(shape))]
    value = [net.const(rng.choice((0.0, 0.0, 1.5)))] if rng.random() < 0.5 else []
    attributes = _some(rng, mode=["constant", "constant", "reflect", "edge"])
    return net.op("Pad", x, net.ints(*amounts), *value, **attributes)


def _slice(net: Net, rng: random.Random, x: str, shape: Shape) -> str:
    axis = rng.randrange(len(shape))
    start, step = rng.randint(-shape[axis], shape[axis] - 1), rng.choice((1, 1, 2, 3, -1, -2))
    ends = (1 << 40, shape[axis], shape[axis] - 1, -1) if step > 0 else (-(1 << 40), -99, 0)
    end = rng.choice(ends)
    named = axis - len(shape) if rng.random() < 0.3 else axis
    return net.op("Slice", x, net.ints(start), net.ints(end), net.ints(named), net.ints(step))


def _reshape(net: Net, rng: random.Random, x: str, shape: Shape) -> str:
    sizes = [n for n in shape if n > 1] or [1]
    rng.shuffle(sizes)
    full = [1, *sizes]
    if len(full) > 2 and rng.random() < 0.5:
        full[-2:] = [full[-2] * full[-1]]
    while len(full) < rng.randint(2, 4):
        full.append(1)
    if rng.random() < 0.4:
        shown = list(full)
        shown[rng.randrange(len(full))] = -1
        return net.op("Reshape", x, net.ints(*shown))
    return net.op("Reshape", x, net.ints(*full))


def _transpose(net: Net, rng: random.Random, x: str, shape: Shape) -> str:
    order = list(range(len(shape)))
    rest = order[1:]
    rng.shuffle(rest)
    order = [0, *rest] if rng.random() < 0.9 else rng.sample(order, len(order))
    return net.op("Transpose", x, perm=order)


def _gather(net: Net, rng: random.Random, x: str, shape: Shape) -> str:
    axis = rng.randrange(len(shape))
    count = rng.randint(1, 3)
    index = [rng.randint(-shape[axis], shape[axis] - 1) for _ in range(count)]
    if rng.random() < 0.3:
        return net.op("Gather", x, net.op("Squeeze", net.ints(index[0])), axis=axis)
    return net.op("Gather", x, net.ints(*index), axis=axis)


def _join(net: Net, rng: random.Random, x: str, shape: Shape) -> str:
    axis = rng.choice((1, 1, len(shape) - 1, -1))
    other = rng.choice((x, net.op("Relu", x), net.op("Neg", x)))
    parts = rng.choice(((x, other), (other, x), (x, x, other)))
    return net.op("Concat", *parts, axis=axis)


def _split(net: Net, rng: random.Random, x: str, shape: Shape) -> str:
    axis = rng.randrange(1, len(shape)) if len(shape) > 1 else 0
    if shape[axis] < 2:
        return x
    first = rng.randint(1, shape[axis] - 1)
    part, rest = (net.op("Slice", x, net.ints(a), net.ints(b), net.ints(axis))
                  for a, b in ((0, first), (first, shape[axis])))  # fmt: skip
    if rng.random() < 0.5:
        return net.op("Concat", rest, part, axis=axis)
    return part


def _operand(net: Net, rng: random.Random, shape: Shape) -> str:
    """A constant that is broadcast against a value, or nearly so."""
    kind = rng.randrange(5)
    if kind == 0:
        number = rng.choice((0.0, 1.0, -2.0, 0.5, 1e-3, 1e30))
        return net.const(np.full([1] * rng.choice((0, 0, 1, len(shape), len(shape) + 1)), number))
    if kind == 1 and len(shape) > 1:
        return net.random(shape[1], *[1] * (len(shape) - 2))
    keep = [n if rng.random() < 0.4 else 1 for n in shape]
    return net.random(*(keep if kind < 4 else keep[rng.randrange(len(keep)) :]))


def _binary(net: Net, rng: random.Random, x: str, shape: Shape) -> str:
    kind = rng.choice(("Add", "Sub", "Mul", "Div", "Max", "Min", "PRelu", "Pow"))
    if kind == "Pow":
        return net.op(kind, x, net.const(rng.choice((1.0, 2.0, 3.0, 0.5, math.inf))))
    if rng.random() < 0.3:
        return net.op(kind, x, net.op(rng.choice(("Relu", "Sigmoid", "Identity")), x))
    ends = [x, _operand(net, rng, shape)]
    if rng.random() < 0.25 and kind != "PRelu":
        ends.reverse()
    return net.op(kind, *ends)


UNARY: dict[str, dict[str, Sequence]] = {
    "Relu": {}, "Sigmoid": {}, "Tanh": {}, "Neg": {}, "Abs": {}, "Identity": {}, "Exp": {},
    "Erf": {}, "Softplus": {}, "Softsign": {}, "HardSwish": {}, "Mish": {}, "Sqrt": {},
    "Reciprocal": {}, "Floor": {}, "Log": {}, "Round": {}, "Sign": {}, "Dropout": {}, "Not": {},
    "LeakyRelu": {"alpha": [0.1, 0.0, -0.5, 2.0]}, "Elu": {"alpha": [0.5, 1.0, -1.0, 0.0]},
    "Selu": {"alpha": [1.0], "gamma": [2.0, -1.0]}, "Celu": {"alpha": [0.5, 2.0]},
    "HardSigmoid": {"alpha": [0.1, -0.3], "beta": [0.0, 2.0]},
    "ThresholdedRelu": {"alpha": [0.5, -1.0]}, "Gelu": {"approximate": ["none", "tanh"]},
    "Cast": {"to": [TensorProto.FLOAT]}, "Softmax": {"axis": [1, -1, 0]},
    "LogSoftmax": {"axis": [1, -1]}, "ArgMax": {"axis": [1, -1], "keepdims": [0, 1]},
    "Flatten": {"axis": [0, 1, 2, -1]}, "Squeeze": {}, "Shape": {}, "Size": {},
    "LRN": {"size": [3]}, "InstanceNormalization": {}, "Shrink": {"bias": [0.1]},
    "DepthToSpace": {"blocksize": [2], "mode": ["DCR", "CRD"]}, "SpaceToDepth": {"blocksize": [2]},
}  # fmt: skip
NEEDED = ("to", "size", "blocksize")


def _unary(net: Net, rng: random.Random, x: str, shape: Shape) -> str:
    kind = rng.choice(list(UNARY))
    attributes = {
        k: rng.choice(v) for k, v in UNARY[kind].items() if k in NEEDED or rng.random() < 0.6
    }
    return net.op(kind, x, **attributes)


def _clip(net: Net, rng: random.Random, x: str, shape: Shape) -> str:
    ends = [net.const(v) if rng.random() < 0.7 else "" for v in (rng.choice((-1.0, 0.0)), 1.0)]
    return net.op("Clip", x, *ends)


def _reduce(net: Net, rng: random.Random, x: str, shape: Shape) -> str:
    kind = rng.choice(("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceL2"))
    axes = rng.sample(range(len(shape)), rng.randint(1, len(shape)))
    given = [net.ints(*axes)] if rng.random() < 0.9 else []
    return net.op(kind, x, *given, keepdims=rng.choice((0, 1)))


def _dense(net: Net, rng: random.Random, x: str, shape: Shape) -> str:
    inputs, outputs = shape[-1], rng.randint(1, 5)
    if rng.random() < 0.3:
        x, inputs = net.op("Flatten", x), int(np.prod(shape[1:]))
        shape = (shape[0], inputs)
    if inputs > 600:
        return x
    if rng.random() < 0.5 or len(shape) != 2:
        more = [1] * rng.choice((0, 0, 0, 1, 2))
        return net.op("MatMul", x, net.random(*more, inputs, outputs))
    turned = rng.choice((0, 1))
    weight = net.random(*((outputs, inputs) if turned else (inputs, outputs)))
    more = [net.random(*rng.choice(((outputs,), (1, outputs), (1,))))] if rng.random() < 0.7 else []
    factors = _some(rng, alpha=[0.5, 0.0, -1.0], beta=[2.0, 0.0])
    return net.op("Gemm", x, weight, *more, transB=turned, **factors)


def _repeat(net: Net, rng: random.Random, x: str, shape: Shape) -> str:
    if max(shape) > 24:
        return x
    times = [1, *(rng.choice((1, 1, 2)) for _ in shape[1:])]
    if rng.random() < 0.5:
        return net.op("Tile", x, net.ints(*times))
    wide = tuple(rng.choice((1, 3)) if n == 1 and k else n for k, n in enumerate(shape))
    return net.op("Expand", x, net.ints(*wide))


def _norm(net: Net, rng: random.Random, x: str, shape: Shape) -> str:
    if len(shape) < 2:
        return x
    return net.batch_norm(x, shape[1])


STEPS: tuple[Step, ...] = (
    _conv, _conv, _conv, _transposed, _pool, _pool, _resize, _pad, _slice, _reshape, _transpose,
    _gather, _join, _split, _binary, _binary, _unary, _unary, _clip, _reduce, _dense, _repeat,
    _norm,
)  # fmt: skip
