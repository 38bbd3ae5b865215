"""Builders of `AxisTable`: exact rational resampling weights of one axis as small integers.

Source of the coordinate formulas: ONNX operators Resize-19 and AveragePool-19.
"""

from __future__ import annotations

import math
from fractions import Fraction

from fpga_gen.contract.isa import MAX_AXIS_TAPS
from fpga_gen.graph.ir import AxisTable

MAX_DENOMINATOR = 255
FALLBACK_DENOMINATOR = 128

COORDINATE_MODES = (
    "half_pixel",
    "pytorch_half_pixel",
    "half_pixel_symmetric",
    "align_corners",
    "asymmetric",
    "tf_half_pixel_for_nn",
)
NEAREST_MODES = ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil", "simple")

Row = dict[int, Fraction]  # input index -> weight; the weights of a row sum to 1


def identity_axis(size: int) -> AxisTable:
    """The table that copies an axis."""
    return AxisTable(size, tuple(range(size)), ((1,),) * size, 1)


def is_identity(table: AxisTable) -> bool:
    """Whether a table copies its axis."""
    return table == identity_axis(table.in_size)


def broadcast_axis(size: int) -> AxisTable:
    """The table that repeats a single element `size` times."""
    return AxisTable(1, (0,) * size, ((1,),) * size, 1)


def axis_table(in_size: int, rows: list[Row]) -> AxisTable:
    """Integer table of rational rows.

    Exact when the common denominator is <= 255. Otherwise denominator 128, each weight within
    1/256 of its true value and row sums exact; only for rows of two taps (interpolation), as
    rounding a long average would lose taps: ValueError there.
    """
    common = math.lcm(*(w.denominator for row in rows for w in row.values()))
    exact = common <= MAX_DENOMINATOR
    if not exact:
        longest = max(len(row) for row in rows)
        if longest > 2:
            raise ValueError(f"an average of {longest} values has no exact 8-bit weights")
    denominator = common if exact else FALLBACK_DENOMINATOR
    taps = max(max(row) - min(row) + 1 for row in rows)
    starts, weights = [], []
    for row in rows:
        start = min(min(row), in_size - taps)
        line = [0] * taps
        for index in sorted(row):
            line[index - start] = math.floor(row[index] * denominator + Fraction(1, 2))
        line[min(row) - start] += denominator - sum(line)  # two taps: both rounded up at .5
        starts.append(start)
        weights.append(tuple(line))
    return AxisTable(in_size, tuple(starts), tuple(weights), denominator)


def exact_scale(scale: float, in_size: int, out_size: int) -> Fraction:
    """The rational scale that a float32 stands for: out/in or a short fraction, if near."""
    short = Fraction(scale).limit_denominator(1000)
    for guess in (Fraction(out_size, in_size), short):
        if guess > 0 and abs(float(guess) - scale) <= 2.0**-23 * scale:
            return guess
    return Fraction(scale)


def _source_position(i: int, n: int, m: int, scale: Fraction, mode: str) -> Fraction:
    """Coordinate in the input (n elements) of output element i of m."""
    half = Fraction(1, 2)
    if mode == "half_pixel":
        return (i + half) / scale - half
    if mode == "pytorch_half_pixel":
        return (i + half) / scale - half if m > 1 else Fraction(0)
    if mode == "half_pixel_symmetric":
        adjustment = m / (scale * n)
        return Fraction(n, 2) * (1 - adjustment) + (i + half) / scale - half
    if mode == "align_corners":
        return Fraction(i * (n - 1), m - 1) if m > 1 else Fraction(0)
    if mode == "asymmetric":
        return i / scale
    if mode == "tf_half_pixel_for_nn":
        return (i + half) / scale
    raise ValueError(f"unknown coordinate_transformation_mode '{mode}'")


def _nearest(x: Fraction, mode: str, scale: Fraction) -> int:
    half = Fraction(1, 2)
    if mode == "round_prefer_floor":
        return math.ceil(x - half)
    if mode == "round_prefer_ceil":
        return math.floor(x + half)
    if mode == "floor" or (mode == "simple" and scale >= 1):
        return math.floor(x)
    if mode == "ceil" or mode == "simple":
        return math.ceil(x)
    raise ValueError(f"unknown nearest_mode '{mode}'")


def resize_rows(
    in_size: int,
    out_size: int,
    scale: Fraction,
    mode: str,
    coordinates: str,
    nearest_mode: str = "round_prefer_floor",
) -> list[Row]:
    """Rational weights of an ONNX Resize along one axis; mode is 'nearest' or 'linear'."""
    rows: list[Row] = []
    for i in range(out_size):
        x = _source_position(i, in_size, out_size, scale, coordinates)
        if mode == "nearest":
            rows.append({min(max(_nearest(x, nearest_mode, scale), 0), in_size - 1): Fraction(1)})
            continue
        x = min(max(x, Fraction(0)), Fraction(in_size - 1))
        low = math.floor(x)
        rest = x - low
        rows.append({low: 1 - rest, low + 1: rest} if rest else {low: Fraction(1)})
    return rows


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
    rows: list[Row] = []
    for i in range(out_size):
        inside = [
            p for p in (i * stride - pad + k * dilation for k in range(kernel)) if 0 <= p < in_size
        ]
        if not inside:
            raise ValueError("a window lies wholly in the padding")
        rows.append({p: Fraction(1, len(inside)) for p in inside})
    return axis_table(in_size, rows)


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
