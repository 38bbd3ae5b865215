"""Finds functions of one map that were exported as several nodes, such as x * sigmoid(x)."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from fpga_gen.graph.axis import identity_axis
from fpga_gen.graph.curve import Curve, X, call, combined
from fpga_gen.graph.ir import (
    ACTIVATED,
    Activation,
    Add,
    Conv,
    Graph,
    Mul,
    Node,
    Resample,
    TensorHint,
)
from fpga_gen.graph.passes.affine import is_affine
from fpga_gen.graph.passes.canonical import is_copy
from fpga_gen.graph.passes.rewrite import rebuilt

ALGEBRA = frozenset(("add", "affine", "mul"))


@dataclass(frozen=True)
class _Origin:
    """A map as a function of another, element by element. rounded: maps on the way that the model
    rounds to levels of its own."""

    root: str
    curve: Curve
    rounded: tuple[str, ...] = ()


def join_curves(graph: Graph) -> Graph:
    """A copy with an activation instead of the sum or product of functions of one map, and of a
    scale and an offset, equal for all channels, behind a function that is no clip."""
    origins: dict[str, tuple[_Origin, ...]] = {}  # the nearest first
    nodes: list[Node] = []
    joined = graph
    for node in graph.nodes:
        found = _origins(node, origins, graph)
        chosen = _chosen(node, found, origins, graph)
        if chosen is not None:
            out = graph.tensors[node.output]
            node = Resample(
                node.name, chosen.root, node.output, identity_axis(out.height),
                identity_axis(out.width), Activation.of(chosen.curve), node.onnx_name,
            )  # fmt: skip
            joined = rounded_in(joined, chosen.rounded, node.output)
        origins[node.output] = found
        nodes.append(node)
    return graph if joined is graph else rebuilt(joined, nodes)


def levels(hint: TensorHint) -> Curve:
    """What rounding a map as the model does makes of a value."""
    least = -(2 ** (hint.bits - 1)) if hint.signed else 0
    lo = least - hint.zero_point
    return call("levels", hint.scale, lo, lo + 2**hint.bits - 1)


def hint_of(graph: Graph, name: str) -> TensorHint | None:
    """How the model stores a map, if it came with that."""
    return graph.hints.tensors.get(name) if graph.hints is not None else None


def rounded_in(graph: Graph, names: tuple[str, ...], output: str) -> Graph:
    """The graph with a note that the table of `output` rounds these maps as the model does; another
    object in any case."""
    if graph.hints is None:
        return replace(graph)
    same = graph.hints.same | dict.fromkeys(names, output)
    return replace(graph, hints=replace(graph.hints, same=same))


def passed_on(graph: Graph, old: str, new: str) -> Graph:
    """The graph when the node that computes a map computes another one instead."""
    if graph.hints is None or old not in graph.hints.same.values():
        return graph
    same = {name: new if kept == old else kept for name, kept in graph.hints.same.items()}
    return replace(graph, hints=replace(graph.hints, same=same))


def _origins(
    node: Node, origins: dict[str, tuple[_Origin, ...]], graph: Graph
) -> tuple[_Origin, ...]:
    """The map that a node computes, as a function of others."""
    parts = [_seen(name, origins, graph) for name in node.inputs]
    common = [root for root in parts[0] if all(root in part for part in parts)]
    found = []
    for root in common:
        inner = [part[root] for part in parts]
        curve = _function(node, [origin.curve for origin in inner])
        if curve is not None and isinstance(node, ACTIVATED):
            rounded = tuple(dict.fromkeys(name for o in inner for name in o.rounded))
            found.append(_Origin(root, node.activation.whole.after(curve), rounded))
    return tuple(found)


def _seen(name: str, origins: dict[str, tuple[_Origin, ...]], graph: Graph) -> dict[str, _Origin]:
    """A map that is read as a function of itself and of others, by root."""
    hint = hint_of(graph, name)
    out = {name: _Origin(name, X)}
    for origin in origins.get(name, ()):
        if hint is not None:
            curve = levels(hint).after(origin.curve)
            origin = _Origin(origin.root, curve, (*origin.rounded, name))
        out[origin.root] = origin
    return out


def _function(node: Node, parts: list[Curve]) -> Curve | None:
    """What a node computes of functions of one map, before its activation; None if it is no such
    function."""
    match node:
        case Resample() if is_copy(node):
            return parts[0]
        case Add():
            return combined("add", parts)
        case Mul():
            return combined("mul", parts)
        case Conv() if (step := _uniform(node)) is not None:
            return call("affine", *step).after(parts[0])
    return None


def _uniform(node: Conv) -> tuple[float, float] | None:
    """(scale, offset) of a node that has the same ones for every channel."""
    if not is_affine(node):
        return None
    scale, offset = node.terms[0].weight.reshape(-1), node.bias
    if np.ptp(scale) or np.ptp(offset):
        return None
    return float(scale[0]), float(offset[0])


def _chosen(
    node: Node,
    found: tuple[_Origin, ...],
    origins: dict[str, tuple[_Origin, ...]],
    graph: Graph,
) -> _Origin | None:
    """The function that a node is worth a table of: a sum or product with a function that is one or
    a clip, or an affine map of one that is a table anyway; else None."""
    if isinstance(node, Add | Mul) and found:
        parts = [_seen(name, origins, graph)[found[0].root].curve for name in node.inputs]
        return found[0] if any(_has(part, ALGEBRA) for part in parts) else None
    if isinstance(node, Conv):
        plain = ALGEBRA | {"clip", "levels"}
        return next((origin for origin in found if _has(origin.curve, plain)), None)
    return None


def _has(curve: Curve, plain: frozenset[str]) -> bool:
    """Whether it takes more than `plain` functions."""
    if curve == X:
        return False
    return curve.function not in plain or any(_has(part, plain) for part in curve.operands)
