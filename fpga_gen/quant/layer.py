"""Quantisation of one convolution: folding of scales, rounding, bias, 32-bit bound."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from fpga_gen.contract.epilogue import Epilogue
from fpga_gen.contract.numerics import ACC_BITS, multiplier
from fpga_gen.errors import QuantError
from fpga_gen.graph.ir import Activation, Conv, term_weights
from fpga_gen.quant.calibrate import LayerMoments, compact_weight, dense_weight
from fpga_gen.quant.curves import SumGrid, curve_table
from fpga_gen.quant.ir import QConv, QConvTerm, QTensor
from fpga_gen.quant.options import QuantOptions
from fpga_gen.quant.segments import Segment, on_whole_maps
from fpga_gen.quant.weights import Codes, compensated, round_nearest, search_scales

ACC_LIMIT = 2 ** (ACC_BITS - 1)
BIAS_LIMIT = ACC_LIMIT / 2
# Largest contribution of one input to a partial sum, per unit of weight, with room for the
# offsets of stored bytes (128 for 'u8', 128 for the low plane of 'i16').
BOUND_8 = 256
BOUND_16 = 2**15 + 256


def stored_epilogue(activation: Activation, out: QTensor, sums: SumGrid | None = None) -> Epilogue:
    """The epilogue of a node with this activation and output. sums: see `sum_grid`; None will do
    for a clip."""
    fmt = out.format
    if not activation.is_clip:
        assert sums is not None
        return Epilogue.through(curve_table(activation, sums, out), fmt)
    lo = fmt.lo if activation.lo == -np.inf else round(activation.lo / out.scale) + fmt.zero
    hi = fmt.hi if activation.hi == np.inf else round(activation.hi / out.scale) + fmt.zero
    return Epilogue(fmt, int(np.clip(lo, fmt.lo, fmt.hi)), int(np.clip(hi, fmt.lo, fmt.hi)))


def exact_multiplier(scale: float, name: str) -> tuple[int, int]:
    """`numerics.multiplier` with an error that names the layer."""
    try:
        return multiplier(scale)
    except ValueError as error:
        raise QuantError(
            f"layer '{name}': {error}; its output range is far below what its inputs produce, "
            "calibrate on images that the network reacts to"
        ) from error


@dataclass(frozen=True, eq=False)
class FoldedConv:
    """A Conv in integer units of its inputs: real = sum of weight * v (* 256) + bias.

    weight: (F, Kc) compact, real per unit of v; columns: (1 or F, Kc) im2col columns; unit, bound:
    (K,) real value of one unit of an im2col column and the largest |unit count| (see BOUND_8);
    scales, errors: by column kind, (F,) each; fixed: by kind, (F,) filters with imported integer
    weights, which rounding must not compensate.
    """

    node: Conv
    segments: tuple[tuple[Segment, ...], ...]
    wide: bool
    weight: np.ndarray
    columns: np.ndarray
    unit: np.ndarray
    bound: np.ndarray
    scales: dict[int, np.ndarray]
    errors: dict[int, np.ndarray]
    signal: np.ndarray
    fixed: dict[int, np.ndarray] | None = None


def select(kinds: np.ndarray, by_kind: Mapping[int, np.ndarray]) -> np.ndarray:
    """Row f of the entry for kinds[f]; kinds: (F,), entries: (F, ...)."""
    out = np.empty_like(next(iter(by_kind.values())))
    for kind in np.unique(kinds):
        rows = kinds == kind
        out[rows] = by_kind[int(kind)][rows]
    return out


def input_units(
    node: Conv, segments: tuple[tuple[Segment, ...], ...], tensors: dict[str, QTensor]
) -> tuple[bool, np.ndarray, np.ndarray]:
    """(wide, unit (K,), bound (K,)) of a convolution's im2col columns, see `FoldedConv`."""
    wide = any(tensors[s.tensor].format.bits == 16 for parts in segments for s in parts)
    units, bounds = [], []
    for term, parts in zip(node.terms, segments, strict=True):
        taps = term.weight.shape[2] * term.weight.shape[3]
        for part in parts:
            tensor = tensors[part.tensor]
            narrow = wide and tensor.format.bits == 8
            count = len(part.channels) * taps
            units.append(np.full(count, tensor.scale / (256 if narrow else 1)))
            bound = BOUND_16 if tensor.format.bits == 16 else BOUND_8 * (256 if narrow else 1)
            bounds.append(np.full(count, float(bound)))
    return wide, np.concatenate(units), np.concatenate(bounds)


def fold(
    node: Conv,
    segments: tuple[tuple[Segment, ...], ...],
    tensors: dict[str, QTensor],
    moments: LayerMoments,
    codes: Codes,
    options: QuantOptions,
) -> FoldedConv:
    """Fold the inputs' scales into the weights and search the best scale of every filter on every
    kind of column that there is a code for."""
    wide, unit, bound = input_units(node, segments, tensors)
    weight, columns = compact_weight(node)
    folded = (weight * unit[columns]).astype(np.float32)
    power = moments.variance + (0 if options.compensate else np.square(moments.mean))
    # a level of the input is never certain to better than its own rounding error
    importance = power / np.square(unit) + np.where(bound == BOUND_8 * 256, 65536, 1) / 12
    heavy = importance[columns]
    scales, errors = {}, {}
    for kind, code in codes.items():
        scales[kind], errors[kind] = search_scales(folded, heavy, code)
    signal = (np.square(folded, dtype=np.float64) * heavy).sum(1)
    return FoldedConv(
        node, segments, wide, folded, columns, unit, bound, scales, errors, signal
    )  # fmt: skip


