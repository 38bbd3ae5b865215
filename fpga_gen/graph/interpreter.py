"""Float reference of the graph IR in numpy: every tensor of one frame, and the host's part."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from fpga_gen_host.host_ops import HostOp
from fpga_gen_host.model_input import HostInput
from fpga_gen_host.resample import exact_scale, resize_rows
from numpy.lib.stride_tricks import sliding_window_view

from fpga_gen.errors import FpgaGenError
from fpga_gen.graph.ir import (
    Add,
    AxisTable,
    Concat,
    Conv,
    ConvTerm,
    Graph,
    MaxPool,
    Mul,
    Node,
    Resample,
)

COLUMN_BUDGET = 8 << 20  # elements of one im2col block, bounds the memory of large maps


def prepare_input(host_input: HostInput, image: np.ndarray) -> np.ndarray:
    """Engine input of a model input: (C, H, W) -> (b*b*C, H'/b, W'/b), see `HostInput`."""
    if image.shape != host_input.model_shape:
        raise FpgaGenError(
            f"image has shape {tuple(image.shape)}, the model takes {host_input.model_shape}"
        )
    top, left, bottom, right = host_input.pads
    if any(host_input.pads):
        image = np.pad(image, ((0, 0), (top, bottom), (left, right)))
    if host_input.gain:
        gain, offset = (np.array(v, image.dtype) for v in (host_input.gain, host_input.offset))
        image = image * gain[:, None, None] + offset[:, None, None]
    b = host_input.space_to_depth
    if b == 1:
        return image
    c, h, w = image.shape
    blocks = image.reshape(c, h // b, b, w // b, b).transpose(2, 4, 0, 1, 3)
    return np.ascontiguousarray(blocks).reshape(b * b * c, h // b, w // b)


def run_float(graph: Graph, image: np.ndarray) -> dict[str, np.ndarray]:
    """All tensors (C, H, W) float32 of one frame; image is the model's input (C, H, W)."""
    values = {graph.input: prepare_input(graph.host_input, np.asarray(image, np.float32))}
    for node in graph.nodes:
        values[node.output] = run_node(node, values)
    return values


def run_node(node: Node, values: dict[str, np.ndarray]) -> np.ndarray:
    """Output (C, H, W) float32 of one node."""
    if isinstance(node, Conv):
        y = _conv_term(values[node.terms[0].input], node.terms[0])
        for term in node.terms[1:]:
            y += _conv_term(values[term.input], term)
        y += node.bias[:, None, None]
        return node.activation.apply(y)
    if isinstance(node, MaxPool):
        return _max_pool(values[node.input], node)
    if isinstance(node, Resample):
        x = resample_axis(values[node.input], node.y, 1)
        return node.activation.apply(resample_axis(x, node.x, 2))
    if isinstance(node, Add):
        y = values[node.inputs[0]].copy()
        for name in node.inputs[1:]:
            y += values[name]
        return node.activation.apply(y)
    if isinstance(node, Mul):
        return node.activation.apply(values[node.inputs[0]] * values[node.inputs[1]])
    assert isinstance(node, Concat)
    return np.concatenate([values[name] for name in node.inputs])


