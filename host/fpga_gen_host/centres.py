"""Detections of networks that mark centres: CenterNet (arXiv 1904.07850), FairMOT (2004.01888)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fpga_gen_host.errors import InputError

WINDOW = 3  # pixels: a peak is the largest value of so many by so many


@dataclass(frozen=True, eq=False)
class Centres:
    """Detections, the best first. boxes: float32 (n, 4): x, y of the corners, in pixels of the
    model's input; scores: (n,); classes: int64 (n,); embeddings: (n, k) of unit length, or None."""

    boxes: np.ndarray
    scores: np.ndarray
    classes: np.ndarray
    embeddings: np.ndarray | None = None


def decode_centres(
    peaks: np.ndarray,
    sizes: np.ndarray,
    offsets: np.ndarray,
    embeddings: np.ndarray | None = None,
    *,
    stride: int = 4,
    least: float = 0.3,
    most: int = 100,
) -> Centres:
    """Detections from the results of a network, logits in `peaks`, for one picture.

    peaks: (1, classes, h, w); sizes: (1, 2, h, w): width and height of the box, or (1, 4, h, w):
    distances from the centre to its left, upper, right and lower side; offsets: (1, 2, h, w): x and
    y of the centre within its pixel; embeddings: (1, k, h, w). All in pixels of these maps, which
    are `stride` times as large as those of the input. least: smallest score, 0..1; most: as many at
    most.

    Raises:
        InputError: the shapes do not belong together.
    """
    _check(peaks, sizes, offsets, embeddings)
    score = 1 / (1 + np.exp(-peaks[0].astype(np.float32)))
    score[score < _neighbours(score)] = 0
    flat = score.reshape(-1)
    order = np.argsort(-flat, kind="stable")[:most]
    order = order[flat[order] >= least]
    kinds, y, x = np.unravel_index(order, score.shape)
    cx, cy = x + offsets[0, 0, y, x], y + offsets[0, 1, y, x]
    size = sizes[0][:, y, x]
    if len(size) == 2:
        size = np.concatenate([size / 2, size / 2])
    boxes = np.stack([cx - size[0], cy - size[1], cx + size[2], cy + size[3]], 1) * stride
    vectors = None
    if embeddings is not None:
        vectors = embeddings[0][:, y, x].T.astype(np.float32)
        vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    return Centres(boxes.astype(np.float32), flat[order], kinds.astype(np.int64), vectors)


def _neighbours(score: np.ndarray) -> np.ndarray:
    """Largest value of the window around every pixel."""
    margin = WINDOW // 2
    padded = np.pad(score, ((0, 0), (margin, margin), (margin, margin)), constant_values=-np.inf)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (1, WINDOW, WINDOW))
    return windows.max((-3, -2, -1))


def _check(
    peaks: np.ndarray, sizes: np.ndarray, offsets: np.ndarray, embeddings: np.ndarray | None
) -> None:
    maps = {"peaks": peaks, "sizes": sizes, "offsets": offsets}
    if embeddings is not None:
        maps["embeddings"] = embeddings
    for name, values in maps.items():
        if values.ndim != 4 or len(values) != 1 or values.shape[2:] != peaks.shape[2:]:
            raise InputError(
                f"{name} have the shape {values.shape}, peaks {peaks.shape}: one picture, and maps "
                "of one height and width are needed"
            )
    if sizes.shape[1] not in (2, 4) or offsets.shape[1] != 2:
        raise InputError("sizes have 2 or 4 channels, offsets 2")
