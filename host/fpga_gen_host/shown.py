"""What the live page draws of a frame's result: a mask, a map of classes, or the best classes."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image

from fpga_gen_host.deployment import Deployment
from fpga_gen_host.pictures import Preparation, contour, full_mask, uncover

TOP = 5  # classes named of a classifier
TOP_CLASSES = 10  # classes named of a map of classes
TINT, OUTLINE = (0, 220, 90, 70), (0, 255, 110, 255)  # RGBA of a mask
ALPHA = 130  # of a map of classes
GOLDEN = 0.618034  # of a turn between the hues of two classes: neighbours differ most


def describe(
    outputs: Mapping[str, np.ndarray], deployment: Deployment, picture: np.ndarray
) -> dict[str, Any]:
    """The first output for a reader, JSON-able; pictures are PNG files in hexadecimal digits.

    One channel of a map: `mask`, its `share` of the picture and the mean probability inside. More
    channels, or whole numbers: `mask` in colours and `parts`, the share of each class. One number
    for each class: `classes`, the most probable ones. Anything else: a `note` of its shape.
    """
    name = deployment.output_names[0]
    values, how = outputs[name], deployment.preparation
    size = (picture.shape[0], picture.shape[1])
    if values.ndim == 4 and values.shape[:2] == (1, 1) and values.size > 1 and _real(values):
        inside = values[0, 0] > deployment.threshold
        full = full_mask(inside, size, how)
        likely = values[0, 0] if deployment.threshold else 1 / (1 + np.exp(-values[0, 0]))
        return {
            "mask": mask_png(full).hex(),
            "share": float(full.mean()),
            "confidence": float(likely[inside].mean()) if inside.any() else None,
        }
    classes = class_map(values)
    if classes is not None:
        full = full_classes(classes, size, how)
        numbers, counts = np.unique(full, return_counts=True)
        order = np.argsort(-counts, kind="stable")[:TOP_CLASSES]
        return {
            "mask": classes_png(full).hex(),
            "parts": [
                {
                    "number": int(numbers[i]),
                    "share": float(counts[i] / full.size),
                    "colour": "#" + bytes(class_colours(numbers[i : i + 1])[0].tolist()).hex(),
                }
                for i in order
            ],
        }
    if _real(values) and values.ndim >= 2 and values.size == values.shape[1] > 1:
        return {"classes": best_classes(values.reshape(-1).astype(np.float64))}
    shape = " x ".join(map(str, values.shape)) or "one number"
    return {"note": f"{name}: {shape}. This page draws masks and classes; boxes are yours to draw."}


def _real(values: np.ndarray) -> bool:
    return values.dtype.kind == "f"


def class_map(values: np.ndarray) -> np.ndarray | None:
    """int (h, w): the class of each pixel, of scores (1, C, h, w) or of the numbers themselves;
    None if these are no maps."""
    if values.ndim == 4 and len(values) == 1 and min(values.shape[1:]) > 1 and _real(values):
        return values[0].argmax(0)
    if values.ndim in (3, 4) and not _real(values) and values.size == np.prod(values.shape[-2:]):
        return values.reshape(values.shape[-2:]) if min(values.shape[-2:]) > 1 else None
    return None


def best_classes(scores: np.ndarray) -> list[dict[str, Any]]:
    """The most probable classes; scores that are no probabilities go through a softmax."""
    if not (scores.min() >= 0 and abs(scores.sum() - 1) < 1e-3):
        scores = np.exp(scores - scores.max())
        scores /= scores.sum()
    best = np.argsort(-scores)[:TOP]
    return [{"number": int(i), "probability": float(scores[i])} for i in best]


def full_classes(classes: np.ndarray, size: tuple[int, int], how: Preparation) -> np.ndarray:
    """int (h, w) at the picture's own size, by nearest neighbour."""
    inner = uncover(classes, size, how)
    rows, columns = (
        np.minimum((np.arange(n) + 0.5) * have / n, have - 1).astype(int)
        for n, have in zip(size, inner.shape, strict=True)
    )
    return inner[np.ix_(rows, columns)]


def class_colours(numbers: np.ndarray) -> np.ndarray:
    """uint8 (n, 3): a colour for each class, always the same one."""
    hue = np.asarray(numbers, np.float64) * GOLDEN % 1
    pixels = np.stack([255 * hue, np.full_like(hue, 190), np.full_like(hue, 230)], -1)
    image = Image.fromarray(np.rint(pixels).astype(np.uint8)[None], "HSV")
    return np.asarray(image.convert("RGB"))[0]


def classes_png(classes: np.ndarray) -> bytes:
    """The map (h, w) as a PNG that lets the picture shine through."""
    numbers, places = np.unique(classes, return_inverse=True)
    pixels = np.full((*classes.shape, 4), ALPHA, np.uint8)
    pixels[..., :3] = class_colours(numbers)[places.reshape(classes.shape)]
    return _png(pixels)


def mask_png(mask: np.ndarray) -> bytes:
    """The mask (h, w) as a transparent PNG: tinted inside, outlined."""
    pixels = np.zeros((*mask.shape, 4), np.uint8)
    pixels[mask] = TINT
    pixels[contour(mask)] = OUTLINE
    return _png(pixels)


def _png(pixels: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, format="PNG")
    return stream.getvalue()
