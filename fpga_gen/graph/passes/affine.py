"""Folds per-channel affine maps (BatchNormalization, scaling) into convolutions."""

from __future__ import annotations

from dataclasses import replace
from typing import TypeGuard

import numpy as np

from fpga_gen.graph.ir import Concat, Conv, ConvTerm, Graph, Node, Tensor
from fpga_gen.graph.passes.rewrite import Fresh, rebuilt, use_counts


def is_affine(node: Node | None) -> TypeGuard[Conv]:
    """Whether a node is y = clip(scale * x + offset) per channel (a 1x1 depthwise Conv)."""
    if not isinstance(node, Conv) or len(node.terms) != 1:
        return False
    term = node.terms[0]
    return (
        term.weight.shape[1:] == (1, 1, 1)
        and term.groups == term.weight.shape[0]
        and term.stride == (1, 1)
        and not any(term.pads)
    )


def fold_affine_back(graph: Graph) -> Graph:
    """conv then affine -> conv, if nothing else reads the convolution's result."""
    uses = use_counts(graph)
    nodes: dict[str, Node] = {}
    changed = False
    for node in graph.nodes:
        conv = nodes.get(node.inputs[0])
        if not (
            is_affine(node)
            and isinstance(conv, Conv)
            and conv.activation.is_identity
            and uses[conv.output] == 1
        ):
            nodes[node.output] = node
            continue
        scale = node.terms[0].weight[:, 0, 0, 0].astype(np.float64)
        terms = tuple(
            replace(t, weight=(t.weight * scale[:, None, None, None]).astype(np.float32))
            for t in conv.terms
        )
        bias = (conv.bias * scale + node.bias).astype(np.float32)
        fused = replace(
            conv, terms=terms, bias=bias, output=node.output, activation=node.activation
        )
        nodes = {
            (node.output if k == conv.output else k): (fused if n is conv else n)
            for k, n in nodes.items()
        }
        changed = True
    return rebuilt(graph, nodes.values()) if changed else graph


def fold_affine_forward(graph: Graph) -> Graph:
    """affine then conv -> conv, if only convolutions read it and padding stays exact.

    A padded tap is 0 after the affine map, not before: with an offset only unpadded
    convolutions can absorb it.
    """
    consumers, changed = graph.consumers(), False
    nodes = {n.output: n for n in graph.nodes}
    for node in graph.nodes:
        affine = nodes[node.output]
        if (
            not is_affine(affine)
            or not affine.activation.is_identity
            or affine.output in graph.outputs
        ):
            continue
        readers = [nodes[n.output] for n in consumers[affine.output]]
        absorbing = [r for r in readers if isinstance(r, Conv) and _absorbs(r, affine)]
        if not readers or len(absorbing) < len(readers):
            continue
        for reader in absorbing:
            nodes[reader.output] = _absorb(reader, affine)
        changed = True
    return rebuilt(graph, nodes.values()) if changed else graph


def _absorbs(reader: Conv, affine: Conv) -> bool:
    terms = [t for t in reader.terms if t.input == affine.output]
    return all(t.groups == 1 and (not any(t.pads) or not affine.bias.any()) for t in terms)


def _absorb(reader: Conv, affine: Conv) -> Conv:
    scale = affine.terms[0].weight[:, 0, 0, 0].astype(np.float64)
    bias, terms = reader.bias.astype(np.float64), []
    for term in reader.terms:
        if term.input == affine.output:
            bias = bias + np.einsum("oikl,i->o", term.weight.astype(np.float64), affine.bias)
            weight = (term.weight * scale[None, :, None, None]).astype(np.float32)
            term = replace(term, input=affine.terms[0].input, weight=weight)
        terms.append(term)
    return replace(reader, terms=tuple(terms), bias=bias.astype(np.float32))


def split_affine(graph: Graph) -> Graph:
    """concat then affine -> concat of affines, if each of them folds into a convolution."""
    uses, producers, fresh = use_counts(graph), graph.producers(), Fresh(graph)
    nodes: list[Node] = []
    tensors: list[Tensor] = []
    for node in graph.nodes:
        concat = producers.get(node.inputs[0])
        if not (
            is_affine(node)
            and isinstance(concat, Concat)
            and uses[concat.output] == 1
            and all(_plain_conv(producers.get(i)) and uses[i] == 1 for i in concat.inputs)
        ):
            nodes.append(node)
            continue
        at, parts = 0, []
        for name in concat.inputs:
            source = graph.tensors[name]
            part = slice(at, at + source.channels)
            at += source.channels
            out = Tensor(fresh(f"{name}.scaled"), *source.shape)
            tensors.append(out)
            parts.append(out.name)
            term = ConvTerm(name, node.terms[0].weight[part], groups=source.channels)
            nodes.append(
                Conv(fresh(f"{node.name}.{len(parts)}"), (term,), node.bias[part], out.name,
                     node.activation, node.onnx_name)
            )  # fmt: skip
        nodes.append(Concat(concat.name, tuple(parts), node.output, concat.onnx_name))
    return rebuilt(graph, nodes, tensors) if tensors else graph


def _plain_conv(node: Node | None) -> bool:
    return isinstance(node, Conv) and node.activation.is_identity
