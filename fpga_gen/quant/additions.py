"""Sums of maps as convolutions: each map through a 1x1 kernel with its factor on the diagonal.

A factor is 256 * high + low, two weights of the channel's column. The first sums are of the high
ones; the shift that joins the byte planes of a 16-bit map multiplies them by 256 before the low
ones are added. All factors of a sum may be multiplied by one number, which the requantisation
divides by: of the many there are, the one for which the codes hold them best is taken.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from fpga_gen.contract.column_kinds import weight_codes
from fpga_gen.contract.numerics import U8, Sp2Code, WeightCode, multiplier
from fpga_gen.quant.ir import QAdd, QConv, QConvTerm, QTensor
from fpga_gen.quant.weights import is_dense

MAX_ERROR = 0.1
FACTOR, LEAST_RATIO, RATIOS = 32767, 0.02, 64  # what `holds_sums` tries
POINT = {"stride": (1, 1), "pads": (0, 0, 0, 0), "dilation": (1, 1)}


@dataclass(frozen=True, eq=False)
class _Factors:
    """The factors above 0 that a code holds, ascending: values = 256 * high + low, int64 each."""

    values: np.ndarray
    high: np.ndarray
    low: np.ndarray


@lru_cache
def _factors(code: WeightCode) -> _Factors:
    """A low weight is never 0, and a high one in the smallest factors alone: so almost every sum
    takes as many weight slots as the stand-in's."""
    levels = code.levels.astype(np.int64)
    high, low = (a.reshape(-1) for a in np.meshgrid(levels, levels[levels != 0], indexing="ij"))
    values, first = np.unique(256 * high + low, return_index=True)
    first = first[values > 0]
    return _Factors(values[values > 0], high[first], low[first])


def _nearest(values: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Index of the nearest of the ascending values."""
    at = np.clip(np.searchsorted(values, wanted), 1, len(values) - 1)
    return at - (wanted - values[at - 1] < values[at] - wanted)


@lru_cache
def held_factors(
    factors: tuple[int, ...], reaches: tuple[int, ...], code: WeightCode
) -> tuple[np.ndarray, np.ndarray, float]:
    """(high, low, scale): factors[i] is about (256 * high[i] + low[i]) / scale, for factors that
    are not 0. The scale is the one with the least squared error of a sum of values of up to
    reaches[i]."""
    held = _factors(code)
    size = np.abs(np.array(factors, np.float64))
    scales = held.values[held.high != 0] / size.max()
    index = _nearest(held.values, size[:, None] * scales)
    error = (held.values[index] / scales - size[:, None]) * np.array(reaches)[:, None]
    best = int(np.square(error).sum(0).argmin())
    sign = np.sign(factors).astype(np.int64)
    chosen = index[:, best]
    return sign * held.high[chosen], sign * held.low[chosen], float(scales[best])


@lru_cache
def holds_sums(code: WeightCode) -> bool:
    """Whether the factors of any two maps are held so well that the largest value of the coarser
    one is off by less than MAX_ERROR of its steps. A ratio below the least that is tried moves no
    result by much more."""
    if is_dense(code):
        return True
    for ratio in np.geomspace(LEAST_RATIO, 1, RATIOS):
        factors = (FACTOR, round(FACTOR * ratio))
        high, low, scale = held_factors(factors, (U8.reach, U8.reach), code)
        error = (256 * high + low) / scale - np.array(factors)
        if np.abs(error).max() * U8.reach >= MAX_ERROR * FACTOR:
            return False
    return True


def as_convolution(node: QAdd, tensors: dict[str, QTensor], sp2: Sp2Code) -> QConv | None:
    """The sum of two 8-bit maps as a convolution; None for any other, for weight codes that do not
    hold its factors, and for a result too small for a multiplier."""
    out = tensors[node.output]
    maps = [tensors[name] for name in node.inputs]
    narrow = all(t.format.bits == 8 for t in (out, *maps))
    if not narrow or len(maps) != 2 or len({t.name for t in maps}) != 2 or 0 in node.factors:
        return None
    assert out.kinds is not None
    if not all(holds_sums(code) for kind, code in weight_codes(sp2).items() if kind in out.kinds):
        return None
    kinds, codes = np.array(out.kinds), weight_codes(sp2)
    reaches = tuple(t.format.reach for t in maps)
    weights = np.zeros((2, len(maps), out.channels), np.int8)
    mult, shift = np.zeros((2, out.channels), np.int32)
    for kind in np.unique(kinds):
        high, low, scale = held_factors(node.factors, reaches, codes[int(kind)])
        columns = kinds == kind
        weights[0][:, columns], weights[1][:, columns] = high[:, None], low[:, None]
        try:
            mult[columns], shift[columns] = multiplier(node.mult / 2.0**node.shift / scale)
        except ValueError:
            return None
    terms = tuple(
        QConvTerm(
            (t.name,),
            np.diag(weights[low, i])[:, :, None, None],
            low=bool(low),
            asked=out.channels,
            **POINT,
        )
        for low in (0, 1)
        for i, t in enumerate(maps)
    )
    none = np.zeros(out.channels, np.int32)
    return QConv(
        node.name, terms, node.output, True, none, mult, shift, node.epilogue, node.onnx_name
    )
