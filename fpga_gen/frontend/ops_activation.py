"""Functions of one map, element by element: LeakyRelu, Elu, Sigmoid, Gelu and their like."""

from __future__ import annotations

import math

import numpy as np

from fpga_gen.frontend.call import Call
from fpga_gen.frontend.ops_elementwise import per_channel
from fpga_gen.frontend.problems import Refused
from fpga_gen.frontend.values import Value
from fpga_gen.graph.curve import Curve, X, call, combined
from fpga_gen.graph.ir import Activation, Conv, ConvTerm

HALF_SQRT_2 = math.sqrt(0.5)
SELU_ALPHA, SELU_GAMMA = 1.67326319217681884765625, 1.05070102214813232421875
GELU_SCALE, GELU_CUBE = math.sqrt(2 / math.pi), 0.044715


def _result(op: Call, curve: Curve) -> list[Value]:
    if not all(math.isfinite(n) for n in _numbers(curve)):
        raise Refused("has an attribute that is not finite", "repair the model")
    x = op.feature()
    activation = Activation.of(curve)
    tensor = op.builder.copy(x.tensor, op.output, op.name, activation=activation)
    return op.result(tensor, x.shape)


def _numbers(curve: Curve) -> list[float]:
    return [*curve.numbers, *(n for part in curve.operands for n in _numbers(part))]


def _gate(factor: Curve) -> Curve:
    """x * factor(x)."""
    return combined("mul", (X, factor))


def _hard_sigmoid(alpha: float, beta: float) -> Curve:
    return call("clip", 0, 1).after(call("affine", alpha, beta))


def absolute(op: Call) -> list[Value]:
    return _result(op, call("abs"))


def celu(op: Call) -> list[Value]:
    alpha = op.number("alpha", 1.0)
    if alpha == 0:
        raise Refused("has alpha = 0", "repair the model")
    return _result(op, call("celu", alpha))


def elu(op: Call) -> list[Value]:
    return _result(op, call("elu", op.number("alpha", 1.0)))


def erf(op: Call) -> list[Value]:
    return _result(op, call("erf"))


def exp(op: Call) -> list[Value]:
    return _result(op, call("exp"))


def gelu(op: Call) -> list[Value]:
    match op.text("approximate", "none"):
        case "none":
            inner = call("erf").after(call("affine", HALF_SQRT_2, 0))
        case "tanh":
            cube = call("affine", GELU_CUBE, 0).after(call("power", 3))
            inner = call("affine", GELU_SCALE, 0).after(combined("add", (X, cube)))
            inner = call("tanh").after(inner)
        case other:
            raise Refused(f"has approximate = '{other}'", "export the model again")
    return _result(op, _gate(call("affine", 0.5, 0.5).after(inner)))


def hard_sigmoid(op: Call) -> list[Value]:
    return _result(op, _hard_sigmoid(op.number("alpha", 0.2), op.number("beta", 0.5)))


def hard_swish(op: Call) -> list[Value]:
    return _result(op, _gate(_hard_sigmoid(1 / 6, 0.5)))


def leaky_relu(op: Call) -> list[Value]:
    return _result(op, call("leaky", op.number("alpha", 0.01)))


def mish(op: Call) -> list[Value]:
    return _result(op, _gate(call("tanh").after(call("softplus"))))


def power(op: Call) -> list[Value]:
    if op.const(1, "exponent").size > 1:
        raise Refused("has one exponent per element", "use one exponent")
    value = op.scalar(1, "exponent")
    if not value >= 1 or value % 1:  # neither NaN nor infinity has a remainder of 0
        raise Refused(f"has the exponent {value:g}", "only 1, 2, 3 and so on are supported")
    return _result(op, call("power", value))


def p_relu(op: Call) -> list[Value]:
    """One slope is a table; slopes by channel are x + (slope - 1) * min(x, 0), a convolution."""
    x = op.feature()
    slopes = per_channel(op, x, op.weight(1, "slope"))
    if (slopes == slopes[0]).all():
        return _result(op, call("leaky", float(slopes[0])))
    below = op.builder.copy(
        x.tensor, f"{op.output}.below", op.name, activation=Activation(-math.inf, 0.0)
    )
    shape = op.builder.shape(x.tensor)
    terms = tuple(
        ConvTerm(name, weight.astype(np.float32).reshape(-1, 1, 1, 1), groups=shape[0])
        for name, weight in ((x.tensor, np.ones(shape[0])), (below, slopes - 1))
    )
    bias = np.zeros(shape[0], np.float32)
    tensor = op.builder.add(Conv, op.output, shape, op.name, terms=terms, bias=bias)
    return op.result(tensor, x.shape)


def reciprocal(op: Call) -> list[Value]:
    return _result(op, call("reciprocal"))


def root(op: Call) -> list[Value]:
    return _result(op, call("root"))


def selu(op: Call) -> list[Value]:
    alpha, gamma = op.number("alpha", SELU_ALPHA), op.number("gamma", SELU_GAMMA)
    return _result(op, call("selu", alpha, gamma))


def sigmoid(op: Call) -> list[Value]:
    return _result(op, call("sigmoid"))


def softplus(op: Call) -> list[Value]:
    return _result(op, call("softplus"))


def softsign(op: Call) -> list[Value]:
    return _result(op, call("softsign"))


def swish(op: Call) -> list[Value]:
    scaled = call("sigmoid").after(call("affine", op.number("alpha", 1.0), 0))
    return _result(op, _gate(scaled))


def tanh(op: Call) -> list[Value]:
    return _result(op, call("tanh"))


def thresholded_relu(op: Call) -> list[Value]:
    return _result(op, call("threshold", op.number("alpha", 1.0)))
