"""Weights that go one slot after the other, against plain least squares."""

from __future__ import annotations

import numpy as np
import pytest

from fpga_gen.pruning import curvature
from fpga_gen.pruning.curvature import Curvature
from fpga_gen.quant.calibrate import BlockBatch, LayerMoments

SLOTS = [np.arange(at, at + 4) for at in range(0, 24, 4)]
GAIN = np.array([1.0, 3.0, 0.5])


def layer(columns: np.ndarray) -> LayerMoments:
    """Of inputs (K, n), in two blocks that have nothing to do with each other."""
    half = len(columns) // 2
    batches = []
    for part in (np.arange(half), np.arange(half, len(columns))):
        x = columns[part]
        batches.append(BlockBatch(np.arange(3)[None], part[None], part, (x @ x.T)[None]))
    square = np.square(columns).sum(1)
    return LayerMoments(batches, columns.sum(1), square, columns.shape[1])


@pytest.fixture
def data(monkeypatch: pytest.MonkeyPatch) -> tuple[np.ndarray, np.ndarray]:
    """(inputs, weights): inputs of a block depend on each other; nothing is damped."""
    monkeypatch.setattr(curvature, "DAMPING", 0.0)
    monkeypatch.setattr(curvature, "FEW", 0.0)
    rng = np.random.default_rng(1)
    halves = [rng.normal(size=(12, 12)) @ rng.normal(size=(12, 4000)) for _ in range(2)]
    inputs = np.concatenate(halves) + rng.normal(size=(24, 1))
    weight = rng.normal(size=(3, 24))
    weight[:, 5] = 0
    return inputs.astype(np.float32), weight


def best(inputs: np.ndarray, wanted: np.ndarray, columns: np.ndarray) -> tuple[np.ndarray, float]:
    """Least squares on some columns, block by block, and the power of what is left."""
    x = inputs - inputs.mean(1, keepdims=True)
    out = np.zeros_like(wanted)
    for part in (np.arange(12), np.arange(12, 24)):
        own = np.intersect1d(part, columns)
        y = wanted[:, part] @ x[part]
        out[:, own] = np.linalg.lstsq(x[own].T, y.T, rcond=None)[0].T
    error = (out - wanted) @ x
    return out, np.square(error).mean(1)


def test_what_is_left_is_the_least_squares_of_what_was(data):
    inputs, weight = data
    lost, gone = 0.0, []
    for some, cost, after in Curvature(layer(inputs)).order(weight, SLOTS, GAIN):
        gone += some
        lost += cost
        kept = np.setdiff1d(np.arange(24), np.concatenate([SLOTS[n] for n in gone]))
        wanted, error = best(inputs, weight, kept[kept != 5])
        np.testing.assert_allclose(after, wanted, atol=2e-3 * np.abs(weight).max())
        assert lost == pytest.approx(float(error @ GAIN), rel=0.02)
        assert not after[:, 5].any()
    assert sorted(gone) == list(range(6))
    assert not after.any()


def test_the_cheapest_goes_first(data):
    inputs, weight = data
    weight[:, SLOTS[3]] *= 1e-3
    some, _, _ = next(Curvature(layer(inputs)).order(weight, SLOTS, GAIN))
    assert some == [3]


def test_few_samples_are_not_believed():
    """Sixteen samples of 24 inputs: what they say of the others is chance."""
    rng = np.random.default_rng(2)
    inputs = rng.normal(size=(24, 16)).astype(np.float32)
    weight = rng.normal(size=(3, 24))
    _, _, after = next(Curvature(layer(inputs)).order(weight, SLOTS, GAIN))
    kept = after.any(0)
    assert np.abs(after[:, kept] - weight[:, kept]).max() < np.abs(weight).max()
