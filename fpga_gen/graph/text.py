"""Stable text form of a graph, for golden files and for reading.

Weights appear as shape and mean magnitude (three digits), so that the text does not depend on the
order in which a BLAS library adds.
"""

from __future__ import annotations

import numpy as np

from fpga_gen.graph.axis import is_identity
from fpga_gen.graph.ir import Activation, Add, AxisTable, Concat, Conv, Graph, MaxPool, Mul, Node


def graph_text(graph: Graph) -> str:
    """One line per node, each ending with the shape of its output."""
    shape = "x".join(map(str, graph.tensors[graph.input].shape))
    model = "x".join(map(str, graph.host_input.model_shape))
    depth = graph.host_input.space_to_depth
    lines = [f"graph {graph.name}", f"input {graph.input}: {shape} <- {model} depth {depth}"]
    for node in graph.nodes:
        out = "x".join(map(str, graph.tensors[node.output].shape))
        lines.append(f"{node.output}: {out} = {_node_text(node)}")
    pairs = zip(graph.output_names, graph.outputs, strict=True)
    lines += [f"output {name} = {tensor}" for name, tensor in pairs]
    for op in graph.host_ops:
        attributes = " ".join(f"{k}={v}" for k, v in sorted(op.attributes.items()))
        lines.append(f"host {op.target}: {op.kind} {attributes}".rstrip())
    return "\n".join(lines) + "\n"


def _node_text(node: Node) -> str:
    if isinstance(node, Conv):
        terms = []
        for t in node.terms:
            text = f"{t.input} * {'x'.join(map(str, t.weight.shape))}"
            text += f" |{float(np.abs(t.weight).mean()):.3g}|"
            text += f" s{_pair(t.stride)}" if t.stride != (1, 1) else ""
            text += f" p{','.join(map(str, t.pads))}" if any(t.pads) else ""
            text += f" d{_pair(t.dilation)}" if t.dilation != (1, 1) else ""
            text += f" g{t.groups}" if t.groups != 1 else ""
            terms.append(text)
        return f"conv {' + '.join(terms)}{_then(node.activation)}"
    if isinstance(node, MaxPool):
        text = f"max_pool {node.input} k{_pair(node.kernel)} s{_pair(node.stride)}"
        text += f" p{','.join(map(str, node.pads))}" if any(node.pads) else ""
        return text + (f" d{_pair(node.dilation)}" if node.dilation != (1, 1) else "")
    if isinstance(node, Add):
        return f"add {' '.join(node.inputs)}{_then(node.activation)}"
    if isinstance(node, Mul):
        return f"mul {' '.join(node.inputs)}{_then(node.activation)}"
    if isinstance(node, Concat):
        return f"concat {' '.join(node.inputs)}"
    axes = f"y[{_axis_text(node.y)}] x[{_axis_text(node.x)}]"
    return f"resample {node.input} {axes}{_then(node.activation)}"


def _axis_text(table: AxisTable) -> str:
    if is_identity(table):
        return "copy"
    return f"{table.in_size}->{table.out_size} taps {table.taps} /{table.denominator}"


def _then(activation: Activation) -> str:
    text = activation.describe()
    return f" {text}" if text else ""


def _pair(pair: tuple[int, int]) -> str:
    return f"{pair[0]}" if pair[0] == pair[1] else f"{pair[0]},{pair[1]}"
