"""Stores the convolution weights of an ONNX file as int8, one scale for each filter.

    python -m fpga_gen_models.int8_file network.onnx small.onnx

A quarter of a float32 file. The weights become DequantizeLinear of an integer constant, which every
runtime computes; zeros stay zeros. The compiler keeps such integers, so those stay as they are that
it has to change: of convolutions that read the picture, whose normalisation it folds in, and of two
with nothing in between that it makes one. Needs no PyTorch.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from fpga_gen.disk import replace_file

TOP = 127  # largest level


def with_int8_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with every constant convolution weight as int8; scale: of the largest weight."""
    out = onnx.ModelProto()
    out.CopyFrom(model)
    graph = out.graph
    tensors = {t.name: t for t in graph.initializer}
    casts = {n.output[0]: n for n in graph.node if n.op_type == "Cast"}
    changed = _changed_by_compiler(graph)
    made: list[onnx.NodeProto] = []
    for node in graph.node:
        if node.op_type != "Conv" or node.output[0] in changed:
            continue
        name = node.input[1]
        source = casts[name].input[0] if name in casts else name
        if source not in tensors:
            continue
        weight = numpy_helper.to_array(tensors[source]).astype(np.float64)
        largest = np.abs(weight).reshape(len(weight), -1).max(1)
        scale = (np.where(largest > 0, largest, 1.0) / TOP).astype(np.float32)
        levels = np.rint(weight / scale.astype(np.float64).reshape(-1, *[1] * (weight.ndim - 1)))
        for suffix, array in (("int8", levels.astype(np.int8)), ("scale", scale)):
            graph.initializer.append(numpy_helper.from_array(array, f"{source}.{suffix}"))
        node.input[1] = f"{source}.float"
        parts = [f"{source}.int8", f"{source}.scale"]
        made.append(helper.make_node("DequantizeLinear", parts, [node.input[1]], axis=0))
    nodes = [*made, *graph.node]
    used = {name for node in nodes for name in node.input} | {o.name for o in graph.output}
    kept = [n for n in nodes if n.op_type != "Cast" or used & set(n.output)]
    used = {name for node in kept for name in node.input}
    constants = [t for t in graph.initializer if t.name in used]
    fields: tuple[tuple[Any, Any], ...] = ((graph.node, kept), (graph.initializer, constants))
    for field, values in fields:
        copies: Any = [type(v).FromString(v.SerializeToString()) for v in values]
        del field[:]
        field.extend(copies)
    onnx.checker.check_model(out)
    return out


def _changed_by_compiler(graph: onnx.GraphProto) -> set[str]:
    """Outputs of the convolutions whose weights the compiler multiplies by others."""
    sizes = {t.name: tuple(t.dims) for t in graph.initializer}
    casts = {n.output[0]: n.input[0] for n in graph.node if n.op_type == "Cast"}
    uses = Counter(name for node in graph.node for name in node.input)
    convs = {n.output[0]: n for n in graph.node if n.op_type == "Conv"}
    pictures = {value.name for value in graph.input}
    found = {name for name, node in convs.items() if node.input[0] in pictures}
    for name, node in convs.items():
        first = convs.get(node.input[0])
        if first is None or uses[first.output[0]] > 1:
            continue
        before, after = (sizes.get(casts.get(n.input[1], n.input[1])) for n in (first, node))
        if before is None or after is None or after[2:] != (1, 1):
            continue
        joined = math.prod(before[1:]) * after[0]
        if joined < math.prod(before) + math.prod(after):
            found |= {name, first.output[0]}
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    options = parser.parse_args(arguments)
    try:
        model = with_int8_weights(onnx.load(options.source))
    except (OSError, onnx.checker.ValidationError) as error:
        print(f"error: {options.source}: {error}", file=sys.stderr)
        return 1
    replace_file(options.target, model.SerializeToString(deterministic=True))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
