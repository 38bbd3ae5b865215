"""Rounding of maps and weights with straight-through gradients, and the convolution made of it.

The filters follow MSQ (Chang et al., "Mix and Match", arXiv 2012.04240): each row of a layer is on
the grid of its column, fixed point or SP2, in the ratio of the board; scales are learned as in LSQ
(Esser et al., arXiv 1902.08153).
"""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fpga_gen.graph.ir import Conv, ConvTerm
from fpga_gen.quant.calibrate import compact_weight
from fpga_gen.quant.ir import QConv, QConvTerm, QTensor
from fpga_gen.quant.layer import input_units
from fpga_gen.quant.segments import Segment
from fpga_gen.quant.weights import Codes, half_step_table, is_dense

CELL = 0.49  # a latent weight starts at most so far from its level, in gaps to the next level


class RoundMap(torch.autograd.Function):
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
    """Levels of (F, K) weights in level units. reach: (F, 1) largest level of each row; tables:
    (rows, half-step table of their grid) of the rows whose grid is not all integers."""

    @staticmethod
    def forward(ctx, x: Tensor, reach: Tensor, tables: list[tuple[Tensor, Tensor]]) -> Tensor:
        levels = x.round().clamp_(-reach, reach)
        for rows, table in tables:
            size = table.numel() // 4
            index = (x[rows] * 2).floor_().add_(2 * size).clamp_(0, table.numel() - 1)
            levels[rows] = table[index.long()]
        ctx.save_for_backward(x.abs() <= reach)
        return levels

    @staticmethod
    def backward(ctx, grad: Tensor):
        (inside,) = ctx.saved_tensors
        return grad * inside, None, None


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
    """One Conv: weights as (F, K) latents in units of the row's root mean square.

    A weight that is zero stays zero, so that what was pruned for zero skipping remains skipped.
    """

    def __init__(
        self,
        node: Conv,
        qconv: QConv,
        tensors: dict[str, QTensor],
        segments: tuple[tuple[Segment, ...], ...],
        codes: Codes,
    ) -> None:
        super().__init__()
        self.node, self.segments = node, segments
        out = tensors[node.output]
        self.wide, unit, _ = input_units(node, segments, tensors)
        weight, columns = compact_weight(node)
        self.unit = unit[columns]  # (1 or F, K): real value of one unit of the input
        scale = qconv.mult / 2.0**qconv.shift * out.scale
        levels = np.concatenate([_compact(q.weight, t) for q, t in _terms(qconv, node)], 1)
        kinds = np.asarray(out.kinds)
        row_codes = [codes[int(kind)] for kind in kinds]
        grids = [code.levels for code in row_codes]
        latent = start_latent(weight * self.unit / scale[:, None], levels, grids)
        rms = np.sqrt(np.square(latent).mean(1))
        rms = np.where(rms > 0, rms, 1.0)
        as_float = {"dtype": torch.float32}
        self.latent = nn.Parameter(torch.tensor(latent / rms[:, None], **as_float))
        self.log_scale = nn.Parameter(torch.zeros(len(scale)))
        self.bias_step = 64 * out.scale
        self.bias = nn.Parameter(torch.tensor(qconv.bias * scale / self.bias_step, **as_float))
        live = torch.tensor((weight != 0) | (levels != 0))
        self.register_buffer("live", live, persistent=False)  # follows from the network
        self.register_buffer("scale", torch.tensor(scale, **as_float))
        self.register_buffer("rms", torch.tensor(rms, **as_float))
        reach = [[float(code.max_level)] for code in row_codes]
        self.register_buffer("reach", torch.tensor(reach, **as_float))
        self.tabled = [k for k, code in codes.items() if not is_dense(code) and k in kinds]
        for kind in self.tabled:
            self.register_buffer(f"rows{kind}", torch.tensor(np.flatnonzero(kinds == kind)))
            self.register_buffer(f"table{kind}", torch.tensor(half_step_table(codes[kind])))

    def levels(self) -> Tensor:
        """Integer weights (F, K), float32."""
        return _RoundWeight.apply(
            self.latent * self.live * (self.rms * torch.exp(-self.log_scale))[:, None],
            self.reach,
            [(getattr(self, f"rows{k}"), getattr(self, f"table{k}")) for k in self.tabled],
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


def _terms(qconv: QConv, node: Conv) -> Iterator[tuple[QConvTerm, ConvTerm]]:
    return zip(qconv.terms, node.terms, strict=True)


def _compact(weight: np.ndarray, term: ConvTerm) -> np.ndarray:
    """(F, C, kh, kw) with zeros outside of the groups -> (F, K) without them."""
    filters, per_group = term.weight.shape[:2]
    step = filters // term.groups
    parts = [
        weight[g * step : (g + 1) * step, g * per_group : (g + 1) * per_group]
        for g in range(term.groups)
    ]
    return np.concatenate(parts).reshape(filters, -1)
