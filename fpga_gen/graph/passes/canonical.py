"""Removes nodes that compute nothing new: plain copies and duplicates."""

from __future__ import annotations

from dataclasses import replace
from typing import TypeGuard

from fpga_gen.graph.axis import is_identity
from fpga_gen.graph.ir import Graph, Interleave, MaxPool, Node, Resample, Select
from fpga_gen.graph.passes.rewrite import rebuilt, with_inputs


def is_copy(node: Node) -> TypeGuard[Resample]:
    """Whether a node copies its input, perhaps with an activation."""
    return isinstance(node, Resample) and is_identity(node.y) and is_identity(node.x)


def drop_copies(graph: Graph) -> Graph:
    """Remove copies without activation; one stays where two outputs share a map."""
    while found := next(filter(None, (_droppable(graph, n) for n in graph.nodes)), None):
        copy, old, new = found
        nodes = []
        for node in graph.nodes:
            if node is not copy:
                node = with_inputs(node, {old: new})
                nodes.append(replace(node, output=new) if node.output == old else node)
        graph = rebuilt(graph, nodes)
    return graph


def _droppable(graph: Graph, node: Node) -> tuple[Node, str, str] | None:
    """A copy that can go, with the name that goes with it and the one that stays."""
    if not is_copy(node) or not node.activation.is_identity:
        return None
    if node.output not in graph.outputs:
        return node, node.output, node.input
    if node.input not in graph.outputs and node.input != graph.input:
        return node, node.input, node.output  # the producer takes the output's name
    return None


def merge_duplicates(graph: Graph) -> Graph:
    """One node instead of several that do the same to one map, without weights."""
    rename: dict[str, str] = {}
    seen: dict[Node, str] = {}
    nodes = []
    for node in graph.nodes:
        node = with_inputs(node, rename)
        if isinstance(node, MaxPool | Resample | Select | Interleave):
            key = replace(node, name="", output="", onnx_name="")
            if key in seen and node.output not in graph.outputs:
                rename[node.output] = seen[key]
                continue
            seen.setdefault(key, node.output)
        nodes.append(node)
    return rebuilt(graph, nodes) if rename else graph
