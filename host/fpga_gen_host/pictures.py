"""Pictures in memory: fitting to the model's size, normalising, masks drawn on them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from fpga_gen_host.errors import InputError

FITS = ("stretch", "letterbox")
COLOUR = (40, 220, 90)  # of a mask
TINT = 0.4  # share of the colour inside the mask
LEGEND = 20  # rows
TINTED = tuple(  # per channel: value of a pixel inside -> its tinted value
    np.rint((1 - TINT) * np.arange(256) + TINT * c).astype(np.uint8) for c in COLOUR
)


@dataclass(frozen=True)
class Preparation:
    """How a picture becomes the model's input: real = (value / 255 - mean) / std.

    fit: 'stretch' resizes both axes on their own, 'letterbox' keeps the aspect ratio and fills the
    rest with the value `grey`.
    """

    fit: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    grey: int


# --- picture -> model input -------------------------------------------------------------------


def letterbox_box(size: tuple[int, int], target: tuple[int, int]) -> tuple[int, int, int, int]:
    """(top, left, height, width) of a picture of `size` (h, w) inside `target` (h, w)."""
    scale = min(target[0] / size[0], target[1] / size[1])
    height = min(target[0], max(1, round(size[0] * scale)))
    width = min(target[1], max(1, round(size[1] * scale)))
    return (target[0] - height) // 2, (target[1] - width) // 2, height, width


def resize(picture: np.ndarray, height: int, width: int) -> np.ndarray:
    """Bilinear, anti-aliased; uint8 (h, w) or (h, w, 3)."""
    if picture.shape[:2] == (height, width):
        return picture
    image = Image.fromarray(np.ascontiguousarray(picture))
    return np.asarray(image.resize((width, height), Image.Resampling.BILINEAR))


def fit_picture(picture: np.ndarray, shape: tuple[int, int, int], how: Preparation) -> np.ndarray:
    """uint8 RGB picture of any size -> uint8 (H, W, C) for a model of `shape` (C, H, W); C is 3, or
    1 for luminance.

    Raises:
        InputError: it is no picture, or the model takes none.
    """
    if shape[0] not in (1, 3):
        raise InputError(
            f"the model's input has {shape[0]} channels, a picture has 3: give an array of shape "
            f"{tuple(shape)}"
        )
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
        raise InputError(
            f"a picture is uint8 (height, width, 3), this is {picture.dtype} {picture.shape}"
        )
    if 0 in picture.shape:
        raise InputError("the picture has no pixels")
    size = shape[1], shape[2]
    if how.fit == "letterbox":
        top, left, height, width = letterbox_box((picture.shape[0], picture.shape[1]), size)
        fitted = np.full((*size, 3), how.grey, np.uint8)
        fitted[top : top + height, left : left + width] = resize(picture, height, width)
    else:
        fitted = resize(picture, *size)
    if shape[0] == 1:
        return np.asarray(Image.fromarray(fitted).convert("L"))[..., None]
    return fitted


def normalise(values: np.ndarray, how: Preparation) -> np.ndarray:
    """float32 of pixel values 0..255 (..., C); the first C means and deviations count."""
    mean, std = (np.array(v[: values.shape[-1]]) for v in (how.mean, how.std))
    return ((values / 255.0 - mean) / std).astype(np.float32)


def model_input(picture: np.ndarray, shape: tuple[int, int, int], how: Preparation) -> np.ndarray:
    """Model input float32 (C, H, W) of a uint8 RGB picture; InputError as `fit_picture`."""
    return normalise(fit_picture(picture, shape, how), how).transpose(2, 0, 1).copy()


# --- masks ------------------------------------------------------------------------------------


def uncover(mask: np.ndarray, size: tuple[int, int], how: Preparation) -> np.ndarray:
    """The part of a mask that belongs to the picture of `size` (h, w), without letterbox bars."""
    if how.fit != "letterbox":
        return mask
    top, left, height, width = letterbox_box(size, (mask.shape[0], mask.shape[1]))
    return mask[top : top + height, left : left + width]


def full_mask(mask: np.ndarray, size: tuple[int, int], how: Preparation) -> np.ndarray:
    """bool mask at the picture's own size (h, w)."""
    inner = uncover(np.asarray(mask, bool), size, how)
    return resize(inner.astype(np.uint8) * 255, *size) > 127


def contour(mask: np.ndarray) -> np.ndarray:
    """bool (h, w): mask pixels with a neighbour (of four) outside; the border is no outside."""
    padded = np.pad(mask, 1, mode="edge")
    inside = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return mask & ~inside


def overlay(picture: np.ndarray, mask: np.ndarray, how: Preparation) -> np.ndarray:
    """uint8 (h, w, 3): the picture with the mask tinted and outlined at its own resolution."""
    full = full_mask(mask, (picture.shape[0], picture.shape[1]), how)
    out = picture.copy()
    box = _box(full)
    inside, part = full[box], out[box]
    for channel, table in enumerate(TINTED):
        values = part[..., channel]
        values[:] = np.where(inside, table[values], values)
    part[contour(full)[box]] = COLOUR
    return out


def with_legend(drawn: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """uint8 (h + LEGEND, w, 3): a drawn overlay, below it what its colour means.

    mask: bool (h, w), see `full_mask`.
    """
    strip = Image.new("RGB", (drawn.shape[1], LEGEND), (255, 255, 255))
    draw = ImageDraw.Draw(strip)
    edge, side = 4, LEGEND - 9
    draw.rectangle((edge, edge, edge + side, edge + side), tuple(t[255] for t in TINTED), COLOUR)
    text = f"mask of the network, {mask.mean():.1%} of the picture"
    draw.text((2 * edge + side + 2, edge), text, (40, 40, 40), ImageFont.load_default())
    return np.concatenate([drawn, np.asarray(strip)])


def _box(mask: np.ndarray) -> tuple[slice, slice]:
    """Rows and columns that enclose the mask: most of a picture is outside, and left alone."""
    spans = []
    for axis in (1, 0):
        used = np.flatnonzero(mask.any(axis))
        spans.append(slice(used[0], used[-1] + 1) if used.size else slice(0, 0))
    return spans[0], spans[1]
