"""Rules of a QuantGraph: what was read from a file must hold them before anything computes with it.

The quantiser keeps them by construction. The bounds keep memory and time within what a network for
an FPGA can need.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from fpga_gen.contract.isa import TABLE_ENTRIES
from fpga_gen.contract.numerics import FORMATS, I8, MULT_BITS, SHIFT_BITS, SP2_CODES
from fpga_gen.graph.ir import AxisTable
from fpga_gen.quant.convolve import out_size
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
from fpga_gen_host.host_ops import HostOp, run_host_op
from fpga_gen_host.model_input import HostInput

MAX_VALUES = 1 << 26  # of one map, padding included
MAX_ALL_VALUES = 1 << 28  # of all maps
MAX_MACS = 1 << 42  # of one frame
MAX_STEP = 1 << 12  # stride, dilation, pad, side of a pooling window
MAX_SIDE = 1 << 13  # of what the host resizes to
MAX_FACTOR = 1 << 15

Shape = tuple[int, int, int]


def verify_quant_graph(graph: QuantGraph) -> None:
    """ValueError names the first node or tensor that breaks a rule, and the rule."""
    _need(graph.sp2 in SP2_CODES.values(), "the network", "its SP2 code is unknown")
    _need(graph.input in graph.tensors, "the network", "its input is no tensor of it")
    _check_tensors(graph.tensors.values())
    known, macs = {graph.input}, 0
    for node in graph.nodes:
        who = f"node '{node.name}'"
        _need(bool(node.inputs), who, "it has no input")
        for name in (*node.inputs, node.output):
            _need(name in graph.tensors, who, f"unknown tensor '{name}'")
        _need(known.issuperset(node.inputs), who, "it reads what is not computed before it")
        _need(node.output not in known, who, "its output is computed twice")
        known.add(node.output)
        macs += _check_node(graph, node, who)
    _need(macs <= MAX_MACS, "the network", f"a frame takes more than {MAX_MACS} operations")
    _need(known == graph.tensors.keys(), "the network", "a tensor is never computed")
    _need(known.issuperset(graph.outputs), "the network", "an output is no tensor of it")
    _need(bool(graph.outputs), "the network", "it has no output")
    results = graph.results or graph.outputs
    _need(len(graph.output_names) in (0, len(results)), "the network", "outputs lack names")
    _check_host_input(graph.host_input, _shape(graph.tensors[graph.input]))
    _check_host_ops(graph)


def _need(holds: bool, who: str, rule: str) -> None:
    if not holds:
        raise ValueError(f"{who}: {rule}")


def _shape(tensor: QTensor) -> Shape:
    return tensor.channels, tensor.height, tensor.width


def _check_tensors(tensors: Iterable[QTensor]) -> None:
    total = 0
    for tensor in tensors:
        who = f"tensor '{tensor.name}'"
        shape = _shape(tensor)
        _need(min(shape) >= 1 and math.prod(shape) <= MAX_VALUES, who, f"its shape is {shape}")
        _need(0 < tensor.scale < math.inf, who, f"its scale is {tensor.scale}")
        _need(tensor.format in FORMATS.values(), who, "its format is unknown")
        _need(tensor.period >= 0, who, "its period is negative")
        kinds = tensor.kinds
        _need(kinds is None or len(kinds) == tensor.channels, who, "kinds and channels differ")
        places = tensor.positions
        _need(
            not places or sorted(places) == list(range(tensor.channels)),
            who,
            "its positions are not those of its channels",
        )
        total += math.prod(shape)
    _need(total <= MAX_ALL_VALUES, "the network", f"its maps hold {total} values")


def _check_node(graph: QuantGraph, node: QNode, who: str) -> int:
    """Checks a node whose tensors are known; its multiply-accumulates."""
    out = graph.tensors[node.output]
    want, sources = _shape(out), [graph.tensors[name] for name in node.inputs]
    if isinstance(node, QMaxPool):
        _check_pool(node, sources[0], out, who)
        return 0
    fmt, lo, hi = node.epilogue.format, node.epilogue.lo, node.epilogue.hi
    _need(fmt == out.format, who, f"it writes {fmt.name}, its output is {out.format.name}")
    least, most = (I8.lo, I8.hi) if node.epilogue.table else (fmt.lo, fmt.hi)
    _need(least <= lo <= hi <= most, who, f"it clips at {lo}, {hi}")
    _check_table(node.epilogue.table, out, who)
    mult, shift = np.asarray(node.mult), np.asarray(node.shift)
    _need(0 <= mult.min() and mult.max() < 1 << MULT_BITS, who, "a multiplier is out of range")
    _need(0 <= shift.min() and shift.max() < 1 << SHIFT_BITS, who, "a shift is out of range")
    if isinstance(node, QConv):
        return _check_conv(graph, node, want, who)
    if isinstance(node, QResample):
        source = sources[0]
        _check_axis(node.y, source.height, want[1], who)
        _check_axis(node.x, source.width, want[2], who)
        _need(source.channels == want[0], who, "it changes the number of channels")
        return 0
    if isinstance(node, QInterleave):
        source, (rows, columns) = sources[0], node.block
        _need(min(node.block) >= 1 and max(node.block) <= MAX_STEP, who, "its block is too large")
        depth, rest = divmod(source.channels, rows * columns)
        _need(not rest and want[0] <= depth, who, "its phases are no whole")
        _need((source.height * rows, source.width * columns) == want[1:], who, "sizes do not fit")
        _need(source.format == fmt, who, "it changes the format")
        return 0
    if isinstance(node, QAdd):
        _need(len(node.factors) == len(node.inputs), who, "inputs and factors differ in number")
        _need(max(map(abs, node.factors)) <= MAX_FACTOR, who, "a factor is out of range")
    else:
        assert isinstance(node, QMul)
    shapes = [_shape(s) for s in sources]
    gates = {want, (want[0], 1, 1)} if isinstance(node, QMul) else {want}
    same = shapes[0] == want and gates.issuperset(shapes)
    _need(same, who, "its maps differ in shape")
    return 0


def _check_table(table: tuple[int, ...], out: QTensor, who: str) -> None:
    if table:
        _need(out.format.bits == 8, who, "results of 16 bits index no table")
        _need(len(table) == TABLE_ENTRIES, who, f"its table has {len(table)} entries")
        lo, hi = out.format.lo, out.format.hi
        _need(lo <= min(table) and max(table) <= hi, who, "an entry of its table is out of range")


def _check_conv(graph: QuantGraph, node: QConv, want: Shape, who: str) -> int:
    macs = 0
    for term in node.terms:
        _need(bool(term.inputs), who, "a term has no input")
        sources = [graph.tensors[name] for name in term.inputs]
        height, width = sources[0].height, sources[0].width
        _need(
            all((s.height, s.width) == (height, width) for s in sources), who, "its inputs differ"
        )
        channels = sum(s.channels for s in sources)
        filters, inputs, *kernel = term.weight.shape
        _need(min(term.weight.shape) >= 1, who, f"its weights have shape {term.weight.shape}")
        _need((filters, inputs) == (want[0], channels), who, "weights and maps do not fit")
        size = _window(who, (height, width), kernel, term.stride, term.pads, term.dilation)
        _need(size == want[1:], who, f"it computes {size}, its output is {want[1:]}")
        area = (height + MAX_STEP) * (width + MAX_STEP)
        _need(channels * area <= MAX_VALUES * MAX_STEP, who, "its padded input is too large")
        macs += term.weight.size * want[1] * want[2]
    fault = node.contradiction(graph.tensors)
    _need(not fault, who, fault)
    return macs


def _check_pool(node: QMaxPool, source: QTensor, out: QTensor, who: str) -> None:
    _need(source.format == out.format, who, "it changes the format")
    _need(out.format.bits == 8, who, "it works on 8-bit maps only")
    _need(source.channels == out.channels, who, "it changes the number of channels")
    _need(max(node.kernel) <= MAX_STEP, who, f"its window is {node.kernel}")
    _need(min(node.pads) >= 0, who, f"its pads are {node.pads}")
    size = _window(
        who, (source.height, source.width), node.kernel, node.stride, node.pads, node.dilation
    )
    _need(size == _shape(out)[1:], who, f"it computes {size}, its output is {_shape(out)[1:]}")


def _window(who, size, kernel, stride, pads, dilation) -> tuple[int, int]:
    """Output (height, width) of a window that slides over a map."""
    steps = (*stride, *dilation, *kernel)
    _need(min(steps) >= 1 and max(stride + dilation) <= MAX_STEP, who, "a step is out of range")
    _need(max(map(abs, pads)) <= MAX_STEP, who, f"its pads are {pads}")
    top, left, bottom, right = pads
    height = out_size(size[0], kernel[0], stride[0], top, bottom, dilation[0])
    width = out_size(size[1], kernel[1], stride[1], left, right, dilation[1])
    return height, width


def _check_axis(table: AxisTable, in_size: int, size: int, who: str) -> None:
    _need(table.in_size == in_size and table.out_size == size, who, "its tables do not fit")
    _need(len(table.weights) == size, who, "a table lacks weights")
    taps = len(table.weights[0])
    _need(taps >= 1 and all(len(row) == taps for row in table.weights), who, "taps differ")
    _need(
        min(table.start) >= 0 and max(table.start) + taps <= in_size,
        who,
        "a tap is outside its map",
    )
    most = max(abs(w) for row in table.weights for w in row)
    _need(1 <= table.denominator <= MAX_FACTOR and most <= MAX_FACTOR, who, "a weight is too large")


def _check_host_input(host: HostInput, want: Shape) -> None:
    who = "host_input"
    channels, height, width = host.padded_shape
    block = host.space_to_depth
    _need(min(host.model_shape) >= 1 and min(host.pads) >= 0, who, "a size is out of range")
    _need(channels * height * width <= MAX_VALUES, who, "the picture is too large")
    _need(
        block >= 1 and not height % block and not width % block,
        who,
        "blocks do not fit the picture",
    )
    _need(
        (channels * block * block, height // block, width // block) == want,
        who,
        f"it gives another shape than {want}",
    )
    for values in (host.gain, host.offset):
        _need(len(values) in (0, channels), who, "gain or offset lacks channels")
    _need(len(host.gain) == len(host.offset), who, "gain or offset lacks channels")
    parts, (whole, *size) = host.parts, host.model_shape
    _need(not parts or sum(p.shape[0] for p in parts) == whole, who, "its parts lack channels")
    _need(all(list(p.shape[1:]) == size for p in parts), who, "its parts differ in size")


def _check_host_ops(graph: QuantGraph) -> None:
    """Runs them on zeros: their rules are those of numpy and of the Resize operator."""
    values = {n: np.zeros((1, *_shape(graph.tensors[n])), np.float32) for n in graph.outputs}
    for op in graph.host_ops:
        who = f"host operator '{op.kind}'"
        _need(all(name in values for name in op.reads), who, "it works on no output")
        try:
            _check_host_op(op)
            value = run_host_op(op, *(values[name] for name in op.reads))
        except (ArithmeticError, LookupError, TypeError, ValueError) as error:
            raise ValueError(f"{who}: {error!r}") from error
        _need(value.size <= MAX_VALUES, who, "its result is too large")
        values[op.target] = value
    _need(all(name in values for name in graph.results), "the network", "a result is not computed")


def _check_host_op(op: HostOp) -> None:
    if op.kind != "resize":
        return
    sides, scales = op.attributes["size"], op.attributes["scales"]
    if not all(type(side) is int and 1 <= side <= MAX_SIDE for side in sides):
        raise ValueError(f"size {sides}")
    if not all(1 / MAX_SIDE <= scale <= MAX_SIDE for scale in scales):
        raise ValueError(f"scales {scales}")
