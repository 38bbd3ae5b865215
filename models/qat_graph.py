"""The compiler's graph as a PyTorch module that computes with the engine's numbers.

Every stored map is rounded to its 8 or 16 bits and every filter to the grid of its column, in the
forward pass; the backward pass lets gradients through unchanged where nothing saturates (straight
through). Maps, scales, formats and column kinds are those of the quantised graph that the compiler
made of the same network, so nothing is decided twice. The filters follow MSQ (Chang et al., "Mix
and Match", arXiv 2012.04240): each row of a layer is fixed point or SP2, in the ratio of the board;
scales are learned as in LSQ (Esser et al., arXiv 1902.08153).
"""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fpga_gen.graph.axis import exact_scale, resize_rows
from fpga_gen.graph.ir import (
    Add,
    AxisTable,
    Clip,
    Concat,
    Conv,
    Graph,
    HostInput,
    HostOp,
    MaxPool,
    Mul,
)
from fpga_gen.quant.calibrate import compact_weight
from fpga_gen.quant.ir import QConv, QTensor, QuantGraph
from fpga_gen.quant.layer import input_units
from fpga_gen.quant.numerics import SP2, Sp2Code
from fpga_gen.quant.ranges import segments_of
from fpga_gen.quant.weights import half_step_table

CELL = 0.49  # a latent weight starts at most so far from its level, in gaps to the next level


class _RoundMap(torch.autograd.Function):
    """clamp(round(x * inverse), lo, hi); gradient 1 * inverse where nothing was clamped."""

    @staticmethod
    def forward(ctx, x: Tensor, inverse: float, lo: float, hi: float, dtype: torch.dtype) -> Tensor:
        levels = x * inverse
        ctx.save_for_backward((levels >= lo) & (levels <= hi))
        ctx.inverse, ctx.dtype = inverse, x.dtype
        return levels.clamp_(lo, hi).round_().to(dtype)

    @staticmethod
    def backward(ctx, grad: Tensor):
        (inside,) = ctx.saved_tensors
        return (grad.to(ctx.dtype) * inside).mul_(ctx.inverse), None, None, None, None


class _RoundWeight(torch.autograd.Function):
    """Levels of (F, K) weights in level units; rows `sp2` on the SP2 grid, the others integer."""

    @staticmethod
    def forward(ctx, x: Tensor, sp2: Tensor, table: Tensor, top: int) -> Tensor:
        levels = x.round().clamp_(-top, top)
        reach = torch.full((x.shape[0], 1), float(top), dtype=x.dtype, device=x.device)
        if sp2.numel():
            size = table.numel() // 4
            index = (x[sp2] * 2).floor_().add_(2 * size).clamp_(0, table.numel() - 1)
            levels[sp2] = table[index.long()]
            reach[sp2] = float(size)
        ctx.save_for_backward(x.abs() <= reach)
        return levels

    @staticmethod
    def backward(ctx, grad: Tensor):
        (inside,) = ctx.saved_tensors
        return grad * inside, None, None, None


def start_latent(folded: np.ndarray, levels: np.ndarray, grids: list[np.ndarray]) -> np.ndarray:
    """Float weights (F, K) in level units, moved into the cells of the compiler's levels.

    Training then starts from exactly what post-training quantisation found, with every weight as
    near to its float value as that allows. grids: the sorted levels of each row.
    """
    start = np.empty_like(folded, dtype=np.float64)
    for row, grid in enumerate(grids):
        edges = np.concatenate([[-np.inf], grid.astype(np.float64), [np.inf]])
        at = np.searchsorted(grid, levels[row]) + 1
        low = levels[row] - CELL * (edges[at] - edges[at - 1])
        high = levels[row] + CELL * (edges[at + 1] - edges[at])
        start[row] = np.clip(folded[row], np.maximum(low, grid[0]), np.minimum(high, grid[-1]))
    return start


