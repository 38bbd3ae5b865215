"""The compiler's graph as a PyTorch module that computes with the engine's numbers.

Every stored map is rounded to its 8 or 16 bits and every filter to the grid of its column, in the
forward pass; the backward pass lets gradients through unchanged where nothing saturates (straight
through). Maps, scales, formats and column kinds are those of the quantised graph that the compiler
made of the same network, so nothing is decided twice.
"""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fpga_gen.graph.ir import (
    Activation,
    Add,
    AxisTable,
    Concat,
    Conv,
    Graph,
    Interleave,
    MaxPool,
    Mul,
    Resample,
    Select,
)
from fpga_gen.quant.ir import QConv, QuantGraph
from fpga_gen.quant.layer import stored_epilogue
from fpga_gen.quant.segments import sources_of
from fpga_gen.quant.weights import Codes
from fpga_gen_host.host_ops import HostOp, ancestors
from fpga_gen_host.model_input import HostInput
from fpga_gen_host.resample import exact_scale, resize_rows
from fpga_gen_models.qat_layers import QuantConv, RoundMap


class QuantNet(nn.Module):
    """[N, 3, H, W] normalised pictures -> what the network's first output is before a sigmoid.

    graph: optimised float graph; qgraph: what `quantise` made of it; codes: of the
    weights, by column kind; dtype: in which convolutions of 8-bit maps multiply (bfloat16 holds the
    operands exactly and rounds the sums).
    """

    def __init__(self, graph: Graph, qgraph: QuantGraph, codes: Codes, dtype: torch.dtype) -> None:
        super().__init__()
        self.graph, self.tensors, self.dtype = graph, qgraph.tensors, dtype
        if any(isinstance(n, Select | Interleave) for n in graph.nodes):
            raise ValueError(
                "the network reads parts of maps or interleaves their pixels: retraining knows "
                "whole maps only"
            )
        segments = sources_of(graph)
        qnodes = {n.output: n for n in qgraph.nodes}
        self.convs = nn.ModuleDict()
        self.names: dict[str, str] = {}
        for node in graph.nodes:
            if isinstance(node, Conv):
                names = tuple(segments[t.input] for t in node.terms)
                qconv = qnodes[node.output]
                assert isinstance(qconv, QConv)
                key = f"conv{len(self.names)}"
                self.names[node.output] = key
                self.convs[key] = QuantConv(node, qconv, qgraph.tensors, names, codes)
        self.host_ops = list(ancestors(graph, (graph.results or graph.outputs)[0]))
        unknown = {o.kind for o in self.host_ops} - {"resize", "sigmoid"}
        if unknown:
            raise ValueError(f"the network ends in {sorted(unknown)}: masks come from logits")

    def _stored(self, name: str, real: Tensor, activation: Activation) -> Tensor:
        """Integers v of a map from its real values."""
        t = self.tensors[name]
        epilogue = stored_epilogue(activation, t)
        lo, hi = epilogue.lo - t.format.zero, epilogue.hi - t.format.zero
        dtype = self.dtype if t.format.bits == 8 else torch.float32
        return RoundMap.apply(real, 1 / t.scale, lo, hi, dtype)

    def _gather(self, conv: QuantConv, values: dict[str, Tensor]) -> list[Tensor]:
        inputs = []
        for names in conv.segments:
            parts = []
            for segment in names:
                name = segment.tensor
                narrow = conv.wide and self.tensors[name].format.bits == 8
                parts.append(values[name].float() * 256 if narrow else values[name])
            inputs.append(parts[0] if len(parts) == 1 else torch.cat(parts, 1))
        return inputs

    def forward(self, images: Tensor) -> Tensor:
        graph, tensors = self.graph, self.tensors
        x = _prepared(images, graph.host_input)
        values = {graph.input: self._stored(graph.input, x, Activation())}

        def real(name: str) -> Tensor:
            return values[name].float() * tensors[name].scale

        for node in graph.nodes:
            if isinstance(node, Concat):
                continue
            if isinstance(node, Conv):
                conv = self.convs[self.names[node.output]]
                y = conv(self._gather(conv, values), self.dtype)
            elif isinstance(node, MaxPool):
                values[node.output] = _max_pool(values[node.input], node)
                continue
            elif isinstance(node, Add):
                y = sum(real(i) for i in node.inputs)
            elif isinstance(node, Mul):
                y = real(node.inputs[0]) * real(node.inputs[1])
            else:
                assert isinstance(node, Resample)
                y = _resample(real(node.input), node.y, node.x)
            values[node.output] = self._stored(node.output, y, node.activation)
        y = real(graph.outputs[0])
        for op in self.host_ops:
            if op.kind == "resize":
                y = _host_resize(y, op)
        return y

    def float_graph(self) -> Graph:
        """The graph with the trained weights, each on its row's grid."""
        nodes = tuple(
            self.convs[self.names[n.output]].float_node() if isinstance(n, Conv) else n
            for n in self.graph.nodes
        )
        return replace(self.graph, nodes=nodes)


def _prepared(images: Tensor, host: HostInput) -> Tensor:
    """Engine input of a batch, as `graph.interpreter.prepare_input` makes it of one picture."""
    top, left, bottom, right = host.pads
    x = F.pad(images, (left, right, top, bottom))
    if host.gain:
        gain, offset = (torch.tensor(v).to(x).view(1, -1, 1, 1) for v in (host.gain, host.offset))
        x = x * gain + offset
    b = host.space_to_depth
    n, c, h, w = x.shape
    x = x.view(n, c, h // b, b, w // b, b).permute(0, 3, 5, 1, 2, 4)
    return x.reshape(n, b * b * c, h // b, w // b).contiguous(memory_format=torch.channels_last)


def _max_pool(x: Tensor, node: MaxPool) -> Tensor:
    top, left, bottom, right = node.pads
    lowest = float(torch.finfo(x.dtype).min)
    x = F.pad(x, (left, right, top, bottom), value=lowest) if any(node.pads) else x
    return F.max_pool2d(x, node.kernel, node.stride, 0, node.dilation)


def _matrix(table: AxisTable, like: Tensor) -> Tensor:
    """(out, in) matrix of a table."""
    matrix = np.zeros((table.out_size, table.in_size), np.float32)
    for i, (start, row) in enumerate(zip(table.start, table.weights, strict=True)):
        for k, weight in enumerate(row):
            matrix[i, start + k] += weight / table.denominator
    return torch.from_numpy(matrix).to(like)


def _resample(x: Tensor, rows: AxisTable, columns: AxisTable) -> Tensor:
    return _matrix(rows, x) @ x @ _matrix(columns, x).T


def _host_resize(x: Tensor, op: HostOp) -> Tensor:
    a = op.attributes
    matrices = []
    for size, out, scale in zip(x.shape[2:], a["size"], a["scales"], strict=True):
        matrix = np.zeros((out, size), np.float32)
        rows = resize_rows(
            size, out, exact_scale(scale, size, out), a["mode"],
            a["coordinate_transformation_mode"], a["nearest_mode"],
        )  # fmt: skip
        for i, row in enumerate(rows.rows):
            for index, weight in row.items():
                matrix[i, index] = weight / rows.denominator
        matrices.append(torch.from_numpy(matrix).to(x))
    return matrices[0] @ x @ matrices[1].T
