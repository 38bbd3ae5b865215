"""Float weights that already lie on the grid of a column kind, found by looking at them.

A network that was trained with quantised weights, such as one of fpga_gen_models.qat, keeps its
levels if they are recognised: rounding to nearest, with a searched scale or with compensation,
would move them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

TOLERANCE = 1e-3  # of a level: float32 holds a level of 127 to 1e-5
PROBE = 48  # columns on which most rows of ordinary weights are refused


@dataclass(frozen=True, eq=False)
class RowGrid:
    """levels: (F, K) int16, scale: (F,), found: (F,) rows with weight = scale * levels.

    Levels have no common divisor that could be left out; a row of zeros has scale 0.
    """

    levels: np.ndarray
    scale: np.ndarray
    found: np.ndarray


def row_grid(weight: np.ndarray, allowed: np.ndarray) -> RowGrid:
    """The coarsest grid of each row of `weight` (F, K) whose levels are all in `allowed` (sorted,
    symmetric), for rows that have one."""
    weight = np.asarray(weight, np.float64)
    filters, depth = weight.shape
    levels = np.zeros((filters, depth), np.int16)
    scale = np.zeros(filters)
    largest = np.abs(weight).max(1, initial=0.0)
    found = largest == 0
    member = np.zeros(2 * int(allowed[-1]) + 1, bool)
    member[allowed + allowed[-1]] = True
    probe = np.argsort(-np.abs(weight), axis=1)[:, :PROBE]  # zeros are on every grid
    probed = np.take_along_axis(weight, probe, 1)
    for top in allowed[allowed > 0]:
        rows = np.flatnonzero(~found)
        for part in (probed, weight):
            exact = part[rows] * (top / largest[rows, None])
            near = np.rint(exact)
            good = (np.abs(exact - near) <= TOLERANCE).all(1)
            good &= member[near.astype(np.int64) + allowed[-1]].all(1)
            rows, near = rows[good], near[good]
        levels[rows] = near
        scale[rows] = largest[rows] / top
        found[rows] = True
    return RowGrid(levels, scale, found)
