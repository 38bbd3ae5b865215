"""Weight grids, per-filter scales and rounding to nearest or with error compensation.

Error-compensated rounding follows Frantar et al., "GPTQ" (arXiv 2210.17323): weights are rounded
one input at a time and the inputs not yet rounded absorb the error, so that
(W - Q) S (W - Q)^T falls, where S holds the second central moments of the layer's inputs.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

import numpy as np
from scipy.linalg import get_lapack_funcs

from fpga_gen.contract.numerics import WeightCode

LAZY = 64  # columns rounded before their errors reach the remaining ones in one product
Codes = Mapping[int, WeightCode]  # by column kind, see column_kinds.weight_codes
FINE_LEVELS = 128  # codes with more have 8 bits and all integers that these hold
FINE_SHRINK = np.linspace(1.0, 0.7, 7)
COARSE_SHRINK = np.append(1.0, np.geomspace(1.1, 0.35, 24))
SEARCH_BYTES = 1 << 21
CHOLESKY_RETRIES = 10  # the last one adds 10^7 times the mean of the diagonal
_POTRF, _TRTRI = get_lapack_funcs(("potrf", "trtri"), dtype=np.float64)


def is_dense(code: WeightCode) -> bool:
    """Whether the levels are all integers up to the largest one."""
    return len(code.levels) == 2 * code.max_level + 1


@cache
def half_step_table(code: WeightCode) -> np.ndarray:
    """Nearest level for x in [j/2, (j+1)/2), j from -2*max_level: midpoints are half integers."""
    top = code.max_level
    centres = (np.arange(-2 * top, 2 * top) + 0.5) / 2
    return code.levels[np.abs(centres[:, None] - code.levels).argmin(1)].astype(np.float32)


def nearest(x: np.ndarray, code: WeightCode) -> np.ndarray:
    """Nearest level of every element: in x's dtype if the code is dense, else float32."""
    top = code.max_level
    if is_dense(code):
        return np.clip(np.rint(x), -top, top)
    table = half_step_table(code)
    index = np.floor(2 * x).astype(np.int32) + 2 * top
    return table[np.clip(index, 0, table.size - 1)]


