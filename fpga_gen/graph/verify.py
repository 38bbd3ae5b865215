"""Rules of the graph IR. `verify` runs between passes and names node, ONNX name and rule."""

from __future__ import annotations

import math

import numpy as np

from fpga_gen.errors import FpgaGenError, UnsupportedModel
from fpga_gen.graph.ir import (
    ACTIVATED,
    Add,
    AxisTable,
    Concat,
    Conv,
    Graph,
    Interleave,
    MaxPool,
    Mul,
    Node,
    Resample,
    Select,
    walk,
)
from fpga_gen_host.host_kinds import KINDS


class GraphRuleError(FpgaGenError):
    """A graph breaks a rule of the IR: a pass (or whoever built the graph) is at fault."""


def conv_out_size(
    size: int, kernel: int, stride: int, before: int, after: int, dilation: int
) -> int:
    """Number of windows along one axis (ONNX, floor mode)."""
    return (size + before + after - (kernel - 1) * dilation - 1) // stride + 1


def window_shape(
    shape: tuple[int, int, int],
    kernel: tuple[int, int],
    stride: tuple[int, int],
    pads: tuple[int, int, int, int],
    dilation: tuple[int, int],
) -> tuple[int, int]:
    """Output height and width of a convolution or pooling over a (C, H, W) map."""
    return (
        conv_out_size(shape[1], kernel[0], stride[0], pads[0], pads[2], dilation[0]),
        conv_out_size(shape[2], kernel[1], stride[1], pads[1], pads[3], dilation[1]),
    )


def verify(graph: Graph, *, lowered: bool = False) -> None:
    """Raise GraphRuleError at the first broken rule.

    lowered: also the rules that hold after `optimise`: only Conv nodes read a Concat or
    a Select, a Concat reads no Concat, and neither is an output.
    """
    _verify_interface(graph)
    known = {graph.input}
    names: set[str] = set()
    for node in graph.nodes:
        for name in node.inputs:
            _need(name in known, node, f"reads '{name}' before it is computed")
        _need(node.output in graph.tensors, node, f"output '{node.output}' has no tensor")
        _need(node.output not in known, node, f"tensor '{node.output}' is written twice")
        _need(node.name not in names, node, "node name is not unique")
        _verify_shapes(graph, node)
        known.add(node.output)
        names.add(node.name)
    for name in graph.tensors:
        _rule(name in known, f"tensor '{name}' has no producer")
    for name in graph.outputs:
        _rule(name in known, f"output '{name}' is not computed")
    if lowered:
        _verify_lowered(graph)


