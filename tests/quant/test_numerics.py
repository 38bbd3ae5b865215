import numpy as np
import pytest

from fpga_gen.contract.numerics import (
    SP2_4,
    SP2_CODES,
    TWO_TERM,
    TWO_TERM_SMALL,
    all_codes,
    multiplier,
    requantise,
    split16,
)
from tests.quant.naive import requantise_exact


@pytest.mark.parametrize(("code", "count"), [(TWO_TERM, 35), (TWO_TERM_SMALL, 23), (SP2_4, 13)])
def test_number_of_levels(code, count):
    assert len(code.levels) == count
    np.testing.assert_array_equal(code.levels, -code.levels[::-1])


@pytest.mark.parametrize("code", SP2_CODES.values(), ids=lambda c: c.name)
def test_every_code_word_decodes_to_a_sum_of_two_signed_terms(code):
    pairs = all_codes(code)
    assert len(pairs) == 2**code.bits
    sums = {
        s1 * a + s2 * b
        for a in code.first for b in code.second for s1 in (1, -1) for s2 in (1, -1)
        if s1 == s2 or not code.common_sign
    }  # fmt: skip
    assert {level for _, level in pairs} == sums == set(code.levels.tolist())


@pytest.mark.parametrize("code", SP2_CODES.values(), ids=lambda c: c.name)
def test_encode_inverts_decode_and_rejects_the_rest(code):
    words = code.encode(code.levels)
    assert [code.decode(int(w)) for w in words] == code.levels.tolist()
    assert len(set(words.tolist())) == len(words)
    for value in set(range(-40, 41)) - set(code.levels.tolist()):
        with pytest.raises(ValueError, match=code.name):
            code.encode(np.array([value]))


def test_split16_is_exact_for_every_value():
    values = np.arange(-32768, 32768)
    high, low = split16(values)
    assert high.dtype == low.dtype == np.int8
    np.testing.assert_array_equal(256 * high.astype(int) + low + 128, values)


def test_requantise_equals_big_integers():
    rng = np.random.default_rng(1)
    acc = rng.integers(-(2**30), 2**30, 4000)
    bias = rng.integers(-(2**30), 2**30, 4000)
    mult = rng.integers(1, 2**16, 4000)
    shift = rng.integers(0, 64, 4000)
    got = requantise(acc, bias, mult, shift)
    want = [
        requantise_exact(int(a) + int(b), int(m), int(s), 0, -(2**62), 2**62)
        for a, b, m, s in zip(acc, bias, mult, shift, strict=True)
    ]
    assert got.tolist() == want


@pytest.mark.parametrize(("lo", "hi"), [(-128, 127), (-32768, 32767), (0, 255)])
def test_a_narrow_sum_changes_next_to_nothing(lo, hi):
    """With a full multiplier: at most one step, and rarely, against the same without narrowing."""
    rng = np.random.default_rng(2)
    size = rng.integers(1, 31, 100_000)
    total = rng.integers(-(1 << size), 1 << size)
    mult = rng.integers(2**15, 2**16, total.size)
    shift = rng.integers(0, 48, total.size)
    half = np.where(shift > 0, 1 << np.maximum(shift - 1, 0), 0)
    plain = np.clip((total * mult + half) >> shift, lo, hi)
    moved = np.abs(np.clip(requantise(total, 0, mult, shift), lo, hi) - plain)
    assert moved.max() <= 1
    assert (moved[shift < 27] == 0).all()
    assert moved.mean() < 0.01


def test_requantise_rounds_halves_up_also_below_zero():
    acc = np.arange(-7, 8)
    half = requantise(acc, 0, 1, 1)
    assert half.tolist() == [-3, -3, -2, -2, -1, -1, 0, 0, 1, 1, 2, 2, 3, 3, 4]
    assert requantise(acc, 0, 3, 0).tolist() == (3 * acc).tolist()


def test_multiplier_is_within_half_a_unit():
    for scale in np.geomspace(1e-9, 60000, 200):
        mult, shift = multiplier(scale)
        assert 0 < mult < 2**16
        assert 0 <= shift < 64
        assert abs(mult / 2**shift - scale) <= scale * 2**-16 * 1.0001


@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan"), float("inf"), 1e6])
def test_multiplier_refuses(scale):
    with pytest.raises(ValueError, match="scale"):
        multiplier(scale)
