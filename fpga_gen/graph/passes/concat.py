"""Makes concatenations and selections of channels free: flat, and read by convolutions only."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np

from fpga_gen.graph.axis import identity_axis
from fpga_gen.graph.ir import (
    Concat,
    Conv,
    ConvTerm,
    Graph,
    Interleave,
    MaxPool,
    Node,
    Resample,
    Select,
    Tensor,
    walk,
)
from fpga_gen.graph.passes.affine import is_affine
from fpga_gen.graph.passes.canonical import is_copy
from fpga_gen.graph.passes.rewrite import Fresh, rebuilt, use_counts, with_inputs


def flatten_concat(graph: Graph) -> Graph:
    """concat(concat(a, b), c) -> concat(a, b, c)."""
    flat: dict[str, tuple[str, ...]] = {}
    nodes, changed = [], False
    for node in graph.nodes:
        if isinstance(node, Concat):
            inputs = tuple(leaf for i in node.inputs for leaf in flat.get(i, (i,)))
            changed |= inputs != node.inputs
            node = replace(node, inputs=inputs)
            flat[node.output] = inputs
        nodes.append(node)
    return rebuilt(graph, nodes) if changed else graph


def push_through_concat(graph: Graph) -> Graph:
    """pool(concat(a, b)) -> concat(pool(a), pool(b)), likewise for Resample."""
    producers, fresh = graph.producers(), Fresh(graph)
    nodes: list[Node] = []
    tensors: list[Tensor] = []
    for node in graph.nodes:
        concat = producers.get(node.inputs[0])
        if not (isinstance(node, MaxPool | Resample) and isinstance(concat, Concat)):
            nodes.append(node)
            continue
        out = graph.tensors[node.output]
        parts: dict[str, str] = {}
        for name in concat.inputs:
            if name not in parts:
                part = replace(
                    out, name=fresh(f"{node.output}.{len(parts)}"),
                    channels=graph.tensors[name].channels,
                )  # fmt: skip
                tensors.append(part)
                parts[name] = part.name
                nodes.append(
                    replace(node, name=fresh(f"{node.name}.{len(parts) - 1}"), input=name,
                            output=part.name)
                )  # fmt: skip
        inputs = tuple(parts[name] for name in concat.inputs)
        nodes.append(Concat(fresh(f"{node.name}.concat"), inputs, node.output, node.onnx_name))
    return rebuilt(graph, nodes, tensors) if tensors else graph


def push_through_interleave(graph: Graph) -> Graph:
    """activation(interleave(a)) -> interleave(activation(a)), likewise for an affine map: then the
    convolution that computes the phases takes them over."""
    producers, uses, fresh = graph.producers(), use_counts(graph), Fresh(graph)
    nodes: list[Node] = []
    tensors: list[Tensor] = []
    for node in graph.nodes:
        inner = producers.get(node.inputs[0])
        if not (
            isinstance(inner, Interleave)
            and uses[inner.output] == 1
            and len(node.inputs) == 1
            and (is_copy(node) or is_affine(node))
        ):
            nodes.append(node)
            continue
        source = graph.tensors[inner.input]
        moved = Tensor(fresh(f"{node.output}.phases"), *source.shape)
        tensors.append(moved)
        name = fresh(f"{node.name}.phases")
        if isinstance(node, Conv):
            phases = inner.block[0] * inner.block[1]
            missing = source.channels // phases - len(node.bias)
            scale = np.pad(node.terms[0].weight, ((0, missing), (0, 0), (0, 0), (0, 0)))
            term = ConvTerm(source.name, np.tile(scale, (phases, 1, 1, 1)), groups=source.channels)
            bias = np.tile(np.pad(node.bias, (0, missing)), phases)
            nodes.append(replace(node, name=name, terms=(term,), bias=bias, output=moved.name))
        else:
            rows, columns = identity_axis(source.height), identity_axis(source.width)
            nodes.append(
                replace(node, name=name, input=source.name, output=moved.name, y=rows, x=columns)
            )
        nodes.append(replace(inner, name=node.name, input=moved.name, output=node.output))
    return rebuilt(graph, nodes, tensors) if tensors else graph


def push_through_select(graph: Graph) -> Graph:
    """pool(select(a)) -> select(pool(a)), likewise for Resample, if at least half is selected."""
    producers, fresh = graph.producers(), Fresh(graph)
    nodes: list[Node] = []
    tensors: list[Tensor] = []
    for node in graph.nodes:
        select = producers.get(node.inputs[0])
        if not (
            isinstance(node, MaxPool | Resample)
            and isinstance(select, Select)
            and 2 * len(select.channels) >= graph.tensors[select.input].channels
        ):
            nodes.append(node)
            continue
        out, source = graph.tensors[node.output], graph.tensors[select.input]
        all_ = replace(out, name=fresh(f"{node.output}.whole"), channels=source.channels)
        tensors.append(all_)
        nodes.append(
            replace(node, name=fresh(f"{node.name}.whole"), input=source.name, output=all_.name)
        )
        nodes.append(replace(select, name=node.name, input=all_.name, output=node.output))
    return rebuilt(graph, nodes, tensors) if tensors else graph


def _whole_maps(graph: Graph) -> set[str]:
    """Tensors that must be maps of their own: outputs, and what is read by anything but a
    convolution."""
    wanted = set(graph.outputs)
    for node in graph.nodes:
        if not isinstance(node, Conv | Concat | Select):
            wanted.update(node.inputs)
    return wanted


def join_convolutions(graph: Graph) -> Graph:
    """concat(conv(a), conv(b)) that must be a map of its own -> one convolution, whose filters have
    zeros for the inputs that are not theirs. The engine skips those, and nothing is copied. A model
    that came quantised has a scale for each part and is left alone."""
    if graph.hints is not None:
        return graph
    wanted, uses = _whole_maps(graph), use_counts(graph)
    nodes: dict[str, Node] = {}
    changed = False
    for node in graph.nodes:
        if isinstance(node, Concat) and node.output in wanted:
            convs = [n for i in node.inputs if isinstance(n := nodes.get(i), Conv)]
            if len(convs) == len(node.inputs) and _joinable(graph, convs, uses):
                for conv in convs:
                    del nodes[conv.output]
                node = _joined(convs, node)
                changed = True
        nodes[node.output] = node
    return rebuilt(graph, nodes.values()) if changed else graph


def _joinable(graph: Graph, convs: list[Conv], uses: Counter[str]) -> bool:
    terms = [t for c in convs for t in c.terms]
    return (
        all(uses[c.output] == 1 and c.activation == convs[0].activation for c in convs)
        and all(t.groups == 1 and t.grid is None for t in terms)
        and len({walk(graph, t) for t in terms}) == 1
    )


def _joined(convs: list[Conv], node: Concat) -> Conv:
    """The convolution that takes the place of a Concat of all of `convs`."""
    depths = [len(c.bias) for c in convs]
    terms, first = [], 0
    for conv, depth in zip(convs, depths, strict=True):
        rows = (first, sum(depths) - first - depth)
        for term in conv.terms:
            weight = np.pad(term.weight, (rows, (0, 0), (0, 0), (0, 0)))
            terms.append(replace(term, weight=weight, sparse=True))
        first += depth
    bias = np.concatenate([c.bias for c in convs])
    return Conv(node.name, tuple(terms), bias, node.output, convs[0].activation, node.onnx_name)


def materialise_views(graph: Graph) -> Graph:
    """An identity 1x1 convolution where a Concat or a Select must be a map of its own."""
    fresh, wanted = Fresh(graph), _whole_maps(graph)
    segments: dict[str, str] = {}  # view -> name of the twin that is read in place
    nodes: list[Node] = []
    tensors: list[Tensor] = []
    for node in graph.nodes:
        if isinstance(node, Concat | Select) and node.output in wanted:
            out = graph.tensors[node.output]
            twin = replace(out, name=fresh(f"{out.name}.segments"))
            tensors.append(twin)
            segments[out.name] = twin.name
            weight = np.eye(out.channels, dtype=np.float32)[:, :, None, None]
            bias = np.zeros(out.channels, np.float32)
            nodes.append(replace(node, output=twin.name))
            nodes.append(
                Conv(fresh(f"{node.name}.copy"), (ConvTerm(twin.name, weight),), bias, out.name,
                     onnx_name=node.onnx_name)
            )  # fmt: skip
        else:
            reads_views = isinstance(node, Conv | Concat | Select)
            nodes.append(with_inputs(node, segments) if reads_views else node)
    return rebuilt(graph, nodes, tensors) if segments else graph
