"""Add, Sub, Mul, Div, Sum, Neg, Relu, Clip, Min and Max."""

from __future__ import annotations

import math
from functools import reduce

import numpy as np

from fpga_gen.frontend.call import Call
from fpga_gen.frontend.problems import Refused
from fpga_gen.frontend.values import Feature, Value, native_shape
from fpga_gen.graph.curve import call as curve
from fpga_gen.graph.ir import Activation, Add, Mul

PER_CHANNEL = "only constants per channel (or scalars) can be folded"


def add(call: Call) -> list[Value]:
    return [_sum(call, [call.values[0], call.values[1]])]


def sum_n(call: Call) -> list[Value]:
    return [_sum(call, list(call.values))]


def sub(call: Call) -> list[Value]:
    a, b = call.values[0], call.values[1]
    if isinstance(b, np.ndarray):
        return [_affine(call, call.feature(0), np.ones(1), -call.weight(1, "constant"))]
    b = _affine(call, call.feature(1), -np.ones(1), np.zeros(1), suffix=".negated")
    return [_sum(call, [a, b])]


def neg(call: Call) -> list[Value]:
    return [_affine(call, call.feature(), -np.ones(1), np.zeros(1))]


def mul(call: Call) -> list[Value]:
    for i in (0, 1):
        if isinstance(call.values[i], np.ndarray):
            factor = call.weight(i, "constant")
            return [_affine(call, call.feature(1 - i), factor, np.zeros(1))]
    return _product(call, call.feature(0), call.feature(1))


def _product(call: Call, a: Feature, b: Feature) -> list[Value]:
    """Of two maps, one of which may have one value for each channel or each pixel."""
    a, b = _gate(call, a, b) or _gate(call, b, a) or _same_shape(call, [a, b])
    tensor = call.builder.add(
        Mul, call.output, call.builder.shape(a.tensor), call.name, inputs=(a.tensor, b.tensor)
    )
    return call.result(tensor, a.shape)


def _gate(call: Call, x: Feature, gate: Feature) -> tuple[Feature, Feature] | None:
    """A map and its factors, if there is one for each channel."""
    shapes = [native_shape(call.builder, v) for v in (x, gate)]
    native = shapes == [x.shape, gate.shape]
    return (x, gate) if native and gate.shape == (*x.shape[:2], 1, 1) else None


def div(call: Call) -> list[Value]:
    """By a map: times its reciprocal, a table."""
    if not isinstance(call.values[1], np.ndarray):
        x = call.feature(1)
        inverse = Activation.of(curve("reciprocal"))
        name = f"{call.output}.inverse"
        tensor = call.builder.copy(x.tensor, name, call.name, activation=inverse)
        if isinstance(call.values[0], np.ndarray):
            factor = call.weight(0, "constant")
            return [_affine(call, Feature(tensor, x.shape), factor, np.zeros(1))]
        return _product(call, call.feature(0), Feature(tensor, x.shape))
    divisor = call.weight(1, "constant")
    if (divisor == 0).any():
        raise Refused("divides by zero", "repair the weights")
    return [_affine(call, call.feature(), 1.0 / divisor.astype(np.float64), np.zeros(1))]


def relu(call: Call) -> list[Value]:
    return _clip(call, 0.0, math.inf)


def clip(call: Call) -> list[Value]:
    if call.opset < 11:
        return _clip(call, call.number("min", -math.inf), call.number("max", math.inf))
    lo = _scalar(call, 1) if call.has(1) else -math.inf
    hi = _scalar(call, 2) if call.has(2) else math.inf
    return _clip(call, lo, hi)


def minimum(call: Call) -> list[Value]:
    return _bound(call, lambda c: Activation(-math.inf, c))


def maximum(call: Call) -> list[Value]:
    return _bound(call, lambda c: Activation(c, math.inf))


def _bound(call: Call, of) -> list[Value]:
    constants = [i for i, v in enumerate(call.values) if isinstance(v, np.ndarray)]
    if len(call.values) != 2 or len(constants) != 1 or call.const(constants[0], "").size != 1:
        raise Refused("compares feature maps", "only a bound by one scalar constant is supported")
    bound = of(_scalar(call, constants[0]))
    return _clip(call, bound.lo, bound.hi, index=1 - constants[0])