def _overflow(
    layer: FoldedConv, scale: np.ndarray, levels: np.ndarray, bias: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """(over (F,), factor (F,)): filters that break the 32-bit bound and how far they do."""
    reach = (np.abs(levels.astype(np.float64)) * layer.bound[layer.columns]).sum(1)
    total = reach + np.abs(bias / scale) + 1
    return total >= ACC_LIMIT, total / ACC_LIMIT


def _rounded(
    layer: FoldedConv,
    scale: np.ndarray,
    kinds: np.ndarray,
    moments: LayerMoments,
    codes: Codes,
    options: QuantOptions,
) -> np.ndarray:
    """Integer weights (F, Kc)."""
    if not options.compensate:
        return round_nearest(layer.weight, scale, kinds, codes)
    levels = np.zeros(layer.weight.shape, np.int8)
    sparse = any(t.sparse for t in layer.node.terms)
    for batch in moments.batches:
        rows = batch.filters[:, :, None]
        unit = layer.unit[batch.columns]
        second = moments.covariance(batch) / (unit[:, :, None] * unit[:, None, :])
        try:
            levels[rows, batch.compact] = compensated(
                layer.weight[rows, batch.compact],
                second,
                scale[batch.filters],
                kinds[batch.filters],
                codes,
                options.damping,
                layer.weight[rows, batch.compact] == 0 if sparse else None,
            )
        except ValueError as error:
            raise QuantError(
                f"layer '{layer.node.name}': {error}: calibrate on other images"
            ) from error
    if layer.fixed is not None:
        rows = np.zeros(kinds.shape, bool)
        for kind, fixed in layer.fixed.items():
            rows |= fixed & (kinds == kind)
        levels[rows] = round_nearest(layer.weight[rows], scale[rows], kinds[rows], codes)
    return levels


def quantise_conv(
    layer: FoldedConv,
    out: QTensor,
    moments: LayerMoments,
    codes: Codes,
    options: QuantOptions,
    depths: dict[str, int],
    sums: SumGrid,
) -> QConv:
    """Round the weights of a folded layer for the column kinds of its output tensor.

    depths: channels of every map; sums: grid of the requantised sums. Raises QuantError if no scale
    keeps the accumulator within 32 bits.
    """
    node = layer.node
    kinds = np.asarray(out.kinds)
    bias = node.bias.astype(np.float64) + sums.offset * sums.scale
    scale = select(kinds, layer.scales)
    scale = np.where(scale > 0, scale, sums.scale / 256)
    scale = np.maximum(scale, np.abs(bias) / BIAS_LIMIT)

    plain = round_nearest(layer.weight, scale, kinds, codes)
    over, factor = _overflow(layer, scale, plain, bias)
    scale = np.where(over, scale * factor * 1.05, scale)
    levels = _rounded(layer, scale, kinds, moments, codes, options)
    mean = (moments.mean / layer.unit)[layer.columns]
    for _ in range(16):
        corrected = bias
        if options.compensate:
            residue = layer.weight - scale[:, None] * levels
            corrected = bias + (residue * mean).sum(1)
        over, factor = _overflow(layer, scale, levels, corrected)
        if not over.any():
            break
        scale = np.where(over, scale * factor * 1.05, scale)
        levels[over] = round_nearest(layer.weight[over], scale[over], kinds[over], codes)
    else:
        raise QuantError(
            f"layer '{node.name}': filter {int(np.flatnonzero(over)[0])} cannot be kept within "
            "32-bit accumulators: its bias is too large for its weights; retrain with weight decay"
        )
    pairs = [exact_multiplier(s / sums.scale, node.name) for s in scale]
    return QConv(
        node.name,
        conv_terms(layer, levels, depths),
        node.output,
        layer.wide,
        np.rint(corrected / scale).astype(np.int32),
        np.array([m for m, _ in pairs], np.int32),
        np.array([s for _, s in pairs], np.int32),
        stored_epilogue(node.activation, out, sums),
        node.onnx_name,
    )


def conv_terms(
    layer: FoldedConv, levels: np.ndarray, depths: dict[str, int]
) -> tuple[QConvTerm, ...]:
    """The terms of a layer whose weights are `levels` (F, weights of a filter): over all channels
    of the maps that it reads, zero where it reads none."""
    terms, base = [], 0
    for term, parts in zip(layer.node.terms, layer.segments, strict=True):
        depth = term.weight[0].size
        part = levels[:, base : base + depth].reshape(term.weight.shape)
        base += depth
        names, weight = on_whole_maps(dense_weight(part, term.groups), parts, depths)
        weight = np.ascontiguousarray(weight)
        geometry = (term.stride, term.pads, term.dilation)
        terms.append(QConvTerm(names, weight, *geometry, asked=term_weights(term)))
    return tuple(terms)
