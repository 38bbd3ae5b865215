"""Activations that are no clip: the grid of the sums that index a table, and the table.

A requantised sum is one of 256 levels, real = scale * (level - offset); the table holds for each
the stored value of the activation there. The grid covers what of the calibrated sums changes the
result: where the activation is flat, as SiLU is below -6, sums may saturate.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fpga_gen.contract.isa import TABLE_ENTRIES
from fpga_gen.contract.numerics import I8
from fpga_gen.errors import QuantError
from fpga_gen.graph.ir import Activation
from fpga_gen.quant.ir import QTensor

KEPT = 1 << 14  # sums of one map of one image that are kept
MARGIN = 1.1  # of the range of the sums, as of a map's
SHRINK = (0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3)  # of an end of the widest range: what is tried
FINE = 4096  # points between the ends of a range


class SumSample:
    """Sums that an activation gets on the calibration images: a part of them, and their ends."""

    def __init__(self) -> None:
        self.parts: list[np.ndarray] = []
        self.lo, self.hi = np.inf, -np.inf

    def add(self, sums: np.ndarray) -> None:
        """Sums of one image."""
        flat = sums.reshape(-1)
        self.lo, self.hi = min(self.lo, float(flat.min())), max(self.hi, float(flat.max()))
        self.parts.append(flat[:: max(1, flat.size // KEPT) | 1].astype(np.float64))


@dataclass(frozen=True)
class SumGrid:
    """Levels of requantised sums: real = scale * (level - offset)."""

    scale: float
    offset: int = 0

    def real(self, levels: np.ndarray) -> np.ndarray:
        return self.scale * (levels - self.offset)

    def level(self, real: np.ndarray) -> np.ndarray:
        return np.clip(np.rint(real / self.scale) + self.offset, I8.lo, I8.hi)

    @staticmethod
    def over(lo: float, hi: float, shifted: bool) -> SumGrid:
        """The grid that covers a range, with an offset if it may have one."""
        if not shifted:
            return SumGrid(max(abs(lo), abs(hi)) / I8.hi)
        scale = (hi - lo) / (I8.hi - I8.lo)
        return SumGrid(scale, round(I8.lo - lo / scale))


def sum_grid(
    name: str, activation: Activation, out: QTensor, sample: SumSample | None, shifted: bool
) -> SumGrid:
    """The grid of a node's requantised sums: that of the output where the activation is a clip;
    the model's own, if it rounds the sums to levels that signed bytes can have; else that of least
    squared error of the activation's results on the sample.

    shifted: the node has a bias, which can take an offset.
    """
    if activation.is_clip:
        return SumGrid(out.scale)
    assert sample is not None
    own = activation.curve.innermost("levels")
    if own is not None:
        scale, least, most = own.numbers
        grid = SumGrid(scale, I8.lo - int(least) if shifted else 0)
        if grid.level(np.array([least, most]) * scale).tolist() == [
            least + grid.offset, most + grid.offset,
        ]:  # fmt: skip
            return grid
    lo, hi = _reach(name, activation, out, sample)
    sums = np.concatenate(sample.parts)
    wanted = _stored(name, activation, out, sums)

    def error(grid: SumGrid) -> float:
        got = _stored(name, activation, out, grid.real(grid.level(sums)))
        return float(np.square(got - wanted).sum())

    ends = [lo, hi]
    best = SumGrid.over(ends[0], ends[1], shifted)
    least = error(best)
    for end in (1, 0):
        widest = tuple(ends)
        for share in SHRINK:
            tried = list(widest)
            tried[end] *= share
            grid = SumGrid.over(*tried, shifted) if tried[0] < tried[1] else best
            found = error(grid)
            if found < least:
                best, least, ends = grid, found, tried
    return best


def curve_table(activation: Activation, sums: SumGrid, out: QTensor) -> tuple[int, ...]:
    """Stored value of the activation at every level, in the order of the contract. In float32, as
    whoever runs the model computes it: a tie falls the same way."""
    index = np.arange(TABLE_ENTRIES)
    levels = np.where(index > I8.hi, index - TABLE_ENTRIES, index)
    real = sums.real(levels.astype(np.float64)).astype(np.float32)
    steps = np.rint(_stored(out.name, activation, out, real))
    fmt = out.format
    return tuple(int(v) for v in np.clip(steps + fmt.zero, fmt.lo, fmt.hi))


def _stored(name: str, activation: Activation, out: QTensor, real: np.ndarray) -> np.ndarray:
    """Results of an activation in steps of the output, bounded as the output is, not rounded."""
    steps = activation.whole.apply(real) / real.dtype.type(out.scale)
    if np.isnan(steps).any():
        raise QuantError(
            f"tensor '{name}': its activation {activation.describe()} is not defined for all "
            "values that calibration found: change the model there"
        )
    return np.clip(steps, out.format.lo - out.format.zero, out.format.hi - out.format.zero)


def _reach(
    name: str, activation: Activation, out: QTensor, sample: SumSample
) -> tuple[float, float]:
    """The part of the sums' range beyond which the rounded result is that at its ends."""
    lo, hi = MARGIN * min(sample.lo, 0.0), MARGIN * max(sample.hi, 0.0)
    if lo == hi:
        return -1.0, 1.0  # always zero
    points = np.linspace(lo, hi, FINE)
    stored = np.rint(_stored(name, activation, out, points))
    changes = np.flatnonzero(np.diff(stored))
    if not len(changes):
        return lo, hi
    return float(points[changes[0]]), float(points[min(changes[-1] + 1, FINE - 1)])
