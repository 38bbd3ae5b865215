"""Float reference of the graph IR in numpy: every tensor of one frame."""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from fpga_gen.graph.ir import (
    ACTIVATED,
    Add,
    AxisTable,
    Concat,
    Conv,
    ConvTerm,
    Graph,
    Interleave,
    MaxPool,
    Mul,
    Node,
    Resample,
    Select,
)
from fpga_gen_host.model_input import prepare_input

COLUMN_BUDGET = 8 << 20  # elements of one im2col block, bounds the memory of large maps


def sums_of(output: str) -> str:
    """Name of what a node's activation gets, beside the name of the node's output."""
    return f"{output} before its activation"


def run_float(graph: Graph, image: np.ndarray) -> dict[str, np.ndarray]:
    """All tensors (C, H, W) float32 of one frame; image is the model's input (C, H, W). Where an
    activation is no clip, what it gets is there as well, see `sums_of`."""
    values = {graph.input: prepare_input(graph.host_input, np.asarray(image, np.float32))}
    for node in graph.nodes:
        sums = _sums(node, values)
        if not isinstance(node, ACTIVATED):
            values[node.output] = sums
            continue
        if not node.activation.is_clip:
            values[sums_of(node.output)] = sums
        values[node.output] = node.activation.apply(sums)
    return values


def run_node(node: Node, values: dict[str, np.ndarray]) -> np.ndarray:
    """Output (C, H, W) float32 of one node."""
    sums = _sums(node, values)
    return node.activation.apply(sums) if isinstance(node, ACTIVATED) else sums


def _sums(node: Node, values: dict[str, np.ndarray]) -> np.ndarray:
    """What the activation of a node gets, if it has one."""
    if isinstance(node, Conv):
        y = _conv_term(values[node.terms[0].input], node.terms[0])
        for term in node.terms[1:]:
            y += _conv_term(values[term.input], term)
        y += node.bias[:, None, None]
        return y
    if isinstance(node, MaxPool):
        return _max_pool(values[node.input], node)
    if isinstance(node, Resample):
        x = resample_axis(values[node.input], node.y, 1)
        return resample_axis(x, node.x, 2)
    if isinstance(node, Add):
        y = values[node.inputs[0]].copy()
        for name in node.inputs[1:]:
            y += values[name]
        return y
    if isinstance(node, Mul):
        return values[node.inputs[0]] * values[node.inputs[1]]
    if isinstance(node, Interleave):
        return interleaved(values[node.input], node.block)[: node.channels]
    if isinstance(node, Select):
        return values[node.input][list(node.channels)]
    assert isinstance(node, Concat)
    return np.concatenate([values[name] for name in node.inputs])


def interleaved(x: np.ndarray, block: tuple[int, int]) -> np.ndarray:
    """(bh * bw * D, H, W) -> (D, bh * H, bw * W), see `graph.ir.Interleave`."""
    channels, height, width = x.shape
    rows, columns = block
    parts = x.reshape(rows, columns, channels // (rows * columns), height, width)
    return parts.transpose(2, 3, 0, 4, 1).reshape(-1, rows * height, columns * width)


def padded(x: np.ndarray, pads: tuple[int, int, int, int]) -> np.ndarray:
    """(C, H, W) with zeros around it; a side with negative padding is cropped."""
    if min(pads) < 0:
        top, left, bottom, right = (max(0, -p) for p in pads)
        x = x[:, top : x.shape[1] - bottom, left : x.shape[2] - right]
    top, left, bottom, right = (max(0, p) for p in pads)
    if not any((top, left, bottom, right)):
        return x
    return np.pad(x, ((0, 0), (top, bottom), (left, right)))


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
    x = padded(x, term.pads)
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