class QuantConv(nn.Module):
    """One Conv: weights as (F, K) latents in units of the row's root mean square."""

    def __init__(
        self,
        node: Conv,
        qconv: QConv,
        tensors: dict[str, QTensor],
        segments: tuple[tuple[str, ...], ...],
        code: Sp2Code,
        top: int,
    ) -> None:
        super().__init__()
        self.node, self.segments, self.top = node, segments, top
        out = tensors[node.output]
        self.wide, unit, _ = input_units(node, segments, tensors)
        weight, columns = compact_weight(node)
        self.unit = unit[columns]  # (1 or F, K): real value of one unit of the input
        scale = qconv.mult / 2.0**qconv.shift * out.scale
        levels = np.concatenate([_compact(q.weight, t) for q, t in _terms(qconv, node)], 1)
        kinds = np.asarray(out.kinds)
        fixed = np.arange(-top, top + 1)
        grids = [code.levels if kind == SP2 else fixed for kind in kinds]
        latent = start_latent(weight * self.unit / scale[:, None], levels, grids)
        rms = np.sqrt(np.square(latent).mean(1))
        rms = np.where(rms > 0, rms, 1.0)
        as_float = {"dtype": torch.float32}
        self.latent = nn.Parameter(torch.tensor(latent / rms[:, None], **as_float))
        self.log_scale = nn.Parameter(torch.zeros(len(scale)))
        self.bias_step = 64 * out.scale
        self.bias = nn.Parameter(torch.tensor(qconv.bias * scale / self.bias_step, **as_float))
        self.register_buffer("scale", torch.tensor(scale, **as_float))
        self.register_buffer("rms", torch.tensor(rms, **as_float))
        self.register_buffer("sp2", torch.tensor(np.flatnonzero(kinds == SP2)))
        self.register_buffer("table", torch.tensor(half_step_table(code)))

    def levels(self) -> Tensor:
        """Integer weights (F, K), float32."""
        return _RoundWeight.apply(
            self.latent * (self.rms * torch.exp(-self.log_scale))[:, None],
            self.sp2,
            self.table,
            self.top,
        )

    def row_scale(self) -> Tensor:
        """(F,) real value of one level times one unit of the input."""
        return self.scale * torch.exp(self.log_scale)

    def forward(self, inputs: list[Tensor], dtype: torch.dtype) -> Tensor:
        """Real values (N, F, H, W), float32, of integer maps, one tensor per term."""
        levels, base = self.levels(), 0
        total: Tensor | None = None
        dtype = torch.float32 if self.wide else dtype
        for term, x in zip(self.node.terms, inputs, strict=True):
            depth = term.weight[0].size
            weight = levels[:, base : base + depth].reshape(term.weight.shape)
            base += depth
            top, left, bottom, right = term.pads
            pads = (top, left)
            if (top, left) != (bottom, right):
                x, pads = F.pad(x, (left, right, top, bottom)), (0, 0)
            part = F.conv2d(
                x.to(dtype), weight.to(dtype), None, term.stride, pads, term.dilation, term.groups
            ).float()
            total = part if total is None else total + part
        assert total is not None
        shape = (1, -1, 1, 1)
        bias = (self.bias * self.bias_step).view(shape)
        return torch.addcmul(bias, total, self.row_scale().view(shape))

    @torch.no_grad()
    def float_node(self) -> Conv:
        """The Conv in float32, its weights on the folded grid of every row."""
        scale = self.row_scale().double().numpy()[:, None]
        weight = self.levels().double().numpy() * scale / self.unit
        terms, base = [], 0
        for term in self.node.terms:
            depth = term.weight[0].size
            part = weight[:, base : base + depth].reshape(term.weight.shape)
            terms.append(replace(term, weight=part.astype(np.float32), grid=None))
            base += depth
        bias = (self.bias.double() * self.bias_step).numpy().astype(np.float32)
        return replace(self.node, terms=tuple(terms), bias=bias)


def _terms(qconv: QConv, node: Conv):
    return zip(qconv.terms, node.terms, strict=True)


def _compact(weight: np.ndarray, term) -> np.ndarray:
    """(F, C, kh, kw) with zeros outside of the groups -> (F, K) without them."""
    filters, per_group = term.weight.shape[:2]
    step = filters // term.groups
    parts = [
        weight[g * step : (g + 1) * step, g * per_group : (g + 1) * per_group]
        for g in range(term.groups)
    ]
    return np.concatenate(parts).reshape(filters, -1)


class QuantNet(nn.Module):
    """[N, 3, H, W] normalised pictures -> what the network's first output is before a sigmoid.

    graph: optimised float graph; qgraph: what `quantise` made of it; top: largest fixed-point
    level; dtype: in which convolutions of 8-bit maps multiply (bfloat16 holds the operands
    exactly and rounds the sums).
    """

    def __init__(self, graph: Graph, qgraph: QuantGraph, top: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.graph, self.tensors, self.dtype = graph, qgraph.tensors, dtype
        segments = segments_of(graph)
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
                self.convs[key] = QuantConv(node, qconv, qgraph.tensors, names, qgraph.sp2, top)
        self.host_ops = [o for o in graph.host_ops if o.target == graph.outputs[0]]
        unknown = {o.kind for o in self.host_ops} - {"resize", "sigmoid"}
        if unknown:
            raise ValueError(f"the network ends in {sorted(unknown)}: masks come from logits")

    def _stored(self, name: str, real: Tensor, clip: Clip) -> Tensor:
        """Integers v of a map from its real values."""
        t = self.tensors[name]
        lo = max(t.format.lo - t.format.zero, round(max(clip.lo, -1e30) / t.scale))
        hi = min(t.format.hi - t.format.zero, round(min(clip.hi, 1e30) / t.scale))
        dtype = self.dtype if t.format.bits == 8 else torch.float32
        return _RoundMap.apply(real, 1 / t.scale, lo, hi, dtype)

    def _gather(self, conv: QuantConv, values: dict[str, Tensor]) -> list[Tensor]:
        inputs = []
        for names in conv.segments:
            parts = []
            for name in names:
                narrow = conv.wide and self.tensors[name].format.bits == 8
                parts.append(values[name].float() * 256 if narrow else values[name])
            inputs.append(parts[0] if len(parts) == 1 else torch.cat(parts, 1))
        return inputs

    def forward(self, images: Tensor) -> Tensor:
        graph, tensors = self.graph, self.tensors
        x = _prepared(images, graph.host_input)
        values = {graph.input: self._stored(graph.input, x, Clip())}

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
                y = _resample(real(node.input), node.y, node.x)
            values[node.output] = self._stored(node.output, y, node.clip)
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
        for i, row in enumerate(rows):
            for index, weight in row.items():
                matrix[i, index] = float(weight)
        matrices.append(torch.from_numpy(matrix).to(x))
    return matrices[0] @ x @ matrices[1].T
