"""Overlap of predicted and true masks."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass

import numpy as np


@dataclass(frozen=True)
class MaskMetrics:
    """Dice, IoU, precision and recall of one picture, or their means over `images` pictures."""

    dice: float
    iou: float
    precision: float
    recall: float
    images: int = 1


def mask_metrics(predicted: np.ndarray, truth: np.ndarray) -> MaskMetrics:
    """Metrics of one boolean mask against another of the same shape.

    Where numerator and denominator are both zero (nothing there, nothing found) a value is 1.
    """
    if predicted.shape != truth.shape:
        raise ValueError(f"mask shapes differ: {predicted.shape} and {truth.shape}")
    predicted, truth = predicted.astype(bool), truth.astype(bool)
    hit = int(np.count_nonzero(predicted & truth))
    found = int(np.count_nonzero(predicted))
    there = int(np.count_nonzero(truth))

    def ratio(part: int, whole: int) -> float:
        return part / whole if whole else 1.0

    return MaskMetrics(
        dice=ratio(2 * hit, found + there),
        iou=ratio(hit, found + there - hit),
        precision=ratio(hit, found),
        recall=ratio(hit, there),
    )


def mean_metrics(metrics: Iterable[MaskMetrics]) -> MaskMetrics:
    """Means over pictures (mDice, mIoU, ...). Raises ValueError when there are none."""
    values = list(metrics)
    if not values:
        raise ValueError("no pictures to average over")
    total = sum(m.images for m in values)
    names = ("dice", "iou", "precision", "recall")
    means = {n: sum(getattr(m, n) * m.images for m in values) / total for n in names}
    return MaskMetrics(**means, images=total)


def as_record(metrics: MaskMetrics) -> dict[str, float | int]:
    """The metrics as a JSON-ready dict, rounded to five places."""
    return {k: round(v, 5) if isinstance(v, float) else v for k, v in asdict(metrics).items()}
