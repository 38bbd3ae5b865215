"""Quantised dialects and old opsets: what the quantisers of other people make of a float model."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnx.version_converter
from onnx import ModelProto, NodeProto, helper, numpy_helper

TYPES = (np.int8, np.uint8, np.int8, np.uint8, np.int16, np.uint16, np.int32)
SCALES = (0.05, 0.0625, 0.1, 1.0, 1e-4, 1e30, 0.0, -1.0)
WEIGHTED = ("Conv", "Gemm", "MatMul", "ConvTranspose")
QONNX = "qonnx.custom_op.general"


def _add(model: ModelProto, value, dtype: type, stem: str) -> str:
    name = f"{stem}{len(model.graph.initializer)}"
    model.graph.initializer.append(numpy_helper.from_array(np.asarray(value, dtype), name))
    return name


def _scale(rng: random.Random) -> float:
    return rng.choice(SCALES[:3] if rng.random() < 0.9 else SCALES)


def _grid(model: ModelProto, rng: random.Random) -> list[str]:
    """Names of a scale and a zero point, which often is left out."""
    dtype = rng.choice(TYPES[:4] if rng.random() < 0.9 else TYPES)
    info = np.iinfo(dtype)
    zero = rng.choice((0, 0, 3, info.min, info.max // 2 + 1))
    names = [_add(model, np.float32(_scale(rng)), np.float32, "s")]
    return [*names, _add(model, max(zero, info.min), dtype, "z")] if rng.random() < 0.9 else names


def pairs(model: ModelProto, rng: random.Random) -> None:
    """QuantizeLinear and DequantizeLinear before some inputs that are no constants."""
    constants = {t.name for t in model.graph.initializer}
    nodes: list[NodeProto] = []
    for node in model.graph.node:
        for end, value in enumerate(node.input):
            if value and value not in constants and rng.random() < 0.6:
                grid = _grid(model, rng)
                q, real = f"q{len(nodes)}_{end}", f"d{len(nodes)}_{end}"
                nodes.append(helper.make_node("QuantizeLinear", [value, *grid], [q]))
                again = grid if rng.random() < 0.95 else _grid(model, rng)
                nodes.append(helper.make_node("DequantizeLinear", [q, *again], [real]))
                node.input[end] = real
        nodes.append(node)
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def weights(model: ModelProto, rng: random.Random) -> None:
    """Weights as integers behind a DequantizeLinear, per tensor or per filter."""
    constants = {t.name: t for t in model.graph.initializer}
    for node in list(model.graph.node):
        if node.op_type not in WEIGHTED or len(node.input) < 2 or node.input[1] not in constants:
            continue
        array = numpy_helper.to_array(constants[node.input[1]])
        axis = rng.choice((0, 0, 1)) if array.ndim > 1 else 0
        many = rng.random() < 0.7
        steps = np.full(array.shape[axis] if many else (), _scale(rng), np.float32)
        dtype = rng.choice((np.int8, np.int8, np.uint8, np.int16))
        levels = np.clip(np.rint(array / 0.05), -100, 100).astype(dtype)
        inputs = [_add(model, levels, dtype, "w"), _add(model, steps, np.float32, "s")]
        if rng.random() < 0.8:
            inputs.append(_add(model, np.zeros(steps.shape), dtype, "z"))
        name = f"real{len(model.graph.initializer)}"
        options: dict[str, Any] = {"axis": axis} if many or rng.random() < 0.2 else {}
        made = helper.make_node("DequantizeLinear", inputs, [name], **options)
        model.graph.node.insert(0, made)
        node.input[1] = name


def operators(model: ModelProto, rng: random.Random) -> None:
    """Convolutions and sums as operators of integers, between a pair."""
    constants = {t.name: t for t in model.graph.initializer}
    nodes: list[NodeProto] = []
    for number, node in enumerate(model.graph.node):
        weight = constants.get(node.input[1]) if len(node.input) > 1 else None
        single = node.op_type in ("Sigmoid", "LeakyRelu", "GlobalAveragePool", "AveragePool")
        if not (single or (node.op_type in ("Conv", "MatMul") and weight is not None)):
            nodes.append(node)
            continue
        x, y = _grid(model, rng), _grid(model, rng)
        q, out = f"qx{number}", f"qy{number}"
        nodes.append(helper.make_node("QuantizeLinear", [node.input[0], *x], [q]))
        inputs, attributes = [q, x[0], *x[1:2]], list(node.attribute)
        kind, domain = f"QLinear{node.op_type}", "com.microsoft" if single else ""
        if weight is not None and not single:
            array = numpy_helper.to_array(weight)
            levels = np.clip(np.rint(array / 0.05), -100, 100)
            inputs += [_add(model, levels, np.int8, "w"), _add(model, 0.05, np.float32, "s"),
                       _add(model, 0, np.int8, "z")]  # fmt: skip
        inputs += y
        if node.op_type == "Conv" and len(node.input) > 2:
            inputs.append(_add(model, np.arange(array.shape[0]), np.int32, "b"))
        made = helper.make_node(kind, inputs, [out], domain=domain)
        made.attribute.extend(attributes)
        nodes.append(made)
        nodes.append(helper.make_node("DequantizeLinear", [out, *y], list(node.output)))
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))


def qonnx(model: ModelProto, rng: random.Random) -> None:
    """Quant of QONNX before some inputs, constants among them."""
    nodes: list[NodeProto] = []
    for node in model.graph.node:
        for end, value in enumerate(node.input):
            if value and rng.random() < 0.5:
                inputs = [value, *(_add(model, v, np.float32, "k") for v in (
                    _scale(rng), rng.choice((0, 0, 0.5, 3)), rng.choice((8, 4, 8, 1, 16, 2.5, 99)),
                ))]  # fmt: skip
                name = f"quant{len(nodes)}_{end}"
                nodes.append(helper.make_node(
                    rng.choice(("Quant", "Quant", "Quant", "IntQuant", "BipolarQuant", "Trunc")),
                    inputs, [name], domain=QONNX, signed=rng.choice((0, 1, 1)),
                    narrow=rng.choice((0, 1)), rounding_mode=rng.choice(("ROUND", "FLOOR")),
                ))  # fmt: skip
                node.input[end] = name
        nodes.append(node)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    model.opset_import.append(helper.make_opsetid(QONNX, 1))


def other_opset(model: ModelProto, rng: random.Random) -> None:
    """The same network in another opset, where ONNX can convert it."""
    version = rng.choice((6, 7, 8, 9, 10, 11, 12, 13, 17, 19, 21))
    try:
        made = onnx.version_converter.convert_version(model, version)
    except Exception:  # of ONNX's C++ code, for what it cannot convert
        return
    model.CopyFrom(made)


DIALECTS: tuple[Callable[[ModelProto, random.Random], None], ...] = (
    pairs, weights, operators, qonnx, other_opset, other_opset,
)  # fmt: skip
