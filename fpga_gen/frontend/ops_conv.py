"""Conv, Gemm, MatMul and BatchNormalization."""

from __future__ import annotations

import numpy as np

from fpga_gen.frontend.call import FLATTENED, Call
from fpga_gen.frontend.problems import Refused
from fpga_gen.frontend.values import Feature, Value
from fpga_gen.frontend.window import add_pads, window_of
from fpga_gen.graph.ir import Conv, ConvTerm


def conv(call: Call) -> list[Value]:
    x = call.map(padded=True)
    weight = call.weight(1, "weight")
    group = call.integer("group", 1)
    if weight.ndim != 4:
        raise Refused(f"its kernel has {weight.ndim - 2} dimensions", "use 2D convolutions")
    if group < 1 or x.shape[1] % group or weight.shape[0] % group:
        raise Refused(
            f"has group = {group}, which does not divide {x.shape[1]} input channels and "
            f"{weight.shape[0]} filters",
            "export the model again",
        )
    if weight.shape[1] * group != x.shape[1]:
        each = f" in each of {group} groups" if group > 1 else ""
        raise Refused(
            f"its weight takes {weight.shape[1]} channels{each}, its input has {x.shape[1]}",
            "export the model again",
        )
    kernel = call.integers("kernel_shape") or list(weight.shape[2:])
    if tuple(kernel) != weight.shape[2:]:
        raise Refused(
            f"kernel_shape {kernel} is not that of its weight {list(weight.shape)}",
            "export the model again",
        )
    window = window_of(call, (x.shape[2], x.shape[3]), kernel, ceil=False)
    bias = call.weight(2, "bias") if call.has(2) else np.zeros(weight.shape[0], np.float32)
    if bias.shape != weight.shape[:1]:
        raise Refused(f"its bias has shape {list(bias.shape)}", "export the model again")
    term = ConvTerm(
        x.tensor, weight, window.stride, add_pads(window.pads, x.pads), window.dilation, group,
        grid=call.grid(1, weight.shape[0], 0),
    )  # fmt: skip
    shape = (weight.shape[0], *window.out)
    return call.result(
        call.builder.add(Conv, call.output, shape, call.name, terms=(term,), bias=bias)
    )


def gemm(call: Call) -> list[Value]:
    if call.integer("transA", 0):
        raise Refused("transposes its input (transA)", "export without transA")
    weight = call.weight(1, "weight")
    if weight.ndim != 2:
        raise Refused(f"its weight has {weight.ndim} dimensions", "export the model again")
    matrix = weight if call.integer("transB", 0) else weight.T
    alpha = np.float32(call.number("alpha", 1.0))
    matrix = alpha * matrix
    grid = call.grid(1, matrix.shape[0], 0 if call.integer("transB", 0) else 1)
    if grid is not None:
        grid = grid * abs(alpha) if alpha else None
    bias = np.zeros(matrix.shape[0], np.float32)
    if call.has(2):
        addend = np.float32(call.number("beta", 1.0)) * call.weight(2, "bias")
        if addend.size not in (1, bias.size) or addend.shape[-1:] not in ((1,), bias.shape, ()):
            raise Refused(f"its bias has shape {list(addend.shape)}", "export the model again")
        bias = np.broadcast_to(addend.reshape(-1), bias.shape).astype(np.float32)
    return _dense(call, matrix, bias, grid)


def matmul(call: Call) -> list[Value]:
    if isinstance(call.values[0], np.ndarray) or isinstance(call.values[1], Feature):
        raise Refused(
            "multiplies by a matrix that is no constant on the right",
            "only feature map x constant matrix is supported (no attention)",
        )
    weight = call.weight(1, "weight")
    if weight.ndim != 2:
        raise Refused(f"its weight has {weight.ndim} dimensions", "use a 2D matrix")
    filters = weight.shape[1]
    return _dense(call, weight.T, np.zeros(filters, np.float32), call.grid(1, filters, 1))


def _dense(
    call: Call, matrix: np.ndarray, bias: np.ndarray, grid: np.ndarray | None
) -> list[Value]:
    """A matrix (outputs, inputs) on a flattened map: a convolution as large as the map."""
    x = call.feature()
    channels, height, width = call.builder.shape(x.tensor)
    if len(x.shape) != 2 or x.shape[0] != 1:
        shape = "x".join(map(str, x.shape))
        raise Refused(f"reads a map of shape {shape}", FLATTENED)
    if matrix.shape[1] != x.shape[1]:
        raise Refused(
            f"its matrix takes {matrix.shape[1]} values, its input has {x.shape[1]}",
            "export the model again",
        )
    weight = np.ascontiguousarray(matrix).reshape(-1, channels, height, width)
    tensor = call.builder.add(
        Conv, call.output, (weight.shape[0], 1, 1), call.name,
        terms=(ConvTerm(x.tensor, weight, grid=grid),), bias=bias,
    )  # fmt: skip
    return call.result(tensor, (1, weight.shape[0]))


def batch_normalization(call: Call) -> list[Value]:
    if call.integer("training_mode", 0) or len([o for o in call.node.output if o]) > 1:
        raise Refused("is in training mode", "export the model in evaluation mode")
    x = call.feature()
    shape = call.builder.shape(x.tensor)
    if x.shape not in ((1, *shape), (1, shape[0])) or (len(x.shape) == 2 and shape[1:] != (1, 1)):
        raise Refused("reads a reshaped map", FLATTENED)
    gamma, beta, mean, variance = (
        call.weight(i, what).astype(np.float64)
        for i, what in enumerate(("scale", "bias", "mean", "variance"), start=1)
    )
    if {a.shape for a in (gamma, beta, mean, variance)} != {shape[:1]}:
        raise Refused(f"its parameters do not fit {shape[0]} channels", "export the model again")
    spread = variance + call.number("epsilon", 1e-5)
    if (spread <= 0).any():
        raise Refused("has a negative variance", "repair the weights")
    scale = gamma / np.sqrt(spread)
    tensor = call.builder.affine(x.tensor, call.output, scale, beta - mean * scale, call.name)
    return call.result(tensor, x.shape)