def search_scales(
    weight: np.ndarray, importance: np.ndarray, code: WeightCode
) -> tuple[np.ndarray, np.ndarray]:
    """Per-filter scale with the least importance-weighted squared rounding error.

    weight: (F, K) folded weights; importance: (F or 1, K) diagonal of the second moments; code: of
    the column kind that computes them.
    Returns (scale (F,), error (F,)); the scale is 0 for a filter without weights.
    """
    steps = FINE_SHRINK if len(code.levels) > FINE_LEVELS else COARSE_SHRINK
    filters, depth = weight.shape
    scale = np.zeros(filters)
    error = np.zeros(filters)
    rows = max(1, SEARCH_BYTES // (4 * max(1, depth)))
    for first in range(0, filters, rows):
        part = np.ascontiguousarray(weight[first : first + rows], np.float32)
        heavy = importance if importance.shape[0] == 1 else importance[first : first + rows]
        heavy = heavy.astype(np.float32)
        largest = np.abs(part).max(1).astype(np.float64) / code.max_level
        safe = np.where(largest > 0, largest, 1.0)
        best = np.full(part.shape[0], np.inf)
        chosen = safe.copy()
        for step in steps:
            trial = (safe * step)[:, None].astype(np.float32)
            residue = part - trial * nearest(part / trial, code)
            cost = (residue * residue * heavy).sum(1, dtype=np.float64)
            better = cost < best
            best[better] = cost[better]
            chosen[better] = (safe * step)[better]
        scale[first : first + rows] = np.where(largest > 0, chosen, 0.0)
        error[first : first + rows] = np.where(largest > 0, best, 0.0)
    return scale, error


def round_nearest(
    weight: np.ndarray, scale: np.ndarray, kinds: np.ndarray, codes: Codes
) -> np.ndarray:
    """Integer weights (int8) of (..., F, K) with scales and kinds (..., F), nearest level."""
    x = weight / np.where(scale > 0, scale, 1.0)[..., None]
    kinds = np.broadcast_to(kinds, x.shape[:-1])
    out = np.empty(x.shape, np.int8)
    for kind in np.unique(kinds):
        rows = kinds == kind
        out[rows] = nearest(x[rows], codes[int(kind)])
    return out


def moment_error(residue: np.ndarray, moments: np.ndarray) -> np.ndarray:
    """Objective diag(E S E^T) of every filter: residue (B, f, K), moments (B, K, K) -> (B, f)."""
    return np.einsum("bfk,bfk->bf", residue @ moments, residue)


def damped(moments: np.ndarray, damping: float) -> np.ndarray:
    """Moments (B, K, K) plus `damping` times the mean of their diagonal (at least 1e-12)."""
    depth = moments.shape[-1]
    mean = np.einsum("bkk->b", moments) / depth
    extra = np.maximum(damping * mean, 1e-12)
    return moments + extra[:, None, None] * np.eye(depth, dtype=moments.dtype)


def _inverse_factor(moments: np.ndarray) -> np.ndarray:
    """Upper U with inverse(S) = U^T U for every (K, K) of the batch.

    With J the reversal, J S J = L L^T gives S = R R^T, R = J L J upper, hence U = R^-1. ValueError
    if S is no matrix of moments.
    """
    if not np.isfinite(moments).all():
        raise ValueError("the moments of its inputs are not finite")
    flipped = moments[:, ::-1, ::-1].astype(np.float64)
    if moments.shape[0] > 1:
        try:
            lower = np.linalg.cholesky(flipped)
        except np.linalg.LinAlgError:
            lower = np.stack([_lower_factor(block) for block in flipped])
        return np.linalg.inv(lower[:, ::-1, ::-1]).astype(np.float32)
    inverse, info = _TRTRI(_lower_factor(flipped[0])[::-1, ::-1], lower=0)
    assert info == 0, "a Cholesky factor has a positive diagonal"
    return inverse[None].astype(np.float32)


def _lower_factor(moments: np.ndarray) -> np.ndarray:
    """Cholesky factor of (K, K); where rounding made a tiny eigenvalue negative, of the matrix with
    as much more on its diagonal as it takes. ValueError if that does not help."""
    base = max(float(np.trace(moments)) / len(moments), 1e-12)
    for extra in (0.0, *(0.01 * base * 10.0**n for n in range(CHOLESKY_RETRIES))):
        trial = moments.copy()
        trial[np.diag_indices_from(trial)] += extra
        lower, info = _POTRF(trial, lower=1, clean=1)
        if info == 0:
            return lower
    raise ValueError("the moments of its inputs have no Cholesky factor")


def compensated(
    weight: np.ndarray,
    moments: np.ndarray,
    scale: np.ndarray,
    kinds: np.ndarray,
    codes: Codes,
    damping: float,
    absent: np.ndarray | None = None,
) -> np.ndarray:
    """Integer weights (int8) with compensated rounding errors; never worse than to nearest.

    weight: (B, f, K) folded weights of B independent blocks; moments: (B, K, K); scale: (B, f);
    kinds: (B, f). A filter for which rounding to nearest is better keeps that. A weight of 0 stays
    0: it may be one of a slot that the engine leaves out.
    """
    blocks, filters, depth = weight.shape
    moments = damped(moments.astype(np.float32), damping)
    plain = round_nearest(weight, scale, kinds, codes)
    order = np.argsort(-np.einsum("bkk->bk", moments), axis=1, kind="stable")
    sorted_moments = np.take_along_axis(
        np.take_along_axis(moments, order[:, :, None], 1), order[:, None, :], 2
    )
    upper = _inverse_factor(sorted_moments)
    divisor = np.where(scale > 0, scale, 1.0).astype(np.float32)
    # in units of each filter's scale; (K, B, f) makes one step contiguous
    left = np.take_along_axis(weight / divisor[..., None], order[:, None, :], 2)
    left = np.ascontiguousarray(left.transpose(0, 2, 1), np.float32)  # (B, K, f)
    chosen = np.empty_like(left)
    zero = left == 0
    any_zero = bool(zero.any())
    found = [(kinds == kind, codes[int(kind)]) for kind in np.unique(kinds)]
    for first in range(0, depth, LAZY):
        end = min(depth, first + LAZY)
        errors = np.empty((blocks, end - first, filters), np.float32)
        for k in range(first, end):
            now = left[:, k]
            level = nearest(now, found[0][1])
            for rows, code in found[1:]:
                level = np.where(rows, nearest(now, code), level)
            if any_zero:
                level = np.where(zero[:, k], np.float32(0), level)
            chosen[:, k] = level
            error = (now - level) / upper[:, k, k, None]
            errors[:, k - first] = error
            left[:, k + 1 : end] -= upper[:, k, k + 1 : end, None] * error[:, None, :]
        if end < depth:
            left[:, end:] -= upper[:, first:end, end:].transpose(0, 2, 1) @ errors
    back = np.argsort(order, axis=1)
    result = np.take_along_axis(chosen.transpose(0, 2, 1), back[:, None, :], 2).astype(np.int8)
    unit = divisor[..., None]
    better = moment_error(weight - unit * result, moments) < moment_error(
        weight - unit * plain, moments
    )
    return np.where(better[..., None], result, plain)
