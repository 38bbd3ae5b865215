"""Float rows that lie on a grid are found; others are not."""

import numpy as np
import pytest

from fpga_gen.contract.numerics import INT8, SP2_4, SP2_CODES, TWO_TERM, FixedCode
from fpga_gen.quant.grids import row_grid


@pytest.mark.parametrize("code", [*SP2_CODES.values(), INT8, FixedCode(4)], ids=lambda c: c.name)
def test_rows_on_the_grid_come_back_level_by_level(code):
    rng = np.random.default_rng(0)
    allowed = code.levels
    levels = rng.choice(allowed, (40, 30))
    levels[:, 0] = allowed[-1]  # the largest, so that no divisor can be left out ...
    levels[:, 1] = allowed[allowed > 0][0]  # ... together with the smallest
    scale = rng.uniform(1e-4, 3, 40)
    grid = row_grid((levels * scale[:, None]).astype(np.float32), allowed)
    assert grid.found.all()
    np.testing.assert_array_equal(grid.levels, levels)
    np.testing.assert_allclose(grid.scale, scale, rtol=1e-6)


def test_ordinary_weights_are_on_no_grid():
    weight = np.random.default_rng(1).normal(size=(2000, 9)).astype(np.float32)
    for allowed in (INT8.levels, TWO_TERM.levels, SP2_4.levels):
        assert not row_grid(weight, allowed).found.any()


def test_one_weight_off_the_grid_refuses_the_row():
    levels = np.random.default_rng(2).choice(TWO_TERM.levels, (1, 600)).astype(np.float64)
    levels[0, 0] = 20
    assert row_grid(levels, TWO_TERM.levels).found.all()
    for column in (1, 599):
        bent = levels.copy()
        bent[0, column] = 13.5
        assert not row_grid(bent, TWO_TERM.levels).found.any()


def test_int4_with_a_level_that_sp2_lacks_is_fixed_alone():
    row = np.array([[7.0, 3, -1, 2, 0, 5]]) * 0.3
    assert row_grid(row, FixedCode(4).levels).found.all()
    assert not row_grid(row, SP2_4.levels).found.any()  # no 3 and no 7 there
    row = np.array([[8.0, 5, -1, 2, 0, 4]]) * 0.3
    assert not row_grid(row, FixedCode(4).levels).found.any()
    assert row_grid(row, SP2_4.levels).found.all()


def test_zeros_and_common_divisors():
    grid = row_grid(np.array([[0.0, 0, 0], [6, -4, 2]]), INT8.levels)
    assert grid.found.all()
    assert grid.scale.tolist() == [0, 2]
    assert grid.levels.tolist() == [[0, 0, 0], [3, -2, 1]]
