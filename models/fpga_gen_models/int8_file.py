"""Stores the convolution weights of an ONNX file as int8, one scale for each filter.

    python -m fpga_gen_models.int8_file network.onnx small.onnx

A quarter of a float32 file. The weights become DequantizeLinear of an integer constant, which every
runtime computes; zeros stay zeros. Needs no PyTorch.
"""

from __future__ import annotations

import argparse
import sys
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
    made: list[onnx.NodeProto] = []
    for node in graph.node:
        if node.op_type != "Conv":
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
