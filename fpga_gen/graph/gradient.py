"""Gradients of a graph's outputs with respect to every map, in numpy (reverse accumulation)."""

from __future__ import annotations

import numpy as np

from fpga_gen.graph.interpreter import sums_of
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

CHUNK = 1 << 20  # elements of a block of columns


def gradients(
    graph: Graph, values: dict[str, np.ndarray], seeds: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """tensor -> gradient (C, H, W) float32 of sum(seeds * outputs); maps without one are absent.

    values: every tensor of one frame, from `run_float`; seeds: (C, H, W) by output tensor.
    """
    found = {name: np.asarray(seed, np.float32) for name, seed in seeds.items()}
    for node in reversed(graph.nodes):
        if node.output not in found:
            continue
        grad = found[node.output]
        if isinstance(node, ACTIVATED):
            x = values.get(sums_of(node.output))
            grad = node.activation.pull_back(grad, values[node.output], x)
        for name, part in _inputs(node, grad, values):
            found[name] = found[name] + part if name in found else part
    return found


def _inputs(node: Node, grad: np.ndarray, values: dict[str, np.ndarray]):
    """(input, its gradient) of every operand; an input may come more than once."""
    match node:
        case Conv():
            for term in node.terms:
                yield term.input, _conv_input(grad, term, values[term.input].shape)
        case MaxPool():
            yield node.input, _pool_input(grad, node, values[node.input], values[node.output])
        case Resample():
            matrices = _matrix(node.y), _matrix(node.x)
            yield node.input, (matrices[0].T @ grad @ matrices[1]).astype(np.float32)
        case Add():
            for name in node.inputs:
                yield name, grad
        case Mul():
            a, b = node.inputs
            yield a, grad * values[b]
            part = grad * values[a]
            same = values[b].shape == part.shape
            yield b, part if same else part.sum((1, 2), keepdims=True)
        case Interleave():
            yield node.input, _phases(grad, node.block, values[node.input].shape)
        case Select():
            part = np.zeros_like(values[node.input])
            np.add.at(part, list(node.channels), grad)
            yield node.input, part
        case Concat():
            base = 0
            for name in node.inputs:
                depth = values[name].shape[0]
                yield name, grad[base : base + depth]
                base += depth


def _phases(grad: np.ndarray, block: tuple[int, int], shape: tuple[int, ...]) -> np.ndarray:
    """What `interleaved` put together, apart again; channels that it left out get none."""
    (rows, columns), (channels, height, width) = block, shape
    part = np.zeros((rows, columns, channels // (rows * columns), height, width), np.float32)
    pixels = grad.reshape(len(grad), height, rows, width, columns)
    part[:, :, : len(grad)] = pixels.transpose(2, 4, 0, 1, 3)
    return part.reshape(shape)


def _conv_input(grad: np.ndarray, term: ConvTerm, shape: tuple[int, ...]) -> np.ndarray:
    """Transposed convolution: every tap adds its share to the pixels it read."""
    channels, height, width = shape
    top, left, bottom, right = (max(0, pad) for pad in term.pads)
    row, column = top - term.pads[0], left - term.pads[1]  # what is cropped there
    filters, per_group, kh, kw = term.weight.shape
    out = np.zeros((channels, height + top + bottom, width + left + right), np.float32)
    oh, ow = grad.shape[1:]
    (sy, sx), (dy, dx) = term.stride, term.dilation
    step = filters // term.groups
    for g in range(term.groups):
        weight = term.weight[g * step : (g + 1) * step].reshape(step, -1).T
        target = out[g * per_group : (g + 1) * per_group]
        part = grad[g * step : (g + 1) * step]
        rows = max(1, CHUNK // (weight.shape[0] * ow))
        for y in range(0, oh, rows):
            block = part[:, y : y + rows]
            high = block.shape[1]
            columns = (weight @ block.reshape(step, -1)).reshape(per_group, kh, kw, high, ow)
            for i in range(kh):
                first = row + y * sy + i * dy
                for j in range(kw):
                    target[
                        :,
                        first : first + (high - 1) * sy + 1 : sy,
                        column + j * dx : column + j * dx + (ow - 1) * sx + 1 : sx,
                    ] += columns[:, i, j]
    return out[:, top : top + height, left : left + width]


def _pool_input(grad: np.ndarray, node: MaxPool, x: np.ndarray, result: np.ndarray) -> np.ndarray:
    """The first element of a window that equals the maximum takes the gradient."""
    top, left, bottom, right = node.pads
    padded = np.pad(x, ((0, 0), (top, bottom), (left, right)), constant_values=-np.inf)
    out = np.zeros(padded.shape, np.float32)
    (kh, kw), (sy, sx), (dy, dx) = node.kernel, node.stride, node.dilation
    height, width = result.shape[1:]
    open_ = np.ones(result.shape, bool)
    for i in range(kh):
        for j in range(kw):
            at = (
                slice(None),
                slice(i * dy, i * dy + (height - 1) * sy + 1, sy),
                slice(j * dx, j * dx + (width - 1) * sx + 1, sx),
            )
            hit = open_ & (padded[at] == result)
            out[at] += grad * hit
            open_ &= ~hit
    return out[:, top : top + x.shape[1], left : left + x.shape[2]]


def _matrix(table: AxisTable) -> np.ndarray:
    """(out, in) matrix of a table, float32."""
    matrix = np.zeros((table.out_size, table.in_size), np.float32)
    for i, (start, row) in enumerate(zip(table.start, table.weights, strict=True)):
        for k, weight in enumerate(row):
            matrix[i, start + k] += weight / table.denominator
    return matrix
