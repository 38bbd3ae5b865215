"""Activations as ONNX writes them: operators, and what exporters make of them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tests.frontend.onnx_models import Net

OPSET = 20  # the first with Gelu
CHANNELS = 6


def _op(kind: str, **attributes) -> Callable[[Net, str], str]:
    return lambda net, x: net.op(kind, x, **attributes)


def _p_relu(*slopes: float) -> Callable[[Net, str], str]:
    return lambda net, x: net.op("PRelu", x, net.const(np.reshape(slopes, (-1, 1, 1))))


def silu(net: Net, x: str) -> str:
    return net.op("Mul", x, net.op("Sigmoid", x))


def silu_reversed(net: Net, x: str) -> str:
    return net.op("Mul", net.op("Sigmoid", x), x)


def hard_swish_of_clip(net: Net, x: str) -> str:
    """As opset 13 and older have it."""
    y = net.op("Clip", net.op("Add", x, net.const(3.0)), net.const(0.0), net.const(6.0))
    return net.op("Div", net.op("Mul", x, y), net.const(6.0))


def hard_swish_of_hard_sigmoid(net: Net, x: str) -> str:
    return net.op("Mul", x, net.op("HardSigmoid", x, alpha=1 / 6))


def hard_sigmoid_of_relu6(net: Net, x: str) -> str:
    y = net.op("Clip", net.op("Add", x, net.const(3.0)), net.const(0.0), net.const(6.0))
    return net.op("Div", y, net.const(6.0))


def mish(net: Net, x: str) -> str:
    return net.op("Mul", x, net.op("Tanh", net.op("Softplus", x)))


def gelu_of_erf(net: Net, x: str) -> str:
    y = net.op("Erf", net.op("Div", x, net.const(np.sqrt(2))))
    y = net.op("Mul", x, net.op("Add", y, net.const(1.0)))
    return net.op("Mul", y, net.const(0.5))


def gelu_of_tanh(net: Net, x: str) -> str:
    y = net.op("Mul", net.op("Pow", x, net.const(3.0)), net.const(0.044715))
    y = net.op("Mul", net.op("Add", x, y), net.const(np.sqrt(2 / np.pi)))
    y = net.op("Add", net.op("Tanh", y), net.const(1.0))
    return net.op("Mul", net.op("Mul", x, y), net.const(0.5))


def gelu_of_products(net: Net, x: str) -> str:
    """The cube as x * x * x."""
    cube = net.op("Mul", net.op("Mul", x, x), x)
    y = net.op("Add", x, net.op("Mul", cube, net.const(0.044715)))
    y = net.op("Tanh", net.op("Mul", y, net.const(np.sqrt(2 / np.pi))))
    return net.op("Mul", net.op("Mul", net.const(0.5), x), net.op("Add", y, net.const(1.0)))


def leaky_of_max(net: Net, x: str) -> str:
    """a * x + (1 - a) * relu(x)."""
    y = net.op("Mul", net.op("Relu", x), net.const(0.9))
    return net.op("Add", y, net.op("Mul", x, net.const(0.1)))


# One table each.
CURVES: dict[str, Callable[[Net, str], str]] = {
    "Abs": _op("Abs"),
    "Celu": _op("Celu", alpha=0.7),
    "Elu": _op("Elu", alpha=1.3),
    "Erf": _op("Erf"),
    "Exp": _op("Exp"),
    "Gelu": _op("Gelu"),
    "Gelu tanh": _op("Gelu", approximate="tanh"),
    "HardSigmoid": _op("HardSigmoid", alpha=0.3),
    "HardSwish": _op("HardSwish"),
    "LeakyRelu": _op("LeakyRelu", alpha=0.1),
    "Mish": _op("Mish"),
    "Pow": lambda net, x: net.op("Pow", x, net.const(2.0)),
    "PRelu, one slope": _p_relu(*[0.2] * CHANNELS),
    "Selu": _op("Selu"),
    "Sigmoid": _op("Sigmoid"),
    "Softplus": _op("Softplus"),
    "Softsign": _op("Softsign"),
    "Tanh": _op("Tanh"),
    "ThresholdedRelu": _op("ThresholdedRelu", alpha=0.5),
    "silu": silu,
    "silu reversed": silu_reversed,
    "hard swish of Clip": hard_swish_of_clip,
    "hard swish of HardSigmoid": hard_swish_of_hard_sigmoid,
    "mish": mish,
    "gelu of Erf": gelu_of_erf,
    "gelu of Tanh": gelu_of_tanh,
    "gelu of products": gelu_of_products,
    "leaky of Relu": leaky_of_max,
}
# Clips and convolutions.
PLAIN: dict[str, Callable[[Net, str], str]] = {
    "PRelu by channel": _p_relu(*np.linspace(-0.5, 1.5, CHANNELS)),
    "hard sigmoid of Clip": hard_sigmoid_of_relu6,
}
ACTIVATIONS = {**CURVES, **PLAIN}


def network(name: str, size: tuple[int, int] = (9, 11)) -> Net:
    """The activation between two convolutions."""
    net = Net(shape=(1, 3, *size), opset=OPSET)
    net.conv(ACTIVATIONS[name](net, net.conv("x", 3, CHANNELS)), CHANNELS, 5, 1)
    return net


def squeeze_and_excite(
    name: str = "HardSigmoid", *, linear: bool = False, size: tuple[int, int] = (9, 11)
) -> Net:
    """Map * gate(1x1(relu(1x1(mean of the map)))); linear: Gemm on a flattened map."""
    net, squeezed = Net(shape=(1, 3, *size), opset=OPSET), 4
    x = net.op("Relu", net.conv("x", 3, CHANNELS))
    y = net.op("GlobalAveragePool", x)
    if linear:
        y = net.op("Flatten", y)
        y = net.op("Relu", net.op("Gemm", y, net.random(CHANNELS, squeezed)))
        y = net.op(name, net.op("Gemm", y, net.random(squeezed, CHANNELS)))
        y = net.op("Unsqueeze", y, net.ints(2, 3))
    else:
        y = net.op("Relu", net.conv(y, CHANNELS, squeezed, 1))
        y = net.op(name, net.conv(y, squeezed, CHANNELS, 1))
    net.conv(net.op("Mul", x, y), CHANNELS, 5, 1)
    return net


def spatial_gate(size: tuple[int, int] = (9, 11)) -> Net:
    """Map * sigmoid(one channel)."""
    net = Net(shape=(1, 3, *size), opset=OPSET)
    x = net.op("Relu", net.conv("x", 3, CHANNELS))
    net.conv(net.op("Mul", x, net.op("Sigmoid", net.conv(x, CHANNELS, 1))), CHANNELS, 5, 1)
    return net


GATES = {
    "HardSigmoid": lambda **kw: squeeze_and_excite("HardSigmoid", **kw),
    "Sigmoid": lambda **kw: squeeze_and_excite("Sigmoid", **kw),
    "Gemm": lambda **kw: squeeze_and_excite("Sigmoid", linear=True, **kw),
    "spatial": spatial_gate,
}
