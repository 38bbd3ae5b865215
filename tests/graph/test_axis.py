"""Axis tables: exact where they can be, close and normalised where not."""

import math
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fpga_gen.contract.isa import MAX_AXIS_TAPS
from fpga_gen.graph.axis import (
    average_axis,
    axis_table,
    broadcast_axis,
    identity_axis,
    is_identity,
    mean_axes,
    resize_axis,
    table_error,
)
from fpga_gen_host.resample import COORDINATE_MODES, Rows, exact_scale, resize_rows


@settings(max_examples=300, deadline=None)
@given(
    st.integers(1, 200), st.integers(1, 400), st.sampled_from(COORDINATE_MODES),
    st.sampled_from(["nearest", "linear"]),
)  # fmt: skip
def test_resize_tables(n, m, coordinates, mode):
    exact = resize_rows(n, m, Fraction(m, n), mode, coordinates)
    table = axis_table(n, exact)
    rows = [{k: Fraction(w, exact.denominator) for k, w in row.items()} for row in exact.rows]
    assert all(sum(row.values()) == 1 for row in rows)
    worst = Fraction(0)
    assert (table.in_size, table.out_size) == (n, m)
    for row, start, weights in zip(rows, table.start, table.weights, strict=True):
        assert sum(weights) == table.denominator <= 255
        assert min(weights) >= 0
        assert len(weights) == table.taps
        assert 0 <= start <= n - table.taps
        for k, weight in enumerate(weights):
            error = abs(Fraction(weight, table.denominator) - row.get(start + k, 0))
            worst = max(worst, error)
    assert worst <= Fraction(1, 400)  # a denominator near 255 is never that far off
    assert table_error(table, exact) == pytest.approx(float(worst))
    common = math.lcm(*(w.denominator for row in rows for w in row.values()))
    assert (worst == 0) == (common <= 255)


@pytest.mark.parametrize("n", [2, 11, 22, 44, 128])
def test_doubling_is_exact(n):
    table = resize_axis(n, 2 * n, Fraction(2), "linear", "align_corners")
    assert table.denominator == 2 * n - 1
    assert table.taps == 2
    assert resize_axis(n, 2 * n, Fraction(2), "linear", "half_pixel").denominator == 4


def test_nearest_has_one_tap():
    table = resize_axis(3, 6, Fraction(2), "nearest", "asymmetric", "floor")
    assert (table.taps, table.denominator, table.start) == (1, 1, (0, 0, 1, 1, 2, 2))


def test_identity_and_broadcast():
    assert is_identity(identity_axis(5))
    assert is_identity(resize_axis(5, 5, Fraction(1), "linear", "half_pixel"))
    assert not is_identity(broadcast_axis(5))
    assert is_identity(broadcast_axis(1))


@pytest.mark.parametrize("size", [1, 7, 127, 128, 255, 256, 300, 1024])
def test_mean(size):
    values = [Fraction(i * i) for i in range(size)]
    for table in mean_axes(size):
        assert table.taps <= MAX_AXIS_TAPS
        values = [
            sum(w * values[s + k] for k, w in enumerate(row)) / table.denominator
            for s, row in zip(table.start, table.weights, strict=True)
        ]
    assert values == [Fraction(sum(i * i for i in range(size)), size)]


def test_a_mean_that_cannot_be_exact():
    for size in (131, 257, 262):
        with pytest.raises(ValueError, match=f"{size} values has no steps of at most 127"):
            mean_axes(size)
    with pytest.raises(ValueError, match="no exact"):
        axis_table(300, Rows((dict.fromkeys(range(300), 1),), 300))


def test_scales_from_float():
    assert exact_scale(2.0, 11, 22) == 2
    assert exact_scale(0.60000002384185791015625, 6, 3) == Fraction(3, 5)
    assert exact_scale(1.3333333730697632, 9, 12) == Fraction(4, 3)
    assert exact_scale(2.00001, 11, 22) != 2


def test_unknown_modes():
    with pytest.raises(ValueError, match="coordinate_transformation_mode 'odd'"):
        resize_rows(2, 4, Fraction(2), "linear", "odd")
    with pytest.raises(ValueError, match="nearest_mode 'odd'"):
        resize_rows(2, 4, Fraction(2), "nearest", "half_pixel", "odd")


@settings(max_examples=300, deadline=None)
@given(
    st.integers(1, 30), st.integers(1, 12), st.integers(1, 4), st.integers(0, 9), st.integers(1, 3)
)  # fmt: skip
def test_averages(size, kernel, stride, pad, dilation):
    """Every output is the mean of the taps inside."""
    out = max(1, (size + pad - (kernel - 1) * dilation - 1) // stride + 1)
    windows = [range(i * stride - pad, i * stride - pad + kernel * dilation, dilation)
               for i in range(out)]  # fmt: skip
    inside = [[p for p in w if 0 <= p < size] for w in windows]
    lengths = {len(w) for w in inside}
    if 0 in lengths:
        with pytest.raises(ValueError, match="wholly in the padding"):
            average_axis(size, out, kernel, stride, pad, dilation)
        return
    if math.lcm(*lengths) > 255:
        with pytest.raises(ValueError, match="no exact 8-bit weights"):
            average_axis(size, out, kernel, stride, pad, dilation)
        return
    table = average_axis(size, out, kernel, stride, pad, dilation)
    for taps, start, weights in zip(inside, table.start, table.weights, strict=True):
        have = {start + k: Fraction(w, table.denominator) for k, w in enumerate(weights) if w}
        assert have == dict.fromkeys(taps, Fraction(1, len(taps)))
