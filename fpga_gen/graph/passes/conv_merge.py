"""Fewer and cheaper convolutions: fused sums, and 1x1 convolutions merged into their producer."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from fpga_gen.graph.ir import Add, Clip, Conv, ConvTerm, Graph, Node, Tensor
from fpga_gen.graph.passes.rewrite import Fresh, rebuilt, use_counts


def fuse_adds(graph: Graph) -> Graph:
    """Add of convolutions without activation and other readers -> one Conv with all terms."""
    uses, fresh = use_counts(graph), Fresh(graph)
    nodes: dict[str, Node] = {}
    tensors: list[Tensor] = []
    for node in graph.nodes:
        nodes[node.output] = node
        if not isinstance(node, Add):
            continue
        convs = [
            c
            for c in (nodes.get(i) for i in node.inputs)
            if isinstance(c, Conv) and c.clip == Clip() and uses[c.output] == 1
        ]
        if len(convs) < 2:
            continue
        for conv in convs:
            del nodes[conv.output]
        del nodes[node.output]
        bias = np.sum([c.bias for c in convs], axis=0, dtype=np.float64).astype(np.float32)
        terms = tuple(t for c in convs for t in c.terms)
        fused = Conv(node.name, terms, bias, node.output, node.clip, node.onnx_name)
        taken = {c.output for c in convs}
        rest = tuple(i for i in node.inputs if i not in taken)
        if rest:
            part = replace(graph.tensors[node.output], name=fresh(f"{node.output}.convs"))
            tensors.append(part)
            fused = replace(fused, name=fresh(f"{node.name}.convs"), output=part.name, clip=Clip())
            nodes[part.name] = fused
            nodes[node.output] = replace(node, inputs=(part.name, *rest))
        else:
            nodes[node.output] = fused
    changed = len(nodes) != len(graph.nodes) or bool(tensors)
    return rebuilt(graph, nodes.values(), tensors) if changed else graph


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
                if isinstance(inner, Add) and inner.clip == Clip() and uses[name] == 1:
                    inputs += inner.inputs
                    del nodes[name]
                    changed = True
                else:
                    inputs.append(name)
            node = replace(node, inputs=tuple(inputs))
        nodes[node.output] = node
    return rebuilt(graph, nodes.values()) if changed else graph


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
                    _is_pointwise(term)
                    and isinstance(first, Conv)
                    and first.clip == Clip()
                    and uses[first.output] == 1
                    and all(t.groups == 1 and t.grid is None for t in first.terms)
                    and _merged_cost(first, term) < _cost(first, term)
                ):
                    node = _merge(first, node, term)
                    del nodes[first.output]
                    changed = True
        nodes[node.output] = node
    return rebuilt(graph, nodes.values()) if changed else graph


def _is_pointwise(term: ConvTerm) -> bool:
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


def _merge(first: Conv, node: Conv, term: ConvTerm) -> Conv:
    matrix = term.weight[:, :, 0, 0].astype(np.float64)
    merged = tuple(
        replace(t, weight=np.tensordot(matrix, t.weight, axes=1).astype(np.float32))
        for t in first.terms
    )
    at = next(i for i, t in enumerate(node.terms) if t is term)
    bias = (node.bias + matrix @ first.bias).astype(np.float32)
    terms = (*node.terms[:at], *merged, *node.terms[at + 1 :])
    return replace(node, terms=terms, bias=bias)
