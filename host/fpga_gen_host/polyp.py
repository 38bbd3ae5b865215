"""Segmentation masks on pictures: threshold, letterbox bars off, tint and contour."""

from __future__ import annotations

import numpy as np

from fpga_gen_host.accelerator import Outputs
from fpga_gen_host.deployment import Deployment
from fpga_gen_host.errors import InputError
from fpga_gen_host.pictures import letterbox_box
from fpga_gen_host.prepare import resize

COLOUR = (40, 220, 90)
TINT = 0.4  # share of the colour inside the mask
TINTED = tuple(  # per channel: value of a pixel inside -> its tinted value
    np.rint((1 - TINT) * np.arange(256) + TINT * c).astype(np.uint8) for c in COLOUR
)


def mask_of(outputs: Outputs, deployment: Deployment) -> np.ndarray:
    """bool (h, w) at the model's resolution, of the first output, a one-channel map."""
    name = deployment.output_names[0]
    values = outputs[name]
    if values.ndim != 4 or values.shape[:2] != (1, 1):
        raise InputError(f"output '{name}' has shape {values.shape}, a mask needs (1, 1, h, w)")
    return values[0, 0] > deployment.threshold


def uncover(mask: np.ndarray, size: tuple[int, int], deployment: Deployment) -> np.ndarray:
    """The part of a mask that belongs to the picture of `size` (h, w), without letterbox bars."""
    if deployment.preparation.fit != "letterbox":
        return mask
    top, left, height, width = letterbox_box(size, (mask.shape[0], mask.shape[1]))
    return mask[top : top + height, left : left + width]


def full_mask(mask: np.ndarray, size: tuple[int, int], deployment: Deployment) -> np.ndarray:
    """bool mask at the picture's own size (h, w)."""
    inner = uncover(np.asarray(mask, bool), size, deployment)
    return resize(inner.astype(np.uint8) * 255, *size) > 127


def contour(mask: np.ndarray) -> np.ndarray:
    """bool (h, w): mask pixels with a neighbour (of four) outside; the border is no outside."""
    padded = np.pad(mask, 1, mode="edge")
    inside = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return mask & ~inside


def overlay(picture: np.ndarray, mask: np.ndarray, deployment: Deployment) -> np.ndarray:
    """uint8 (h, w, 3): the picture with the mask tinted and outlined at its own resolution."""
    full = full_mask(mask, (picture.shape[0], picture.shape[1]), deployment)
    out = picture.copy()
    box = _box(full)
    inside, part = full[box], out[box]
    for channel, table in enumerate(TINTED):
        values = part[..., channel]
        values[:] = np.where(inside, table[values], values)
    part[contour(full)[box]] = COLOUR
    return out


def _box(mask: np.ndarray) -> tuple[slice, slice]:
    """Rows and columns that enclose the mask: most of a picture is outside, and left alone."""
    spans = []
    for axis in (1, 0):
        used = np.flatnonzero(mask.any(axis))
        spans.append(slice(used[0], used[-1] + 1) if used.size else slice(0, 0))
    return spans[0], spans[1]
