"""Integer interpreter of the quantised IR: the reference that every later level equals.

Nothing here rounds except `requantise`; accumulators are checked against 32 bits as they occur.
"""

from __future__ import annotations

import numpy as np

from fpga_gen.contract.epilogue import finish
from fpga_gen.contract.numerics import ACC_BITS
from fpga_gen.errors import QuantError
from fpga_gen.graph.interpreter import interleaved
from fpga_gen.graph.ir import AxisTable
from fpga_gen.quant.convolve import convolve, exact_dtype, out_size, pad_map
from fpga_gen.quant.ir import (
    QAdd,
    QConv,
    QInterleave,
    QMaxPool,
    QMul,
    QNode,
    QResample,
    QTensor,
    QuantGraph,
)
from fpga_gen_host import model_input

ACC_LIMIT = 2 ** (ACC_BITS - 1)
Computed = QConv | QResample | QAdd | QMul | QInterleave  # nodes that requantise
REQUANTISE_CHUNK = 1 << 18  # elements: keep the 64-bit temporaries in cache


def stored_dtype(tensor: QTensor) -> np.dtype:
    """numpy type of the stored integers of a tensor."""
    return np.dtype(np.int16 if tensor.format.bits == 16 else np.int8)


def quantise_input(qgraph: QuantGraph, image: np.ndarray) -> np.ndarray:
    """Stored input tensor of a float image (C, H, W) in the model's layout and normalisation."""
    tensor = qgraph.tensors[qgraph.input]
    fmt = tensor.format
    engine = model_input.prepare_input(qgraph.host_input, np.asarray(image, np.float64))
    stored = model_input.quantise(engine, tensor.scale, fmt.zero, fmt.lo, fmt.hi)
    return stored.astype(stored_dtype(tensor))


def dequantise(qgraph: QuantGraph, name: str, stored: np.ndarray) -> np.ndarray:
    """Real values (C, H, W), float64, of a stored tensor."""
    tensor = qgraph.tensors[name]
    return model_input.dequantise(stored, tensor.scale, tensor.format.zero)


def sqnr_db(reference: np.ndarray, value: np.ndarray) -> float:
    """Signal to quantisation noise ratio 10 log10(sum ref^2 / sum (ref - value)^2) in dB."""
    reference = np.asarray(reference, np.float64)
    noise = float(np.square(reference - value).sum())
    signal = float(np.square(reference).sum())
    if noise == 0.0:
        return float("inf")
    return 10 * float(np.log10(signal / noise)) if signal > 0 else float("-inf")


def compare(
    qgraph: QuantGraph, reference: dict[str, np.ndarray], stored: dict[str, np.ndarray]
) -> dict[str, float]:
    """SQNR in dB of every tensor that both a float run and an integer run of one image hold."""
    names = [n for n in qgraph.tensors if n in reference and n in stored]
    return {n: sqnr_db(reference[n], dequantise(qgraph, n, stored[n])) for n in names}


def conv_accumulators(qgraph: QuantGraph, node: QConv, values: dict[str, np.ndarray]) -> np.ndarray:
    """Exact sum of all terms without bias, float64 or float32 holding integers, (F, OH, OW)."""
    total = None
    for term in node.terms:
        tensors = [qgraph.tensors[i] for i in term.inputs]
        high = node.wide and not term.low
        factors = [256 if high and t.format.bits == 8 else 1 for t in tensors]
        bound = max(t.format.reach * f for t, f in zip(tensors, factors, strict=True))
        dtype = exact_dtype(term.weight, bound)
        segments = [
            (values[t.name].astype(dtype) - t.format.zero) * f
            if f != 1 or t.format.zero
            else values[t.name]
            for t, f in zip(tensors, factors, strict=True)
        ]
        part = convolve(
            pad_map(segments, term.pads, dtype), term.weight, term.stride, term.dilation
        )
        total = part if total is None else total.astype(np.float64) + part
    assert total is not None
    return total


