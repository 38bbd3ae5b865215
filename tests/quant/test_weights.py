import numpy as np
import pytest

from fpga_gen.contract.column_kinds import weight_codes
from fpga_gen.contract.numerics import DSP, INT8, SP2, SP2_CODES, TWO_TERM, FixedCode
from fpga_gen.quant.weights import (
    compensated,
    damped,
    moment_error,
    nearest,
    round_nearest,
    search_scales,
)

CODES = weight_codes(TWO_TERM)


def correlated(rng, depth: int, samples: int = 400) -> np.ndarray:
    """Second moments (1, K, K) of inputs that share a few causes."""
    causes = rng.standard_normal((max(1, depth // 6), samples))
    x = rng.standard_normal((depth, causes.shape[0])) @ causes
    x += 0.3 * rng.standard_normal((depth, samples))
    return (x @ x.T / samples)[None].astype(np.float32)


@pytest.mark.parametrize("code", [*SP2_CODES.values(), INT8, FixedCode(4)], ids=lambda c: c.name)
def test_nearest_level_is_the_nearest(code):
    x = np.random.default_rng(0).uniform(-1.3, 1.3, 20000) * code.max_level
    got = nearest(x, code)
    assert np.isin(got, code.levels).all()
    best = np.abs(x[:, None] - code.levels).min(1)
    np.testing.assert_allclose(np.abs(x - got), best, atol=1e-9)


def test_nearest_int8_never_gives_minus_128():
    got = nearest(np.array([-500.0, -127.6, -0.5, 0.49, 126.5, 900.0]), INT8)
    assert got.tolist() == [-127, -127, 0, 0, 126, 127]
    assert np.isin(got, INT8.levels).all()


@pytest.mark.parametrize("kind", [DSP, SP2])
def test_scale_search_beats_the_plain_maximum(kind):
    rng = np.random.default_rng(1)
    weight = rng.standard_t(3, (20, 300)).astype(np.float32)
    importance = rng.uniform(0.1, 2, (1, 300))
    scale, error = search_scales(weight, importance, CODES[kind])

    def cost(s):
        q = nearest(weight / s[:, None], CODES[kind])
        return (np.square(weight - s[:, None] * q) * importance).sum(1)

    np.testing.assert_allclose(cost(scale), error, rtol=1e-3)
    plain = cost(np.abs(weight).max(1) / CODES[kind].max_level)
    assert (error <= plain * 1.0001).all()
    if kind == SP2:
        assert error.sum() < 0.9 * plain.sum()


def test_filter_without_weights_has_scale_zero_and_rounds_to_zero():
    weight = np.zeros((2, 5), np.float32)
    weight[1] = 1
    scale, error = search_scales(weight, np.ones((1, 5)), TWO_TERM)
    assert scale[0] == error[0] == 0
    levels = round_nearest(weight, scale, np.array([SP2, DSP]), CODES)
    assert not levels[0].any()
    assert levels[1].all()


@pytest.mark.parametrize("kind", [DSP, SP2])
@pytest.mark.parametrize("depth", [9, 70, 200])
def test_compensation_lowers_its_own_objective(kind, depth):
    rng = np.random.default_rng(depth)
    weight = rng.standard_normal((1, 24, depth)).astype(np.float32)
    moments = correlated(rng, depth)
    kinds = np.full((1, 24), kind)
    scale = search_scales(weight[0], np.ones((1, depth)), CODES[kind])[0][None]
    plain = round_nearest(weight, scale, kinds, CODES)
    better = compensated(weight, moments, scale, kinds, CODES, 0.01)
    assert np.isin(better, CODES[kind].levels).all()

    def objective(levels):
        return moment_error(weight - scale[..., None] * levels, damped(moments, 0.01))

    before, after = objective(plain), objective(better)
    assert (after <= before * 1.0001).all()
    assert after.sum() < 0.7 * before.sum()


def test_mixed_kinds_stay_on_their_grids():
    rng = np.random.default_rng(5)
    weight = rng.standard_normal((1, 10, 40)).astype(np.float32)
    kinds = np.array([[DSP, SP2] * 5])
    scale = np.where(kinds == SP2, 3 / 20, 3 / 127)
    levels = compensated(weight, correlated(rng, 40), scale, kinds, CODES, 0.01)
    assert np.isin(levels[0, 1::2], TWO_TERM.levels).all()
    assert np.abs(levels[0, ::2]).max() > TWO_TERM.max_level


def test_batched_blocks_equal_single_blocks():
    rng = np.random.default_rng(6)
    weight = rng.standard_normal((5, 2, 9)).astype(np.float32)
    moments = np.concatenate([correlated(rng, 9) for _ in range(5)])
    kinds = rng.integers(0, 2, (5, 2))
    scale = rng.uniform(0.02, 0.1, (5, 2))
    together = compensated(weight, moments, scale, kinds, CODES, 0.01)
    for b in range(5):
        alone = compensated(
            weight[b : b + 1], moments[b : b + 1], scale[b : b + 1], kinds[b : b + 1],
            CODES, 0.01,
        )  # fmt: skip
        np.testing.assert_array_equal(alone[0], together[b])


def test_singular_moments_are_damped():
    """Fewer samples than inputs, and inputs that are always zero."""
    rng = np.random.default_rng(8)
    x = rng.standard_normal((64, 3))
    x[10:20] = 0
    moments = (x @ x.T)[None].astype(np.float32)
    weight = rng.standard_normal((1, 4, 64)).astype(np.float32)
    scale = np.full((1, 4), 0.15)
    kinds = np.full((1, 4), SP2)
    levels = compensated(weight, moments, scale, kinds, CODES, 0.01)
    plain = round_nearest(weight, scale, kinds, CODES)
    error = [moment_error(weight - 0.15 * q, moments).sum() for q in (levels, plain)]
    assert error[0] < 0.5 * error[1]
    np.testing.assert_array_equal(levels[..., 10:20], plain[..., 10:20])


@pytest.mark.timeout(20)
@pytest.mark.parametrize("blocks", [1, 3])
@pytest.mark.parametrize("value", [np.nan, np.inf, -1e6])
def test_what_are_no_moments_ends_in_an_error(blocks: int, value: float):
    """The search for a Cholesky factor must not go on for ever."""
    rng = np.random.default_rng(9)
    weight = rng.standard_normal((blocks, 4, 6)).astype(np.float32)
    moments = np.repeat(correlated(rng, 6), blocks, axis=0)
    moments[-1, 2, 2] = value
    scale, kinds = np.full((blocks, 4), 0.15), np.full((blocks, 4), DSP)
    with pytest.raises(ValueError, match=r"moments of its inputs (are not finite|have no)"):
        compensated(weight, moments, scale, kinds, CODES, 0.01)


@pytest.mark.parametrize("blocks", [1, 3])
def test_a_slightly_negative_eigenvalue_is_mended(blocks: int):
    """Rounding of moments to float32 can leave one, in a block of its own or among others."""
    rng = np.random.default_rng(10)
    moments = np.repeat(correlated(rng, 6), blocks, axis=0)
    moments[-1] -= 1.02 * np.linalg.eigvalsh(moments[-1])[0] * np.eye(6, dtype=np.float32)
    weight = rng.standard_normal((blocks, 4, 6)).astype(np.float32)
    scale, kinds = np.full((blocks, 4), 0.15), np.full((blocks, 4), DSP)
    levels = compensated(weight, moments, scale, kinds, CODES, 0.0)
    plain = round_nearest(weight, scale, kinds, CODES)
    got, bound = (moment_error(weight - 0.15 * q, damped(moments, 0.0)) for q in (levels, plain))
    assert (got <= bound).all()
    assert (got < bound).any()
