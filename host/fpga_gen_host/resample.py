"""Exact weights of the ONNX operator Resize-19 along one axis."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

COORDINATE_MODES = (
    "half_pixel",
    "pytorch_half_pixel",
    "half_pixel_symmetric",
    "align_corners",
    "asymmetric",
    "tf_half_pixel_for_nn",
)
NEAREST_MODES = ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil", "simple")


@dataclass(frozen=True)
class Rows:
    """Exact weights of every output element: input index -> integer, over one denominator, to
    which each row sums."""

    rows: tuple[dict[int, int], ...]
    denominator: int


def exact_scale(scale: float, in_size: int, out_size: int) -> Fraction:
    """The rational scale that a float32 stands for: out/in or a short fraction, if near."""
    short = Fraction(scale).limit_denominator(1000)
    for guess in (Fraction(out_size, in_size), short):
        if guess > 0 and abs(float(guess) - scale) <= 2.0**-23 * scale:
            return guess
    return Fraction(scale)


def _positions(n: int, m: int, scale: Fraction, mode: str) -> tuple[list[int], int]:
    """Coordinates in the input (n elements) of all m output elements, over one denominator."""
    p, q = scale.numerator, scale.denominator
    if mode == "pytorch_half_pixel" and m == 1:
        return [0], 1
    if mode in ("half_pixel", "pytorch_half_pixel"):  # (i + 1/2) / scale - 1/2
        return [(2 * i + 1) * q - p for i in range(m)], 2 * p
    if mode == "half_pixel_symmetric":  # n/2 * (1 - m / (scale * n)) + the above
        return [n * p - m * q + (2 * i + 1) * q - p for i in range(m)], 2 * p
    if mode == "align_corners":
        return ([i * (n - 1) for i in range(m)], m - 1) if m > 1 else ([0], 1)
    if mode == "asymmetric":
        return [i * q for i in range(m)], p
    if mode == "tf_half_pixel_for_nn":
        return [(2 * i + 1) * q for i in range(m)], 2 * p
    raise ValueError(f"unknown coordinate_transformation_mode '{mode}'")


def _nearest(x: int, unit: int, mode: str, scale: Fraction) -> int:
    """Index nearest to the coordinate x / unit."""
    if mode == "round_prefer_floor":
        return -((unit - 2 * x) // (2 * unit))
    if mode == "round_prefer_ceil":
        return (2 * x + unit) // (2 * unit)
    if mode == "floor" or (mode == "simple" and scale >= 1):
        return x // unit
    if mode == "ceil" or mode == "simple":
        return -(-x // unit)
    raise ValueError(f"unknown nearest_mode '{mode}'")


def resize_rows(
    in_size: int,
    out_size: int,
    scale: Fraction,
    mode: str,
    coordinates: str,
    nearest_mode: str = "round_prefer_floor",
) -> Rows:
    """Weights of an ONNX Resize along one axis; mode is 'nearest' or 'linear'."""
    positions, unit = _positions(in_size, out_size, scale, coordinates)
    rows: list[dict[int, int]] = []
    for x in positions:
        if mode == "nearest":
            rows.append({min(max(_nearest(x, unit, nearest_mode, scale), 0), in_size - 1): unit})
            continue
        low, rest = divmod(min(max(x, 0), (in_size - 1) * unit), unit)
        rows.append({low: unit - rest, low + 1: rest} if rest else {low: unit})
    return Rows(tuple(rows), unit)