def _verify_interface(graph: Graph) -> None:
    for key, tensor in graph.tensors.items():
        _rule(key == tensor.name, f"tensor '{tensor.name}' is filed under '{key}'")
        _rule(min(tensor.shape) > 0, f"tensor '{key}' is empty: {tensor.shape}")
    _rule(graph.input in graph.tensors, f"input '{graph.input}' has no tensor")
    c, h, w = graph.host_input.padded_shape
    for values in (graph.host_input.gain, graph.host_input.offset):
        _rule(len(values) in (0, c), f"host_input has {len(values)} factors for {c} channels")
    b = graph.host_input.space_to_depth
    _rule(
        graph.tensors[graph.input].shape == (c * b * b, h // b, w // b) and not (h % b or w % b),
        f"input '{graph.input}' does not follow from host_input",
    )
    _rule(len(graph.outputs) > 0, "no outputs")
    _rule(len(set(graph.outputs)) == len(graph.outputs), "an output tensor is listed twice")
    results = graph.results or graph.outputs
    _rule(len(results) == len(graph.output_names), "outputs and output_names differ")
    known = set(graph.outputs)
    for op in graph.host_ops:
        _rule(op.kind in KINDS, f"host operator '{op.kind}' is unknown")
        for name in op.reads:
            _rule(name in known, f"host operator works on '{name}', no output")
        known.add(op.target)
    for name in results:
        _rule(name in known, f"result '{name}' is not computed")


def _verify_shapes(graph: Graph, node: Node) -> None:
    out = graph.tensors[node.output].shape
    shapes = [graph.tensors[name].shape for name in node.inputs]
    if isinstance(node, ACTIVATED):
        _need(node.activation.lo <= node.activation.hi, node, "activation has lo > hi")
    if isinstance(node, Conv):
        _verify_conv(graph, node)
    elif isinstance(node, MaxPool):
        _need(min(node.pads) >= 0, node, "pads must not be negative")
        size = window_shape(shapes[0], node.kernel, node.stride, node.pads, node.dilation)
        _need(out == (shapes[0][0], *size), node, f"output is {out}, not {size}")
    elif isinstance(node, Resample):
        for table, size in ((node.y, shapes[0][1]), (node.x, shapes[0][2])):
            _verify_axis(node, table, size)
        expected = (shapes[0][0], node.y.out_size, node.x.out_size)
        _need(out == expected, node, f"output is {out}, not {expected}")
    elif isinstance(node, Add | Mul):
        count = len(node.inputs)
        right = count == 2 if isinstance(node, Mul) else count >= 2
        _need(right, node, f"{type(node).__name__} of {count} maps")
        gates = {out, (out[0], 1, 1)} if isinstance(node, Mul) else {out}
        same = shapes[0] == out and gates.issuperset(shapes)
        _need(same, node, f"shapes differ: {shapes} -> {out}")
    elif isinstance(node, Interleave):
        phases, depth = math.prod(node.block), shapes[0][0] // math.prod(node.block)
        _need(min(node.block) >= 1 and depth * phases == shapes[0][0], node, "phases are no whole")
        size = (shapes[0][1] * node.block[0], shapes[0][2] * node.block[1])
        expected = (node.channels, *size)
        _need(out == expected and out[0] <= depth, node, f"output is {out}, not {expected}")
    elif isinstance(node, Select):
        _need(out == (len(node.channels), *shapes[0][1:]), node, f"output is {out}")
        inside = all(0 <= c < shapes[0][0] for c in node.channels)
        _need(inside, node, f"selects channels beyond the {shapes[0][0]} of its input")
    else:
        expected = (sum(s[0] for s in shapes), *shapes[0][1:])
        _need(len({s[1:] for s in shapes}) == 1, node, f"map sizes differ: {shapes}")
        _need(out == expected, node, f"output is {out}, not {expected}")


def _verify_conv(graph: Graph, node: Conv) -> None:
    out = graph.tensors[node.output].shape
    _need(len(node.terms) > 0, node, "a Conv needs a term")
    _need(node.bias.shape == (out[0],), node, f"bias has shape {node.bias.shape}")
    arrays = [node.bias, *(t.weight for t in node.terms)]
    _need(all(a.dtype == np.float32 for a in arrays), node, "weights must be float32")
    if not all(np.isfinite(a).all() for a in arrays):  # no pass's fault: they were multiplied
        raise UnsupportedModel(
            f"{_named(node)}: its weights, or their products with those of the layers that become "
            "one with it, are not finite in float32; repair the weights"
        )
    for term in node.terms:
        shape = graph.tensors[term.input].shape
        channels, per_group, kh, kw = term.weight.shape
        _need(per_group * term.groups == shape[0] and channels % term.groups == 0, node,
              f"weight {term.weight.shape} does not fit {shape[0]} channels")  # fmt: skip
        size = window_shape(shape, (kh, kw), term.stride, term.pads, term.dilation)
        _need(out == (channels, *size), node, f"output is {out}, not {(channels, *size)}")
    walks = {walk(graph, t) for t in node.terms}
    _need(len(walks) == 1, node, f"its terms read maps of different sizes or strides: {walks}")


def _verify_axis(node: Node, table: AxisTable, size: int) -> None:
    _need(table.in_size == size, node, f"axis table is for {table.in_size}, the map has {size}")
    _need(len(table.weights) == table.out_size > 0, node, "axis table is ragged")
    for start, row in zip(table.start, table.weights, strict=True):
        _need(len(row) == table.taps, node, "axis table is ragged")
        _need(sum(row) == table.denominator, node, "axis weights do not sum to the denominator")
        _need(0 <= start <= size - table.taps, node, "axis tap outside the input")


def _verify_lowered(graph: Graph) -> None:
    views = {n.output: n for n in graph.nodes if isinstance(n, Concat | Select)}
    for node in graph.nodes:
        read = [n for n in dict.fromkeys(node.inputs) if n in views]
        if isinstance(node, Concat):
            read = [n for n in read if isinstance(views[n], Concat)]
        if not isinstance(node, Conv | Select):
            _need(not read, node, f"only Conv may read a Concat or a Select, this reads {read}")
    for name in graph.outputs:
        _rule(name not in views, f"output '{name}' is a Concat or a Select")


def _need(ok: bool, node: Node, rule: str) -> None:
    if not ok:
        raise GraphRuleError(f"{_named(node)}: {rule}")


def _named(node: Node) -> str:
    onnx = f" (ONNX node '{node.onnx_name}')" if node.onnx_name else ""
    return f"{type(node).__name__} '{node.name}'{onnx}"


def _rule(ok: bool, rule: str) -> None:
    if not ok:
        raise GraphRuleError(f"graph: {rule}")