def _finished(acc: np.ndarray, node: Computed, out: QTensor) -> np.ndarray:
    """Requantise (C, H, W) accumulators by channel blocks; checks the 32-bit bound."""
    per_channel = isinstance(node, QConv)
    bias = node.bias if isinstance(node, QConv) else np.zeros(acc.shape[0], np.int64)
    step = max(1, REQUANTISE_CHUNK // max(1, acc.shape[1] * acc.shape[2]))
    result = np.empty(acc.shape, stored_dtype(out))
    for c in range(0, acc.shape[0], step):
        part = slice(c, c + step)
        offset = bias[part, None, None].astype(np.int64)
        block = acc[part].astype(np.int64)
        total = block + offset
        for extreme in (block.min(), block.max(), total.min(), total.max()):
            if not -ACC_LIMIT <= extreme < ACC_LIMIT:
                raise QuantError(f"layer '{node.name}': accumulator exceeds 32 bits")
        mult = node.mult[part, None, None] if per_channel else node.mult
        shift = node.shift[part, None, None] if per_channel else node.shift
        result[part] = finish(block, node.epilogue, offset, mult, shift)
    return result


def _resample_axis(values: np.ndarray, table: AxisTable, axis: int) -> np.ndarray:
    start = np.asarray(table.start)
    weights = np.asarray(table.weights, np.int64)
    shape = [1, 1, 1]
    shape[axis] = -1
    total = np.zeros((), np.int64)
    for k in range(table.taps):
        total = total + np.take(values, start + k, axis) * weights[:, k].reshape(shape)
    return total


def _max_pool(stored: np.ndarray, node: QMaxPool, lowest: int) -> np.ndarray:
    padded = pad_map([stored], node.pads, stored.dtype, lowest)
    (kh, kw), (sy, sx), (dy, dx) = node.kernel, node.stride, node.dilation
    height = out_size(padded.shape[1], kh, sy, 0, 0, dy)
    width = out_size(padded.shape[2], kw, sx, 0, 0, dx)
    best = np.full((stored.shape[0], height, width), lowest, stored.dtype)
    for ky in range(kh):
        for kx in range(kw):
            y, x = ky * dy, kx * dx
            np.maximum(
                best,
                padded[:, y : y + (height - 1) * sy + 1 : sy, x : x + (width - 1) * sx + 1 : sx],
                out=best,
            )
    return best


def run_node(qgraph: QuantGraph, node: QNode, values: dict[str, np.ndarray]) -> np.ndarray:
    """Stored output of one node from the stored tensors it reads."""
    out = qgraph.tensors[node.output]

    def integer(name: str) -> np.ndarray:
        return values[name].astype(np.int64) - qgraph.tensors[name].format.zero

    match node:
        case QConv():
            return _finished(conv_accumulators(qgraph, node, values), node, out)
        case QMaxPool():
            return _max_pool(values[node.input], node, out.format.lo)
        case QResample():
            rows = _resample_axis(integer(node.input), node.y, 1)
            return _finished(_resample_axis(rows, node.x, 2), node, out)
        case QInterleave():
            return _finished(
                interleaved(integer(node.input), node.block)[: out.channels], node, out
            )
        case QAdd():
            acc = sum(f * integer(i) for f, i in zip(node.factors, node.inputs, strict=True))
            return _finished(np.asarray(acc), node, out)
        case QMul():
            return _finished(integer(node.inputs[0]) * integer(node.inputs[1]), node, out)


def run_integer(qgraph: QuantGraph, stored_input: np.ndarray) -> dict[str, np.ndarray]:
    """Every tensor of the network as stored integers (int8 or int16), exact.

    stored_input: (C, H, W) of the engine's input tensor, from `quantise_input`.
    """
    tensor = qgraph.tensors[qgraph.input]
    if stored_input.shape != (tensor.channels, tensor.height, tensor.width):
        raise QuantError(
            f"stored input has shape {stored_input.shape}, tensor '{tensor.name}' is "
            f"{(tensor.channels, tensor.height, tensor.width)}: use quantise_input"
        )
    values = {qgraph.input: stored_input.astype(stored_dtype(tensor))}
    for node in qgraph.nodes:
        values[node.output] = run_node(qgraph, node, values)
        got = values[node.output].shape
        want = qgraph.tensors[node.output]
        assert got == (want.channels, want.height, want.width), f"{node.name}: shape {got}"
    return values
