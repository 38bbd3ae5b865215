"""LRN: every value by a power of what its neighbours in the channels sum up to."""

from __future__ import annotations

import math

import numpy as np

from fpga_gen.frontend.call import Call
from fpga_gen.frontend.problems import Refused
from fpga_gen.frontend.values import Value
from fpga_gen.graph.curve import call as curve
from fpga_gen.graph.ir import Activation, Conv, ConvTerm, Mul

LARGEST = 1e30  # of a sum of squares; only its least value matters


def lrn(call: Call) -> list[Value]:
    """x * (bias + alpha / size * sum of squares)^-beta: a table of squares, a convolution over the
    channels, a table of the power, a product. Source: ONNX LRN-13."""
    x = call.map()
    builder, output, name = call.builder, call.output, call.name
    size = call.integer("size", 0)
    alpha, beta = call.number("alpha", 1e-4), call.number("beta", 0.75)
    bias = call.number("bias", 1.0)
    numbers = (alpha, beta, bias)
    if size < 1 or not all(map(math.isfinite, numbers)) or bias <= 0 or alpha < 0:
        raise Refused(f"has size {size}, alpha, beta, bias {numbers}", "repair the model")
    square = builder.copy(
        x.tensor, f"{output}.square", name, activation=Activation.of(curve("power", 2))
    )
    channels, *_ = shape = builder.shape(x.tensor)
    number = np.arange(channels)
    away = number[None, :] - number[:, None]  # of an input channel from the result's
    near = (away >= -((size - 1) // 2)) & (away <= size // 2)
    weight = np.where(near, alpha / size, 0).astype(np.float32).reshape(channels, channels, 1, 1)
    total = builder.add(
        Conv, f"{output}.total", shape, name, terms=(ConvTerm(square, weight, sparse=True),),
        bias=np.full(channels, bias, np.float32),
    )  # fmt: skip
    power = curve("power", -beta).after(curve("clip", bias, LARGEST))
    factor = builder.copy(total, f"{output}.factor", name, activation=Activation.of(power))
    return call.result(builder.add(Mul, output, shape, name, inputs=(x.tensor, factor)), x.shape)
