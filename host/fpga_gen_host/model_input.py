"""From the model's input to the stored integers of the engine's input tensor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from fpga_gen_host.errors import InputError


@dataclass(frozen=True)
class InputPart:
    """One of several inputs of a model: some channels (C, H, W) of the engine's input. array_shape:
    its own, batch included; channels_last: its last axis holds the channels."""

    name: str
    shape: tuple[int, int, int]
    array_shape: tuple[int, ...]
    channels_last: bool = False

    def image(self, array: np.ndarray) -> np.ndarray | None:
        """(C, H, W) of an array in the input's own shape, with or without the batch axis, or of
        (1, C, H, W); None if it has another shape."""
        channels, height, width = self.shape
        if array.shape in (self.array_shape, self.array_shape[1:]):
            if self.channels_last:
                return np.moveaxis(array.reshape(height, width, channels), 2, 0)
            return array.reshape(self.shape)
        if array.shape in (self.shape, (1, *self.shape)):
            return array.reshape(self.shape)
        return None


@dataclass(frozen=True)
class HostInput:
    """How the host turns the model's input (C, H, W) into the engine's input tensor.

    In this order: pads (top, left, bottom, right) zeros around the image; value * gain[c] +
    offset[c] (empty: as it is; else the engine reads pixel values 0..255);
    space_to_depth = b: engine channel (py * b + px) * C + c at (y, x) holds model channel c at
    (y*b + py, x*b + px) of the padded image. b = 1 leaves it as it is.

    array_shape: of the model's input itself, batch included (empty: (1, C, H, W)); channels_last:
    its last axis holds the channels; parts: the inputs of a model that has several, whose channels
    are one image. Everything here works on (C, H, W), see `as_image`.
    """

    model_shape: tuple[int, int, int]
    space_to_depth: int = 1
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)
    gain: tuple[float, ...] = ()
    offset: tuple[float, ...] = ()
    array_shape: tuple[int, ...] = ()
    channels_last: bool = False
    parts: tuple[InputPart, ...] = ()

    @property
    def inputs(self) -> tuple[InputPart, ...]:
        """The model's inputs; the name of an only one is empty."""
        own = self.array_shape or (1, *self.model_shape)
        return self.parts or (InputPart("", self.model_shape, own, self.channels_last),)

    @property
    def padded_shape(self) -> tuple[int, int, int]:
        c, h, w = self.model_shape
        top, left, bottom, right = self.pads
        return c, h + top + bottom, w + left + right


def as_image(
    host_input: HostInput, given: np.ndarray | Mapping[str, np.ndarray]
) -> np.ndarray | None:
    """(C, H, W) of a model input in the model's own shape, with or without the batch axis; of
    several inputs by name. None if something has another shape or is missing."""
    if not host_input.parts:
        return None if isinstance(given, Mapping) else host_input.inputs[0].image(given)
    if not isinstance(given, Mapping) or set(given) != {p.name for p in host_input.parts}:
        return None
    images = [part.image(np.asarray(given[part.name])) for part in host_input.parts]
    found = [image for image in images if image is not None]
    return np.concatenate(found) if len(found) == len(images) else None


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
