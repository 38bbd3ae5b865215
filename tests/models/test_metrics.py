"""Metrics and loss on masks drawn by hand."""

import math

import numpy as np
import pytest

from fpga_gen_models.metrics import MaskMetrics, as_record, mask_metrics, mean_metrics


def _mask(*rows: str):
    return np.array([[c == "#" for c in row] for row in rows])


def test_overlap_of_hand_made_masks() -> None:
    predicted = _mask("##..", "##..", "....")
    truth = _mask(".##.", ".##.", ".##.")
    metrics = mask_metrics(predicted, truth)
    assert metrics.dice == pytest.approx(2 * 2 / (4 + 6))
    assert metrics.iou == pytest.approx(2 / 8)
    assert metrics.precision == pytest.approx(2 / 4)
    assert metrics.recall == pytest.approx(2 / 6)


def test_equal_disjoint_and_empty_masks() -> None:
    some, other, nothing = _mask("##.."), _mask("..##"), _mask("....")
    assert mask_metrics(some, some) == MaskMetrics(1, 1, 1, 1)
    assert mask_metrics(some, other) == MaskMetrics(0, 0, 0, 0)
    assert mask_metrics(nothing, nothing) == MaskMetrics(1, 1, 1, 1)
    assert mask_metrics(nothing, some) == MaskMetrics(0, 0, 1, 0)
    assert mask_metrics(some, nothing) == MaskMetrics(0, 0, 0, 1)


def test_shapes_must_agree() -> None:
    with pytest.raises(ValueError, match="shapes differ"):
        mask_metrics(_mask("#"), _mask("##"))


def test_mean_weighs_by_pictures() -> None:
    mean = mean_metrics([MaskMetrics(1, 1, 1, 1, images=3), MaskMetrics(0, 0, 0, 0.5)])
    assert mean == MaskMetrics(0.75, 0.75, 0.75, 0.875, images=4)
    assert as_record(mean)["images"] == 4
    with pytest.raises(ValueError, match="no pictures"):
        mean_metrics([])


def test_structure_loss() -> None:
    torch = pytest.importorskip("torch")
    from fpga_gen_models.losses import structure_loss

    mask = torch.zeros(2, 1, 64, 64)
    mask[:, :, 16:48, 16:48] = 1
    right = 40 * (mask - 0.5)
    assert structure_loss(right, mask).item() == pytest.approx(0, abs=1e-3)
    assert structure_loss(-right, mask).item() > 20
    # logits 0: entropy ln 2, and IoU of a half everywhere, on a mask far from any contour
    full = torch.ones(1, 1, 128, 128)
    inner = structure_loss(torch.zeros_like(full), full).item()
    assert inner == pytest.approx(math.log(2) + 0.5, abs=1e-3)
    # a fault at the contour costs more than one of the same area far from it
    contour, far = right.clone(), right.clone()
    contour[:, :, 16:18, 16:48] *= -1
    far[:, :, 0:2, 0:32] *= -1
    assert structure_loss(contour, mask) > structure_loss(far, mask)
