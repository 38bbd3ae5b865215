"""Models of opsets before 7, whose elementwise operators broadcast by attributes, made modern."""

from __future__ import annotations

import onnx
import onnx.version_converter
from onnx import helper

MODERN_OPSET = 9
ELEMENTWISE = frozenset("Add And Div Equal Greater Less Mul Or Pow Sub Xor".split())


def modernised(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model in MODERN_OPSET; ValueError, or what onnx's converter raises, if that cannot be.

    ONNX's converter mistakes the axis of a broadcast (1.22: a bias of 4 channels becomes a batch of
    4), so that is written out first, as an Unsqueeze.
    """
    result = onnx.ModelProto()
    result.CopyFrom(model)
    graph = result.graph
    given = {i.name for i in graph.input}
    for tensor in graph.initializer:  # which the converter knows as inputs only
        if tensor.name not in given:
            info = helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
            graph.input.append(info)
    ranks = _ranks(result)
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        if node.op_type in ELEMENTWISE:
            nodes += _without_broadcast(node, ranks)
        else:
            nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)
    return onnx.version_converter.convert_version(result, MODERN_OPSET)


def _ranks(model: onnx.ModelProto) -> dict[str, int]:
    """Number of axes of every value that shape inference finds."""
    graph = onnx.shape_inference.infer_shapes(model).graph
    return {
        v.name: len(v.type.tensor_type.shape.dim)
        for v in (*graph.input, *graph.value_info, *graph.output)
        if v.type.tensor_type.HasField("shape")
    }


def _without_broadcast(node: onnx.NodeProto, ranks: dict[str, int]) -> list[onnx.NodeProto]:
    """The node without attributes of broadcasting, behind what they mean."""
    attributes = {a.name: a.i for a in node.attribute}
    kept = [a for a in node.attribute if a.name not in ("broadcast", "axis", "consumed_inputs")]
    del node.attribute[:]
    node.attribute.extend(kept)
    if not attributes.get("broadcast") or "axis" not in attributes:
        return [node]
    first, second = node.input
    if first not in ranks or second not in ranks:
        raise ValueError(f"{node.op_type} '{node.name}' broadcasts values of unknown shapes")
    axis = attributes["axis"] % max(1, ranks[first])
    missing = ranks[first] - axis - ranks[second]
    if missing <= 0:
        return [node]
    name = f"{node.output[0]}/broadcast"
    axes = list(range(ranks[second], ranks[second] + missing))
    node.input[1] = name
    return [helper.make_node("Unsqueeze", [second], [name], name=name, axes=axes), node]