def _depthwise(x: np.ndarray, term: ConvTerm) -> np.ndarray:
    """A convolution of one input channel per filter on a padded map, tap by tap."""
    out, _, kh, kw = term.weight.shape
    (sy, sx), (dy, dx) = term.stride, term.dilation
    height = (x.shape[1] - (kh - 1) * dy - 1) // sy + 1
    width = (x.shape[2] - (kw - 1) * dx - 1) // sx + 1
    x = np.repeat(x, out // x.shape[0], axis=0)
    y = np.zeros((out, height, width), np.float32)
    for ky in range(kh):
        rows = slice(ky * dy, ky * dy + (height - 1) * sy + 1, sy)
        for kx in range(kw):
            columns = slice(kx * dx, kx * dx + (width - 1) * sx + 1, sx)
            y += x[:, rows, columns] * term.weight[:, :, ky, kx, None]
    return y


def _conv_term(x: np.ndarray, term: ConvTerm) -> np.ndarray:
    """One convolution without bias, (O, OH, OW)."""
    top, left, bottom, right = term.pads
    if any(term.pads):
        x = np.pad(x, ((0, 0), (top, bottom), (left, right)))
    out, per_group, kh, kw = term.weight.shape
    (sy, sx), (dy, dx) = term.stride, term.dilation
    if per_group == 1 and term.groups > 1:
        return _depthwise(x, term)
    if term.groups > 1:
        step = out // term.groups
        parts = [
            _conv_term(
                x[g * per_group : (g + 1) * per_group],
                ConvTerm("", term.weight[g * step : (g + 1) * step], term.stride,
                         dilation=term.dilation),
            )
            for g in range(term.groups)
        ]  # fmt: skip
        return np.concatenate(parts)
    windows = sliding_window_view(x, (1, (kh - 1) * dy + 1, (kw - 1) * dx + 1))
    windows = windows[:, ::sy, ::sx, 0, ::dy, ::dx].transpose(0, 3, 4, 1, 2)
    height, width = windows.shape[3:]
    matrix = term.weight.reshape(out, -1)
    y = np.empty((out, height, width), np.float32)
    rows = max(1, COLUMN_BUDGET // (matrix.shape[1] * width))
    for at in range(0, height, rows):
        block = windows[:, :, :, at : at + rows].reshape(matrix.shape[1], -1)
        y[:, at : at + rows] = (matrix @ block).reshape(out, -1, width)
    return y


def _max_pool(x: np.ndarray, node: MaxPool) -> np.ndarray:
    top, left, bottom, right = node.pads
    x = np.pad(x, ((0, 0), (top, bottom), (left, right)), constant_values=-np.inf)
    (kh, kw), (sy, sx), (dy, dx) = node.kernel, node.stride, node.dilation
    height = (x.shape[1] - (kh - 1) * dy - 1) // sy + 1
    width = (x.shape[2] - (kw - 1) * dx - 1) // sx + 1
    y = np.full((x.shape[0], height, width), -np.inf, np.float32)
    for i in range(kh):
        for j in range(kw):
            tap = x[:, i * dy :: sy, j * dx :: sx][:, :height, :width]
            np.maximum(y, tap, out=y)
    return y


def resample_axis(x: np.ndarray, table: AxisTable, axis: int) -> np.ndarray:
    """Apply one table along an axis of a float map."""
    start = np.array(table.start)
    weights = np.array(table.weights, np.float32) / np.float32(table.denominator)
    shape = [1] * x.ndim
    shape[axis] = -1
    y = np.take(x, start, axis) * weights[:, 0].reshape(shape)
    for k in range(1, table.taps):
        y += np.take(x, start + k, axis) * weights[:, k].reshape(shape)
    return y


class Tail(Protocol):
    """The end of a network: its output tensors, their names in the model, operators on them."""

    @property
    def outputs(self) -> tuple[str, ...]: ...

    @property
    def output_names(self) -> tuple[str, ...]: ...

    @property
    def host_ops(self) -> tuple[HostOp, ...]: ...


def run_host_ops(tail: Tail, outputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Model outputs by name, in their ONNX shapes, from the engine's output maps.

    outputs: at least every tensor of `tail.outputs`, (C, H, W) float.
    """
    result = {}
    for tensor, name in zip(tail.outputs, tail.output_names, strict=True):
        value = np.asarray(outputs[tensor], np.float32)[None]
        for op in tail.host_ops:
            if op.target == tensor:
                value = run_host_op(op, value)
        result[name] = value
    return result


def run_host_op(op: HostOp, x: np.ndarray) -> np.ndarray:
    """One host operator on an array that carries the batch axis (first input: (1, C, H, W)).

    Attributes: reshape {shape}; clip {lo, hi; None is open}; softmax {axis}; argmax {axis,
    keepdims}; resize {size (H, W), scales (y, x), mode, coordinate_transformation_mode,
    nearest_mode}; sigmoid none. Axes count the batch axis.
    """
    a = op.attributes
    if op.kind == "reshape":
        return x.reshape(a["shape"])
    if op.kind == "clip":
        lo = -np.inf if a["lo"] is None else a["lo"]
        return np.clip(x, lo, np.inf if a["hi"] is None else a["hi"]).astype(np.float32)
    if op.kind == "sigmoid":
        return (0.5 * (1 + np.tanh(0.5 * x))).astype(np.float32)  # no overflow for any x
    if op.kind == "softmax":
        e = np.exp(x - x.max(a["axis"], keepdims=True))
        return e / e.sum(a["axis"], keepdims=True)
    if op.kind == "argmax":
        index = np.asarray(np.argmax(x, a["axis"]))
        return np.expand_dims(index, a["axis"]) if a["keepdims"] else index
    assert op.kind == "resize"
    for axis, out_size, scale in zip((2, 3), a["size"], a["scales"], strict=True):
        rows = resize_rows(
            x.shape[axis], out_size, exact_scale(scale, x.shape[axis], out_size), a["mode"],
            a["coordinate_transformation_mode"], a["nearest_mode"],
        )  # fmt: skip
        matrix = np.zeros((x.shape[axis], out_size), np.float32)
        for i, row in enumerate(rows.rows):
            for index, weight in row.items():
                matrix[index, i] = weight / rows.denominator
        x = np.moveaxis(np.moveaxis(x, axis, -1) @ matrix, -1, axis)
    return x
