"""Conv, Gemm, MatMul and BatchNormalization."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from fpga_gen.frontend.call import FLATTENED, Call, shown
from fpga_gen.frontend.gather import as_map, channels_of, materialised
from fpga_gen.frontend.layout import layouts
from fpga_gen.frontend.problems import Refused
from fpga_gen.frontend.values import Feature, Value, native_shape
from fpga_gen.frontend.view import View, outside, padded
from fpga_gen.frontend.window import Window, window_of
from fpga_gen.graph.ir import Conv, ConvTerm


def conv(call: Call) -> list[Value]:
    view = call.view()
    weight = call.weight(1, "weight")
    group = call.integer("group", 1)
    if weight.ndim != 4 or len(view.shape) != 4:
        raise Refused(f"its kernel has {weight.ndim - 2} dimensions", "use 1D or 2D convolutions")
    channels = view.shape[1]
    if group < 1 or channels % group or weight.shape[0] % group:
        raise Refused(
            f"has group = {group}, which does not divide {channels} input channels and "
            f"{weight.shape[0]} filters",
            "export the model again",
        )
    if weight.shape[1] * group != channels:
        each = f" in each of {group} groups" if group > 1 else ""
        raise Refused(
            f"its weight takes {weight.shape[1]} channels{each}, its input has {channels}",
            "export the model again",
        )
    kernel = call.integers("kernel_shape") or list(weight.shape[2:])
    if tuple(kernel) != weight.shape[2:]:
        raise Refused(
            f"kernel_shape {kernel} is not that of its weight {list(weight.shape)}",
            "export the model again",
        )
    window = window_of(call, (view.shape[2], view.shape[3]), kernel, ceil=False)
    bias = call.weight(2, "bias") if call.has(2) else np.zeros(weight.shape[0], np.float32)
    if bias.shape != weight.shape[:1]:
        raise Refused(f"its bias has shape {list(bias.shape)}", "export the model again")
    layer = _Layer(weight, group, window, call.grid(1, weight.shape[0], 0))
    terms = _terms(call, view, layer)
    if terms is None:
        x = call.map(padded=True)
        inner = padded(call.builder.view(Feature(x.tensor, native_shape(call.builder, x))),
                       (0, 0, *x.pads[:2]), (0, 0, *x.pads[2:]))  # fmt: skip
        terms = _terms(call, inner, layer)
        assert terms is not None, "a map and its padding are read in place"
    shape = (weight.shape[0], *window.out)
    return call.result(
        call.builder.add(Conv, call.output, shape, call.name, terms=terms, bias=bias)
    )


@dataclass(frozen=True, eq=False)
class _Layer:
    """What a Conv says of itself. grid: see `ConvTerm`."""

    weight: np.ndarray
    group: int
    window: Window
    grid: np.ndarray | None


def _terms(call: Call, view: View, layer: _Layer) -> tuple[ConvTerm, ...] | None:
    """The convolution of a view as convolutions of the maps that it shows; None if it shows them
    in no way that a convolution can read."""
    window, weight = layer.window, layer.weight
    framed = padded(view, (0, 0, *window.pads[:2]), (0, 0, *window.pads[2:]))
    found = as_map(call.builder, framed)
    if found is None:
        return None
    if layer.group > 1 and len(found.phases[0].index) < view.shape[1]:
        return None
    terms = []
    for phase in found.phases:
        read = found.window(phase, (*window.kernel, *window.dilation), window.stride, window.out)
        if read is None:
            return None
        stride, dilation, pads = read
        source = channels_of(call.builder, phase.channels, f"{call.output}.in", call.name)
        part = weight if len(phase.index) == view.shape[1] else weight[:, list(phase.index)]
        terms.append(ConvTerm(source, part, stride, pads, dilation, layer.group, layer.grid))
    return tuple(terms)


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
        columns = addend.ndim < 3 and addend.shape[-1:] in ((1,), bias.shape, ())
        if not columns or addend.shape[:-1] not in ((), (1,)):
            raise Refused(f"its bias has shape {list(addend.shape)}", "export the model again")
        bias = np.broadcast_to(addend.reshape(-1), bias.shape).astype(np.float32)
    return _dense(call, matrix, bias, grid)


def matmul(call: Call) -> list[Value]:
    maps = [isinstance(v, Feature | View) for v in call.values]
    if all(maps):
        raise Refused(
            "multiplies two feature maps",
            "the engine multiplies maps by constant matrices only (no attention)",
        )
    matrix = call.weight(int(maps[0]), "weight")
    columns = matrix.ndim - 1
    rank = len(call.view(int(maps[1])).shape)  # more axes of the matrix would be the result's
    if 2 < matrix.ndim <= rank and set(matrix.shape[:-2]) == {1}:
        matrix = matrix.reshape(matrix.shape[-2:])
    if matrix.ndim != 2:
        raise Refused(f"its weight has {matrix.ndim} dimensions", "use a 2D matrix")
    if maps[1]:
        return _dense(call, matrix, np.zeros(len(matrix), np.float32), None, index=1)
    filters = matrix.shape[1]
    return _dense(call, matrix.T, np.zeros(filters, np.float32), call.grid(1, filters, columns))


def _dense(
    call: Call, matrix: np.ndarray, bias: np.ndarray, grid: np.ndarray | None, index: int = 0
) -> list[Value]:
    """A matrix (outputs, inputs) on the last axis of a map (on the left, index 1: on the last but
    one): for one row a convolution as large as the map, for more of them a pointwise one."""
    builder, view = call.builder, call.view(index)
    axis = len(view.shape) - 1 - index
    if axis < 0 or matrix.shape[1] != view.shape[axis]:
        raise Refused(
            f"its matrix takes {matrix.shape[1]} values, its input has "
            f"{view.shape[axis] if axis >= 0 else 1}",
            "export the model again",
        )
    matrix = np.ascontiguousarray(matrix)
    if len(matrix) * len(view.axes[axis]) and math.prod(view.shape) == view.shape[axis]:
        source, weight = _as_window(call, view, matrix)
        tensor = builder.add(
            Conv, call.output, (len(matrix), 1, 1), call.name,
            terms=(ConvTerm(source, weight, grid=grid),), bias=bias,
        )  # fmt: skip
        shape = tuple(len(matrix) if k == axis else 1 for k in range(len(view.shape)))
        return call.result(tensor, shape)
    for layout in layouts(builder, view, [axis]):
        whole = layout.forward(view)
        x = materialised(builder, whole, f"{call.output}.in", call.name) if whole else None
        if x is None:
            continue
        term = ConvTerm(x.tensor, matrix[:, :, None, None], grid=grid)
        tensor = builder.add(
            Conv,
            call.output,
            (len(matrix), x.shape[2], x.shape[3]),
            call.name,
            terms=(term,),
            bias=bias,
        )
        back = layout.backward(builder.view(Feature(tensor, (1, len(matrix), *x.shape[2:]))))
        if back is not None:
            return [builder.settled(back)]
    raise Refused(f"reads a map of shape {shown(view.shape)}", FLATTENED)


def _as_window(call: Call, view: View, matrix: np.ndarray) -> tuple[str, np.ndarray]:
    """(map, weight (outputs, channels, height, width)) of a matrix on all elements of a view."""
    builder, plain = call.builder, call.builder.settled(view)
    if isinstance(plain, Feature):
        return plain.tensor, matrix.reshape(-1, *builder.shape(plain.tensor))
    address = view.addresses().reshape(-1)
    inside = np.flatnonzero(~outside(address))
    address = address[inside]
    owner = np.searchsorted(builder.bases, address, side="right") - 1
    names = [builder.order[n] for n in owner]
    sizes = {builder.shape(name)[1:] for name in set(names)}
    if len(sizes) != 1:
        raise Refused("reads maps of different sizes at once", "join them by separate layers")
    ((height, width),) = sizes
    channel, place = np.divmod(address - np.array(builder.bases)[owner], height * width)
    used = dict.fromkeys(zip(names, channel.tolist(), strict=True))
    ordered = sorted(used, key=lambda c: (builder.base(c[0]), c[1]))
    number = {c: k for k, c in enumerate(ordered)}
    index = np.array([number[c] for c in zip(names, channel.tolist(), strict=True)])
    weight = np.zeros((len(ordered) * height * width, len(matrix)), np.float32)
    np.add.at(weight, index * height * width + place, matrix.T[inside])
    source = channels_of(builder, ordered, f"{call.output}.in", call.name)
    return source, np.ascontiguousarray(weight.T).reshape(-1, len(ordered), height, width)


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
