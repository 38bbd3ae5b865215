"""From the model's input to the stored integers of the engine's input tensor."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fpga_gen_host.errors import InputError


@dataclass(frozen=True)
class HostInput:
    """How the host turns the model's input (C, H, W) into the engine's input tensor.

    In this order: pads (top, left, bottom, right) zeros around the image; value * gain[c] +
    offset[c] (empty: as it is; else the engine reads pixel values 0..255);
    space_to_depth = b: engine channel (py * b + px) * C + c at (y, x) holds model channel c at
    (y*b + py, x*b + px) of the padded image. b = 1 leaves it as it is.

    array_shape: of the model's input itself, batch included (empty: (1, C, H, W)); channels_last:
    its last axis holds the channels. Everything here works on (C, H, W), see `as_image`.
    """

    model_shape: tuple[int, int, int]
    space_to_depth: int = 1
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)
    gain: tuple[float, ...] = ()
    offset: tuple[float, ...] = ()
    array_shape: tuple[int, ...] = ()
    channels_last: bool = False

    @property
    def padded_shape(self) -> tuple[int, int, int]:
        c, h, w = self.model_shape
        top, left, bottom, right = self.pads
        return c, h + top + bottom, w + left + right


def as_image(host_input: HostInput, array: np.ndarray) -> np.ndarray | None:
    """(C, H, W) of a model input in the model's own shape, with or without the batch axis; None if
    it has another shape."""
    own = host_input.array_shape or (1, *host_input.model_shape)
    channels, height, width = host_input.model_shape
    if array.shape in (own, own[1:]):
        if host_input.channels_last:
            return np.moveaxis(array.reshape(height, width, channels), 2, 0)
        return array.reshape(host_input.model_shape)
    if array.shape in (host_input.model_shape, (1, *host_input.model_shape)):
        return array.reshape(host_input.model_shape)
    return None


def prepare_input(host_input: HostInput, image: np.ndarray) -> np.ndarray:
    """Engine input of a model input: (C, H, W) -> (b*b*C, H'/b, W'/b), of the image's type.

    Raises:
        InputError: the image has another shape.
    """
    if image.shape != host_input.model_shape:
        raise InputError(
            f"image has shape {tuple(image.shape)}, the model takes {host_input.model_shape}"
        )
    top, left, bottom, right = host_input.pads
    if any(host_input.pads):
        image = np.pad(image, ((0, 0), (top, bottom), (left, right)))
    return space_to_depth(scale_channels(host_input, image), host_input.space_to_depth)


def scale_channels(host_input: HostInput, values: np.ndarray) -> np.ndarray:
    """value * gain[c] + offset[c] of (C, ...), in the type of the values."""
    if not host_input.gain:
        return values
    gain, offset = (
        np.reshape(np.array(v, values.dtype), (-1,) + (1,) * (values.ndim - 1))
        for v in (host_input.gain, host_input.offset)
    )
    return values * gain + offset


def space_to_depth(image: np.ndarray, block: int) -> np.ndarray:
    """(C, H, W) -> (b*b*C, H/b, W/b); channel (py * b + px) * C + c holds pixel (py, px)."""
    if block == 1:
        return image
    c, h, w = image.shape
    blocks = image.reshape(c, h // block, block, w // block, block).transpose(2, 4, 0, 1, 3)
    return np.ascontiguousarray(blocks).reshape(block * block * c, h // block, w // block)


def quantise(real: np.ndarray, scale: float, zero: int, lo: int, hi: int) -> np.ndarray:
    """Stored values, still float64, of real ones: rint(real / scale) + zero within lo..hi."""
    return np.clip(np.rint(real / scale) + zero, lo, hi)


def dequantise(stored: np.ndarray, scale: float, zero: int) -> np.ndarray:
    """Real values, float64, of stored integers."""
    return (stored.astype(np.float64) - zero) * scale
