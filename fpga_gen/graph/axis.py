"""Builders of `AxisTable`: exact rational resampling weights of one axis as small integers.

Source of the formulas: ONNX operators Resize-19 (`fpga_gen_host.resample`) and AveragePool-19.
"""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np

from fpga_gen.contract.isa import MAX_AXIS_TAPS
from fpga_gen.graph.ir import AxisTable
from fpga_gen_host.resample import Rows, resize_rows

MAX_DENOMINATOR = 255


def identity_axis(size: int) -> AxisTable:
    """The table that copies an axis."""
    return AxisTable(size, tuple(range(size)), ((1,),) * size, 1)


def is_identity(table: AxisTable) -> bool:
    """Whether a table copies its axis."""
    return table == identity_axis(table.in_size)


def broadcast_axis(size: int) -> AxisTable:
    """The table that repeats a single element `size` times."""
    return AxisTable(1, (0,) * size, ((1,),) * size, 1)


def axis_table(in_size: int, exact: Rows) -> AxisTable:
    """The table of rational rows.

    Exact when their common denominator is <= 255. Otherwise with the denominator that brings the
    weights nearest to the true ones (see `table_error`); only for rows of two taps
    (interpolation), as rounding a long average would lose taps: ValueError there.
    """
    shared = math.gcd(exact.denominator, *(w for row in exact.rows for w in row.values()))
    denominator = exact.denominator // shared
    if denominator > MAX_DENOMINATOR:
        longest = max(len(row) for row in exact.rows)
        if longest > 2:
            raise ValueError(f"an average of {longest} values has no exact 8-bit weights")
        denominator = _nearest_denominator(exact)
    taps = max(max(row) - min(row) + 1 for row in exact.rows)
    starts, weights = [], []
    for row in exact.rows:
        start = min(min(row), in_size - taps)
        line = [0] * taps
        for index in sorted(row):
            line[index - start] = _rounded(row[index] * denominator, exact.denominator)
        line[min(row) - start] += denominator - sum(line)  # two taps: both rounded up at .5
        starts.append(start)
        weights.append(tuple(line))
    return AxisTable(in_size, tuple(starts), tuple(weights), denominator)


def table_error(table: AxisTable, exact: Rows) -> float:
    """The most that a weight of a table differs from the true one; 0.0 for an exact table."""
    worst = 0
    for start, line, row in zip(table.start, table.weights, exact.rows, strict=True):
        for index, weight in row.items():
            have = line[index - start] * exact.denominator
            worst = max(worst, abs(have - weight * table.denominator))
    return worst / (table.denominator * exact.denominator)


def _nearest_denominator(exact: Rows) -> int:
    """The denominator <= 255 whose multiples lie nearest to all weights of two-tap rows."""
    weights = np.unique([row[min(row)] / exact.denominator for row in exact.rows])
    errors = [
        np.abs(np.rint(weights * d) / d - weights).max() for d in range(1, MAX_DENOMINATOR + 1)
    ]
    return int(np.argmin(errors)) + 1


def _rounded(numerator: int, denominator: int) -> int:
    return (2 * numerator + denominator) // (2 * denominator)


def resize_axis(
    in_size: int,
    out_size: int,
    scale: Fraction,
    mode: str,
    coordinates: str,
    nearest_mode: str = "round_prefer_floor",
) -> AxisTable:
    """Table of an ONNX Resize along one axis."""
    return axis_table(
        in_size, resize_rows(in_size, out_size, scale, mode, coordinates, nearest_mode)
    )


def average_axis(
    in_size: int, out_size: int, kernel: int, stride: int, pad: int, dilation: int = 1
) -> AxisTable:
    """Table of an average over the taps inside the input; padding does not count.

    pad is the padding before the first element. ValueError if a window has no tap inside or the
    weights cannot be exact.
    """
    rows = []
    for i in range(out_size):
        first = i * stride - pad
        skipped = max(0, -(first // dilation))  # taps before the first element
        taps = range(first + skipped * dilation, first + kernel * dilation, dilation)
        inside = range(taps.start, min(taps.stop, in_size), dilation)
        if not inside:
            raise ValueError("a window lies wholly in the padding")
        if len(inside) > MAX_DENOMINATOR:
            raise ValueError(f"an average of {len(inside)} values has no exact 8-bit weights")
        rows.append(inside)
    unit = math.lcm(*{len(row) for row in rows})
    if unit > MAX_DENOMINATOR and max(map(len, rows)) > 2:
        longest = max(map(len, rows))
        raise ValueError(f"an average of {longest} values has no exact 8-bit weights")
    return axis_table(
        in_size, Rows(tuple(dict.fromkeys(row, unit // len(row)) for row in rows), unit)
    )


def mean_axes(size: int) -> list[AxisTable]:
    """Tables that reduce an axis to its mean, in order; two steps where one is not exact.

    ValueError if the length has no factors that an instruction takes with exact weights.
    """
    if size <= MAX_AXIS_TAPS:
        return [average_axis(size, 1, size, 1, 0)]
    for step in range(math.isqrt(size), 1, -1):
        if size % step == 0 and size // step <= MAX_AXIS_TAPS:
            first = average_axis(size, size // step, step, step, 0)
            return [first, average_axis(size // step, 1, size // step, 1, 0)]
    raise ValueError(f"the mean of {size} values has no steps of at most {MAX_AXIS_TAPS} values")
