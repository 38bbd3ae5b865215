"""Loop-by-loop reference of the integer IR in plain Python integers, for tiny networks."""

from __future__ import annotations

from itertools import product

import numpy as np

from fpga_gen.quant.ir import QAdd, QConv, QMaxPool, QMul, QNode, QResample, QuantGraph


def requantise_exact(total: int, mult: int, shift: int, zero: int, lo: int, hi: int) -> int:
    """In Python's integers: the sum made 27 bits wide, then multiplied, rounded and clipped."""
    if shift >= 27:
        total, shift = total // 64, shift - 6
    else:
        total = min(max(total, -(2**26)), 2**26 - 1)
    return min(max((total * mult + (2**shift // 2)) // 2**shift + zero, lo), hi)


def run_naive(qgraph: QuantGraph, stored: np.ndarray) -> dict[str, np.ndarray]:
    """Every stored tensor as an int64 array."""
    values = {qgraph.input: stored.astype(np.int64)}
    for node in qgraph.nodes:
        values[node.output] = naive_node(qgraph, node, values)
    return values


def naive_node(qgraph: QuantGraph, node: QNode, values: dict) -> np.ndarray:
    """The stored output of one node as an int64 array."""
    t = qgraph.tensors[node.output]
    out = np.zeros((t.channels, t.height, t.width), np.int64)
    for c, y, x in product(range(t.channels), range(t.height), range(t.width)):
        out[c, y, x] = _element(qgraph, node, values, c, y, x)
    return out


def _element(qgraph: QuantGraph, node: QNode, values: dict, c: int, y: int, x: int) -> int:
    fmt = qgraph.tensors[node.output].format
    limits = () if isinstance(node, QMaxPool) else (node.epilogue.lo, node.epilogue.hi)

    def v(name: str, at: tuple[int, int, int]) -> int:
        return int(values[name][at]) - qgraph.tensors[name].format.zero

    match node:
        case QConv():
            total = int(node.bias[c]) + sum(_term(qgraph, node, t, values, c, y, x)
                                            for t in node.terms)  # fmt: skip
            return requantise_exact(total, int(node.mult[c]), int(node.shift[c]), fmt.zero, *limits)
        case QMaxPool():
            best = []
            _, height, width = values[node.input].shape
            for ky, kx in product(range(node.kernel[0]), range(node.kernel[1])):
                iy = y * node.stride[0] - node.pads[0] + ky * node.dilation[0]
                ix = x * node.stride[1] - node.pads[1] + kx * node.dilation[1]
                if 0 <= iy < height and 0 <= ix < width:
                    best.append(int(values[node.input][c, iy, ix]))
            return max(best)
        case QResample():
            total = 0
            for i, wy in enumerate(node.y.weights[y]):
                for j, wx in enumerate(node.x.weights[x]):
                    total += wy * wx * v(node.input, (c, node.y.start[y] + i, node.x.start[x] + j))
        case QAdd():
            total = sum(f * v(i, (c, y, x)) for f, i in zip(node.factors, node.inputs, strict=True))
        case QMul():
            total = v(node.inputs[0], (c, y, x)) * v(node.inputs[1], (c, y, x))
    return requantise_exact(total, node.mult, node.shift, fmt.zero, *limits)


def _term(qgraph, node, term, values, c: int, y: int, x: int) -> int:
    total, base = 0, 0
    _, _, kh, kw = term.weight.shape
    for name in term.inputs:
        tensor = qgraph.tensors[name]
        factor = 256 if node.wide and not term.low and tensor.format.bits == 8 else 1
        for k, ky, kx in product(range(tensor.channels), range(kh), range(kw)):
            iy = y * term.stride[0] - term.pads[0] + ky * term.dilation[0]
            ix = x * term.stride[1] - term.pads[1] + kx * term.dilation[1]
            if 0 <= iy < tensor.height and 0 <= ix < tensor.width:
                value = int(values[name][k, iy, ix]) - tensor.format.zero
                total += int(term.weight[c, base + k, ky, kx]) * value * factor
        base += tensor.channels
    return total
