"""Detections of SSD (arXiv 1512.02325): offsets of default boxes and scores of classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from math import sqrt

import numpy as np

from fpga_gen_host.errors import InputError
from fpga_gen_host.host_detect import suppress

VARIANCE = (0.1, 0.2)  # by which the network's offsets of centres and sizes are scaled


@dataclass(frozen=True)
class DefaultBoxes:
    """Shape of the default boxes of square pictures of `size` pixels. maps: height and width of
    every map; steps: pixels from a box to its neighbour; sizes: of a map's boxes, and one more for
    the largest; ratios: of width and height beside 1."""

    size: int
    maps: tuple[int, ...]
    steps: tuple[int, ...]
    sizes: tuple[float, ...]
    ratios: tuple[tuple[int, ...], ...]

    def boxes(self) -> np.ndarray:
        """float32 (n, 4): x, y of the centre, width, height, as shares of the picture's."""
        found = []
        for k, count in enumerate(self.maps):
            size = self.sizes[k] / self.size
            shapes = [(size, size), (sqrt(size * self.sizes[k + 1] / self.size),) * 2]
            for ratio in self.ratios[k]:
                root = sqrt(ratio)
                shapes += [(size * root, size / root), (size / root, size * root)]
            step = self.steps[k] / self.size
            for row, column in product(range(count), repeat=2):
                found += [((column + 0.5) * step, (row + 0.5) * step, *s) for s in shapes]
        return np.clip(np.array(found, np.float32), 0, 1)


_FOUR, _SIX = (2,), (2, 3)
# Of COCO, as the authors of HarDNet trained them.
SSD300 = DefaultBoxes(
    300, (38, 19, 10, 5, 3, 1), (8, 16, 32, 64, 100, 300), (21, 45, 99, 153, 207, 261, 315),
    (_SIX, _SIX, _SIX, _SIX, _FOUR, _FOUR),
)  # fmt: skip
SSD512 = DefaultBoxes(
    512, (64, 32, 16, 8, 4, 2, 1), (8, 16, 32, 64, 128, 256, 512),
    (20.48, 51.2, 133.12, 215.04, 296.96, 378.88, 460.8, 542.72),
    (_SIX, _SIX, _SIX, _SIX, _SIX, _FOUR, _FOUR),
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Detections:
    """The best first. boxes: float32 (n, 4): x, y of the corners, as shares of the picture's width
    and height; scores: (n,); classes: int64 (n,), 0 is the first that is no background."""

    boxes: np.ndarray
    scores: np.ndarray
    classes: np.ndarray


def decode_boxes(
    offsets: np.ndarray,
    logits: np.ndarray,
    defaults: np.ndarray,
    *,
    least: float = 0.3,
    overlap: float = 0.45,
    most: int = 200,
) -> Detections:
    """Detections from the results of a network for one picture.

    offsets: (1, n, 4); logits: (1, n, 1 + classes), the background first; defaults: (n, 4) of
    `DefaultBoxes.boxes`; least: smallest score, 0..1; overlap: above this ratio of intersection and
    union, of two boxes of a class the worse one falls; most: as many at most.

    Raises:
        InputError: the shapes do not belong together.
    """
    count = len(defaults)
    if offsets.shape != (1, count, 4) or logits.ndim != 3 or logits.shape[:2] != (1, count):
        raise InputError(
            f"offsets of shape {offsets.shape} and scores of {logits.shape} do not belong to "
            f"{count} default boxes"
        )
    shifted = np.exp(logits[0] - logits[0].max(1, keepdims=True))
    scores = (shifted / shifted.sum(1, keepdims=True))[:, 1:]
    centre = defaults[:, :2] + VARIANCE[0] * offsets[0, :, :2] * defaults[:, 2:]
    size = defaults[:, 2:] * np.exp(VARIANCE[1] * offsets[0, :, 2:])
    boxes = np.concatenate([centre - size / 2, centre + size / 2], 1)
    attributes = {"most": most, "overlap": overlap, "least": least, "centred": False}
    found = suppress(attributes, boxes[None], scores.T[None])
    score = scores[found[:, 2], found[:, 1]]
    order = np.argsort(-score, kind="stable")[:most]
    return Detections(
        np.clip(boxes[found[order, 2]], 0, 1).astype(np.float32),
        score[order].astype(np.float32),
        found[order, 1],
    )


def draw_boxes(
    picture: np.ndarray, boxes: np.ndarray, colour: Sequence[int] = (255, 64, 64)
) -> np.ndarray:
    """uint8 (h, w, 3): a picture with frames of one pixel; boxes: (n, 4): x, y of the corners, in
    pixels."""
    drawn = picture.copy()
    height, width = picture.shape[:2]
    for box in np.rint(boxes).astype(int):
        left, right = np.clip(box[[0, 2]], 0, width - 1)
        upper, lower = np.clip(box[[1, 3]], 0, height - 1)
        drawn[[upper, lower], left : right + 1] = colour
        drawn[upper : lower + 1, [left, right]] = colour
    return drawn
