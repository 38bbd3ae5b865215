"""Fewer and cheaper convolutions: fused sums, and 1x1 convolutions merged into their producer."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import pairwise

import numpy as np

from fpga_gen.graph.ir import Activation, Add, Conv, ConvTerm, Graph, Node, Tensor, walk
from fpga_gen.graph.passes.rewrite import Fresh, rebuilt, use_counts
from fpga_gen.graph.verify import window_shape


def fuse_adds(graph: Graph) -> Graph:
    """Add of convolutions without activation and other readers -> Convs with several terms.

    Only convolutions with one `walk` are summed in the array: the strided shortcut of a residual
    block stays a summand of the Add.
    """
    uses, fresh = use_counts(graph), Fresh(graph)
    nodes: dict[str, Node] = {}
    tensors: list[Tensor] = []
    changed = False
    for node in graph.nodes:
        nodes[node.output] = node
        if not isinstance(node, Add):
            continue
        for convs in _summable(graph, node, nodes, uses):
            changed = True
            taken = {c.output for c in convs}
            for output in (*taken, node.output):
                del nodes[output]
            rest = tuple(i for i in node.inputs if i not in taken)
            fused = _sum_of(convs, node)
            if rest:
                part = replace(graph.tensors[node.output], name=fresh(f"{node.output}.convs"))
                tensors.append(part)
                name = fresh(f"{node.name}.convs")
                nodes[part.name] = replace(
                    fused, name=name, output=part.name, activation=Activation()
                )
                node = replace(node, inputs=(part.name, *rest))
                nodes[node.output] = node
            else:
                nodes[node.output] = fused
    return rebuilt(graph, nodes.values(), tensors) if changed else graph


def _summable(
    graph: Graph, node: Add, nodes: dict[str, Node], uses: Counter[str]
) -> list[list[Conv]]:
    """Groups of at least two convolutions that an Add can leave to the array."""
    groups: dict[tuple, list[Conv]] = {}
    for name in node.inputs:
        conv = nodes.get(name)
        if isinstance(conv, Conv) and conv.activation.is_identity and uses[name] == 1:
            groups.setdefault(walk(graph, conv.terms[0]), []).append(conv)
    return [convs for convs in groups.values() if len(convs) > 1]


def _sum_of(convs: list[Conv], node: Add) -> Conv:
    """The convolution that takes the place of an Add of all of `convs`."""
    bias = np.sum([c.bias for c in convs], axis=0, dtype=np.float64).astype(np.float32)
    terms = tuple(t for c in convs for t in c.terms)
    return Conv(node.name, terms, bias, node.output, node.activation, node.onnx_name)


def flatten_adds(graph: Graph) -> Graph:
    """(a + b) + c -> one Add of three, where nothing else sees the inner sum."""
    uses = use_counts(graph)
    nodes: dict[str, Node] = {}
    changed = False
    for node in graph.nodes:
        if isinstance(node, Add):
            inputs: list[str] = []
            for name in node.inputs:
                inner = nodes.get(name)
                if isinstance(inner, Add) and inner.activation.is_identity and uses[name] == 1:
                    inputs += inner.inputs
                    del nodes[name]
                    changed = True
                else:
                    inputs.append(name)
            node = replace(node, inputs=tuple(inputs))
        nodes[node.output] = node
    return rebuilt(graph, nodes.values()) if changed else graph


def merge_terms(graph: Graph) -> Graph:
    """Convolutions of one map in one node -> one with a larger kernel, where it has no more taps:
    the phases of a space to depth become one strided convolution, which can be a stem."""
    nodes, changed = [], False
    for node in graph.nodes:
        if isinstance(node, Conv) and len(node.terms) > 1:
            groups: dict[tuple, list[ConvTerm]] = {}
            for term in node.terms:
                groups.setdefault((term.input, term.stride), []).append(term)
            terms = tuple(t for group in groups.values() for t in _one_window(graph, group))
            if len(terms) < len(node.terms):
                node = replace(node, terms=terms)
                changed = True
        nodes.append(node)
    return rebuilt(graph, nodes) if changed else graph


def _one_window(graph: Graph, terms: list[ConvTerm]) -> list[ConvTerm]:
    """The terms, which read one map with one stride, as one; or as they are."""
    if len(terms) == 1 or any(t.groups > 1 or t.sparse or t.grid is not None for t in terms):
        return terms
    offsets = [
        [[k * t.dilation[a] - t.pads[a] for k in range(t.kernel[a])] for t in terms] for a in (0, 1)
    ]
    grids = []
    for axis in offsets:
        places = sorted({o for term in axis for o in term})
        steps = {b - a for a, b in pairwise(places)} or {1}
        if len(steps) > 1:
            return terms
        grids.append((places, steps.pop()))
    (rows, row_step), (columns, column_step) = grids
    if len(rows) * len(columns) > sum(t.kernel[0] * t.kernel[1] for t in terms):
        return terms
    first = terms[0]
    weight = np.zeros((*first.weight.shape[:2], len(rows), len(columns)), np.float32)
    for number, term in enumerate(terms):
        ys = [rows.index(o) for o in offsets[0][number]]
        xs = [columns.index(o) for o in offsets[1][number]]
        weight[:, :, np.array(ys)[:, None], np.array(xs)] += term.weight
    source, out = graph.tensors[first.input], _out_size(graph, first)
    ends = [
        (n - 1) * s + places[-1] + 1 - size
        for n, s, (places, _), size in zip(
            out, first.stride, grids, (source.height, source.width), strict=True
        )
    ]
    pads = (-rows[0], -columns[0], ends[0], ends[1])
    return [replace(first, weight=weight, pads=pads, dilation=(row_step, column_step))]


def _out_size(graph: Graph, term: ConvTerm) -> tuple[int, int]:
    source = graph.tensors[term.input]
    return window_shape(source.shape, term.kernel, term.stride, term.pads, term.dilation)


def merge_pointwise(graph: Graph) -> Graph:
    """conv then 1x1 conv -> one conv, where that takes fewer multiply-accumulates.

    Exact for any padding of the first, as the second has none. Weights that were quantised
    elsewhere are left alone: their product would no longer be 8 bit.
    """
    uses = use_counts(graph)
    nodes: dict[str, Node] = {}
    changed = False
    for node in graph.nodes:
        if isinstance(node, Conv):
            for term in node.terms:
                first = nodes.get(term.input)
                if (
                    is_pointwise(term)
                    and isinstance(first, Conv)
                    and first.activation.is_identity
                    and uses[first.output] == 1
                    and all(t.groups == 1 and t.grid is None for t in first.terms)
                    and _merged_cost(first, term) < _cost(first, term)
                    and _one_walk(graph, first, node, term)
                    and (merged := _merge(first, node, term)) is not None
                ):
                    node = merged
                    del nodes[first.output]
                    changed = True
        nodes[node.output] = node
    return rebuilt(graph, nodes.values()) if changed else graph


def _one_walk(graph: Graph, first: Conv, node: Conv, term: ConvTerm) -> bool:
    """Whether the terms of `first` can stand beside the other terms of `node`."""
    others = [t for t in node.terms if t is not term]
    return all(walk(graph, t) == walk(graph, first.terms[0]) for t in others)


def is_pointwise(term: ConvTerm) -> bool:
    """A 1x1 convolution that reads every pixel once, with weights of its own."""
    return (
        term.weight.shape[2:] == (1, 1)
        and term.stride == (1, 1)
        and not any(term.pads)
        and term.groups == 1
        and term.grid is None
    )


def _cost(first: Conv, second: ConvTerm) -> int:
    """Multiply-accumulates per pixel of both convolutions (their outputs have one size)."""
    return sum(t.weight.size for t in first.terms) + second.weight.size


def _merged_cost(first: Conv, second: ConvTerm) -> int:
    out = second.weight.shape[0]
    return sum(t.weight.size // t.weight.shape[0] * out for t in first.terms)


def _merge(first: Conv, node: Conv, term: ConvTerm) -> Conv | None:
    """None where the products of the weights leave the range of float32."""
    matrix = term.weight[:, :, 0, 0].astype(np.float64)
    with np.errstate(over="ignore"):
        merged = tuple(
            replace(t, weight=np.tensordot(matrix, t.weight, axes=1).astype(np.float32))
            for t in first.terms
        )
        bias = (node.bias + matrix @ first.bias).astype(np.float32)
    if not all(np.isfinite(a).all() for a in (bias, *(t.weight for t in merged))):
        return None
    at = next(i for i, t in enumerate(node.terms) if t is term)
    terms = (*node.terms[:at], *merged, *node.terms[at + 1 :])
    return replace(node, terms=terms, bias=bias)
