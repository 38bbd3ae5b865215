"""Helpers that all passes share: rebuilding, renaming and counting uses."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

from fpga_gen.graph.ir import Conv, Graph, Interleave, MaxPool, Node, Resample, Select, Tensor


def pruned(graph: Graph) -> Graph:
    """Dead node elimination: without nodes and tensors that no output depends on."""
    needed = set(graph.outputs)
    live: list[Node] = []
    for node in reversed(graph.nodes):
        if node.output in needed:
            live.append(node)
            needed.update(node.inputs)
    needed.add(graph.input)
    tensors = {k: t for k, t in graph.tensors.items() if k in needed}
    if len(live) == len(graph.nodes) and len(tensors) == len(graph.tensors):
        return graph
    return replace(graph, nodes=tuple(live[::-1]), tensors=tensors)


def rebuilt(graph: Graph, nodes: Iterable[Node], tensors: Iterable[Tensor] = ()) -> Graph:
    """The graph with other nodes and some tensors added or replaced, pruned."""
    table = {**graph.tensors, **{t.name: t for t in tensors}}
    return pruned(replace(graph, nodes=tuple(nodes), tensors=table))


def use_counts(graph: Graph) -> Counter[str]:
    """How often each tensor is read; being a graph output counts as one use."""
    counts = Counter(graph.outputs)
    for node in graph.nodes:
        counts.update(node.inputs)
    return counts


def with_inputs(node: Node, rename: dict[str, str]) -> Node:
    """The node reading other tensors; the same object if nothing changes."""
    if not any(name in rename for name in node.inputs):
        return node
    if isinstance(node, Conv):
        terms = tuple(replace(t, input=rename.get(t.input, t.input)) for t in node.terms)
        return replace(node, terms=terms)
    if isinstance(node, MaxPool | Resample | Select | Interleave):
        return replace(node, input=rename.get(node.input, node.input))
    return replace(node, inputs=tuple(rename.get(n, n) for n in node.inputs))


class Fresh:
    """Names for new tensors and nodes that the graph does not use yet."""

    def __init__(self, graph: Graph) -> None:
        self.taken = set(graph.tensors) | {n.name for n in graph.nodes}

    def __call__(self, base: str) -> str:
        name, number = base, 0
        while name in self.taken:
            number += 1
            name = f"{base}.{number}"
        self.taken.add(name)
        return name
