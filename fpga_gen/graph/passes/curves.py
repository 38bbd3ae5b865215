"""Finds functions of one map that were exported as several nodes, such as x * sigmoid(x)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fpga_gen.graph.axis import identity_axis
from fpga_gen.graph.curve import Curve, X, call, combined
from fpga_gen.graph.ir import Activation, Add, Conv, Graph, Mul, Node, Resample
from fpga_gen.graph.passes.affine import is_affine
from fpga_gen.graph.passes.canonical import is_copy
from fpga_gen.graph.passes.rewrite import rebuilt

ALGEBRA = frozenset(("add", "affine", "mul"))


@dataclass(frozen=True)
class _Origin:
    """A map as a function of another, element by element."""

    root: str
    curve: Curve


def join_curves(graph: Graph) -> Graph:
    """A copy with an activation instead of the sum or product of functions of one map, and of a
    scale and an offset, equal for all channels, behind a function that is no clip."""
    origins: dict[str, _Origin] = {}
    nodes: list[Node] = []
    changed = False
    for node in graph.nodes:
        origin = _origin(node, origins)
        if origin is not None and _joins(node, origin, origins):
            out = graph.tensors[node.output]
            activation = Activation.of(origin.curve)
            node = Resample(
                node.name, origin.root, node.output, identity_axis(out.height),
                identity_axis(out.width), activation, node.onnx_name,
            )  # fmt: skip
            changed = True
        if origin is not None:
            origins[node.output] = origin
        nodes.append(node)
    return rebuilt(graph, nodes) if changed else graph


def _origin(node: Node, origins: dict[str, _Origin]) -> _Origin | None:
    """Of the map that a node computes; None unless it is a function of one map."""
    parts = [origins.get(name, _Origin(name, X)) for name in node.inputs]
    root = parts[0].root
    if any(part.root != root for part in parts):
        return None
    match node:
        case Resample() if is_copy(node):
            curve = parts[0].curve
        case Add():
            curve = combined("add", (part.curve for part in parts))
        case Mul():
            curve = combined("mul", (part.curve for part in parts))
        case Conv() if (step := _uniform(node)) is not None:
            curve = call("affine", *step).after(parts[0].curve)
        case _:
            return None
    return _Origin(root, node.activation.whole.after(curve))


def _uniform(node: Conv) -> tuple[float, float] | None:
    """(scale, offset) of a node that has the same ones for every channel."""
    if not is_affine(node):
        return None
    scale, offset = node.terms[0].weight.reshape(-1), node.bias
    if np.ptp(scale) or np.ptp(offset):
        return None
    return float(scale[0]), float(offset[0])


def _joins(node: Node, origin: _Origin, origins: dict[str, _Origin]) -> bool:
    """Whether a node is worth a table: a sum or product with a function that is one or a clip, or
    an affine map of one that is a table anyway."""
    curves = [origins[name].curve for name in node.inputs if name in origins]
    if isinstance(node, Add | Mul):
        return any(_has(curve, ALGEBRA) for curve in curves)
    return isinstance(node, Conv) and any(_has(curve, ALGEBRA | {"clip"}) for curve in curves)


def _has(curve: Curve, plain: frozenset[str]) -> bool:
    """Whether it takes more than `plain` functions."""
    if curve == X:
        return False
    return curve.function not in plain or any(_has(part, plain) for part in curve.operands)
