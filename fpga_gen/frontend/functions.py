"""Local functions of a model, inlined: each call becomes the function's nodes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import onnx
from onnx.inliner import inline_local_functions

from fpga_gen.errors import UnsupportedModel

MAX_NODES = 100_000  # after inlining: thirty functions that call each other twice make 2^30
MAX_DEPTH = 64  # of functions in functions
REMEDY = "export it without local functions"

Key = tuple[str, str, str]  # domain, name, overload


def inlined(path: str, model: onnx.ModelProto) -> onnx.ModelProto:
    """The model without local functions; UnsupportedModel if they are recursive, nested too deeply
    or would become too many nodes, before anything is copied."""
    if not model.functions:
        return model
    functions: dict[Key, onnx.FunctionProto] = {
        (f.domain, f.name, f.overload): f for f in model.functions
    }
    sizes: dict[Key, int] = {}
    total = _size(path, model.graph.node, functions, sizes, ())
    if total > MAX_NODES:
        raise UnsupportedModel(f"{path}: its functions become {total} nodes; {REMEDY}")
    try:
        return inline_local_functions(model)
    except Exception as error:  # of onnx's C++ code: it raises various ones for malformed functions
        line = str(error).strip().splitlines()[:1] or [type(error).__name__]
        raise UnsupportedModel(
            f"{path}: its functions cannot be inlined: {line[0]}; {REMEDY}"
        ) from None


def _size(
    path: str,
    nodes: Iterable[onnx.NodeProto],
    functions: dict[Key, onnx.FunctionProto],
    sizes: dict[Key, int],
    callers: tuple[Key, ...],
) -> int:
    """Nodes after inlining; sizes: of the functions that were looked at."""
    total = 0
    for node in _all_nodes(nodes):
        key = (node.domain, node.op_type, node.overload)
        if key not in functions:
            total += 1
            continue
        if key in callers:
            raise UnsupportedModel(f"{path}: function '{key[1]}' calls itself; {REMEDY}")
        if len(callers) == MAX_DEPTH:
            raise UnsupportedModel(
                f"{path}: its functions are nested more than {MAX_DEPTH} deep; {REMEDY}"
            )
        if key not in sizes:
            sizes[key] = _size(path, functions[key].node, functions, sizes, (*callers, key))
        total += sizes[key]
    return total


def _all_nodes(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    """The nodes and those of the graphs in their attributes."""
    for node in nodes:
        yield node
        for attribute in node.attribute:
            for graph in (attribute.g, *attribute.graphs):
                yield from _all_nodes(graph.node)