def _scalar(call: Call, index: int) -> float:
    array = call.const(index, "bound")
    if array.size != 1:
        raise Refused("has one bound per element", "use a scalar bound")
    return call.scalar(index, "bound")


def _clip(call: Call, lo: float, hi: float, index: int = 0) -> list[Value]:
    if math.isnan(lo) or math.isnan(hi) or lo > hi or lo == math.inf or hi == -math.inf:
        raise Refused(f"has the bounds {lo}, {hi}", "repair the model")
    x = call.feature(index)
    tensor = call.builder.copy(x.tensor, call.output, call.name, activation=Activation(lo, hi))
    return call.result(tensor, x.shape)


def _sum(call: Call, values: list[Value | None]) -> Feature:
    """Sum of feature maps and constants of one node."""
    offsets = [call.weight(i, "constant") for i, v in enumerate(values) if _is_const(v)]
    maps = []
    for i, value in enumerate(values):
        if not _is_const(value):
            maps.append(value if value is not call.values[i] else call.feature(i))
    parts = []
    for x in dict.fromkeys(maps):
        times = maps.count(x)
        if times > 1:  # x + x is 2 * x
            x = _affine(call, x, np.full(1, float(times)), np.zeros(1), suffix=".times")
        parts.append(x)
    parts = _same_shape(call, parts)
    result = parts[0]
    if len(parts) > 1:
        tensor = call.builder.add(
            Add, call.output, call.builder.shape(result.tensor), call.name,
            inputs=tuple(p.tensor for p in parts),
        )  # fmt: skip
        result = Feature(tensor, result.shape)
    for offset in offsets:
        result = _affine(call, result, np.ones(1), offset, suffix="")
    return result


def _is_const(value: Value | None) -> bool:
    return isinstance(value, np.ndarray)


def _affine(
    call: Call, x: Feature, scale: np.ndarray, offset: np.ndarray, suffix: str = ""
) -> Feature:
    """scale * x + offset with constants in ONNX broadcast shapes."""
    scale, offset = (per_channel(call, x, c) for c in (scale, offset))
    tensor = call.builder.affine(x.tensor, call.output + suffix, scale, offset, call.name)
    return Feature(tensor, x.shape)


def per_channel(call: Call, x: Feature, constant: np.ndarray) -> np.ndarray:
    """A constant as one value per channel of the map; Refused if it varies over space."""
    try:
        full = np.broadcast_to(constant, x.shape)
    except ValueError:
        raise Refused(
            f"its constant of shape {list(constant.shape)} does not fit a "
            f"{'x'.join(map(str, x.shape))} map",
            PER_CHANNEL,
        ) from None
    channels = full.reshape(call.builder.shape(x.tensor)[0], -1)
    if (channels != channels[:, :1]).any():
        raise Refused("its constant varies over height or width", PER_CHANNEL)
    return channels[:, 0]


def _same_shape(call: Call, maps: list[Feature]) -> list[Feature]:
    """The maps, broadcast to their common ONNX shape."""
    if len({m.shape for m in maps}) == 1:
        if len({call.builder.shape(m.tensor) for m in maps}) == 1:
            return maps
        raise Refused("combines maps that were reshaped differently", "avoid the reshapes")
    if any(m.shape != native_shape(call.builder, m) for m in maps):
        raise Refused("broadcasts reshaped maps", "keep maps as (1, channels, height, width)")
    try:
        shape = reduce(np.broadcast_shapes, (m.shape for m in maps))
    except ValueError:
        shapes = ", ".join("x".join(map(str, m.shape)) for m in maps)
        raise Refused(f"combines maps of shapes {shapes}", "export the model again") from None
    chw = (shape[1], shape[2], shape[3])
    return [
        Feature(call.builder.expand(m.tensor, chw, f"{call.output}.{i}", call.name), shape)
        for i, m in enumerate(maps)
    ]
