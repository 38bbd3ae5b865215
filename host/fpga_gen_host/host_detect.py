"""TopK and NonMaxSuppression of detectors, by the rules of ONNX."""

from __future__ import annotations

import numpy as np


def top_k(a: dict, x: np.ndarray) -> np.ndarray:
    """axis, k, largest; indices: whether positions (int64) are wanted instead of values.

    Sorted; of equal values the one with the lower index comes first (ONNX TopK-11).
    """
    axis, k = a["axis"], a["k"]
    if not 0 <= k <= x.shape[axis]:
        raise ValueError(f"the {k} largest of {x.shape[axis]} values")
    order = np.argsort(-x if a["largest"] else x, axis=axis, kind="stable")
    index = np.take(order, np.arange(k), axis=axis)
    return index if a["indices"] else np.take_along_axis(x, index, axis=axis)


def suppress(a: dict, boxes: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Selected boxes, int64 (n, 3) of batch, class and box (ONNX NonMaxSuppression-11).

    boxes: (batches, n, 4), scores: (batches, classes, n); most: boxes of a class; overlap: above
    this ratio of intersection and union the box of the lower score falls; least: below this score
    a box falls (None: none); centred: boxes are x, y of the centre, width, height instead of the
    corners y, x, y, x.
    """
    rows = []
    for batch, (box, by_class) in enumerate(zip(boxes, scores, strict=True)):
        corners = _corners(box, centred=a["centred"])
        for number, score in enumerate(by_class):
            kept = _kept(corners, score, a["most"], a["overlap"], a["least"])
            rows += [(batch, number, index) for index in kept]
    return np.array(rows, np.int64).reshape(-1, 3)


def _corners(box: np.ndarray, *, centred: bool) -> np.ndarray:
    """(n, 4): lower then upper corner."""
    if centred:
        half = box[:, 2:] / 2
        return np.concatenate([box[:, :2] - half, box[:, :2] + half], axis=1)
    first, second = box[:, :2], box[:, 2:]
    return np.concatenate([np.minimum(first, second), np.maximum(first, second)], axis=1)


def _kept(
    corners: np.ndarray, score: np.ndarray, most: int, overlap: float, least: float | None
) -> list[int]:
    """Indices of the boxes of one class that stay, the best first."""
    order = np.argsort(-score, kind="stable")
    if least is not None:
        order = order[score[order] > least]
    area = np.prod(corners[:, 2:] - corners[:, :2], axis=1)
    kept: list[int] = []
    while order.size and len(kept) < most:
        best, order = int(order[0]), order[1:]
        kept.append(best)
        lower = np.maximum(corners[best, :2], corners[order, :2])
        upper = np.minimum(corners[best, 2:], corners[order, 2:])
        common = np.prod(np.maximum(upper - lower, 0), axis=1)
        union = area[best] + area[order] - common
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = np.where(union > 0, common / union, 0)
        order = order[~(ratio > overlap)]
    return kept
