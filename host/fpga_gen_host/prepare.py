"""Pictures and arrays into the input region.

A picture goes through a table from pixel value to stored integer: normalisation and quantisation
of 3 x 256 values are computed once, in the same steps as the compiler's reference.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

from fpga_gen_host.deployment import Deployment, Preparation
from fpga_gen_host.errors import InputError
from fpga_gen_host.regions import BEAT_BYTES, carry_fourth, pack_input


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


def fit_picture(picture: np.ndarray, size: tuple[int, int], how: Preparation) -> np.ndarray:
    """uint8 RGB picture of any size -> (h, w, 3) of the model's size."""
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
        raise InputError(
            f"a picture is uint8 (height, width, 3), this is {picture.dtype} {picture.shape}"
        )
    if 0 in picture.shape:
        raise InputError("the picture has no pixels")
    if how.fit != "letterbox":
        return resize(picture, *size)
    top, left, height, width = letterbox_box((picture.shape[0], picture.shape[1]), size)
    fitted = np.full((*size, 3), how.grey, np.uint8)
    fitted[top : top + height, left : left + width] = resize(picture, height, width)
    return fitted


def space_to_depth(image: np.ndarray, block: int) -> np.ndarray:
    """(C, H, W) -> (b*b*C, H/b, W/b); channel (py * b + px) * C + c holds pixel (py, px)."""
    if block == 1:
        return image
    c, h, w = image.shape
    blocks = image.reshape(c, h // block, block, w // block, block).transpose(2, 4, 0, 1, 3)
    return np.ascontiguousarray(blocks).reshape(block * block * c, h // block, w // block)


class InputPacker:
    """Writes frames into the input region of one network."""

    def __init__(self, deployment: Deployment) -> None:
        self._layout = deployment.input
        self._tensor = deployment.input_tensor
        self._shape = deployment.model_shape
        self._host = deployment.host_input
        self._block = self._host.space_to_depth
        self._how = deployment.preparation
        self._table = self._pixel_table() if self._shape[0] in (1, 3) else None
        self._pairs = self._pair_tables() if self._is_direct() else None
        self._frame: np.ndarray | None = None
        self._words: np.ndarray | None = None  # of the map, before they are packed

    def pack(self, array: np.ndarray, region: np.ndarray) -> None:
        """Writes one frame.

        Args:
            array: uint8 (h, w, 3) RGB picture of any size, or the model's input as real numbers
                (C, H, W) or (1, C, H, W), already normalised.
            region: uint8 (input bytes,).

        Raises:
            InputError: the array fits neither.
        """
        array = np.asarray(array)
        if array.dtype == np.uint8:
            self._pack_picture(array, region)
            return
        if array.ndim == 4 and array.shape[0] == 1:
            array = array[0]
        if array.shape != self._shape or array.dtype.kind not in "fiu":
            raise InputError(
                f"array {array.dtype} {array.shape}: give a uint8 picture (height, width, 3) or "
                f"the model's input of shape {self._shape}"
            )
        real = np.asarray(array, np.float64)
        if not np.isfinite(real).all():
            raise InputError("the array holds values that are not finite")
        top, left, bottom, right = self._host.pads
        stored = self._quantise(np.pad(real, ((0, 0), (top, bottom), (left, right))))
        self.pack_stored(space_to_depth(stored, self._block), region)

    def pack_stored(self, stored: np.ndarray, region: np.ndarray) -> None:
        """Writes stored integers (C, H, W) of the engine's input tensor."""
        stored = np.asarray(stored)
        if stored.shape != self._tensor.shape or stored.dtype.kind not in "iu":
            raise InputError(
                f"stored input {stored.dtype} {stored.shape}: the engine takes integers of shape "
                f"{self._tensor.shape}"
            )
        region[:] = np.frombuffer(pack_input(self._layout, stored), np.uint8)

    def _quantise(self, real: np.ndarray) -> np.ndarray:
        """Stored integers of real numbers (C, ...), float64, of the model's input."""
        t = self._tensor
        if self._host.gain:
            gain, offset = (
                np.reshape(v, (-1,) + (1,) * (real.ndim - 1))
                for v in (self._host.gain, self._host.offset)
            )
            real = real * gain + offset
        stored = np.clip(np.rint(real / t.scale) + t.zero, t.lo, t.hi)
        return stored.astype(np.int16 if t.bits == 16 else np.int8)

    # --- pictures --------------------------------------------------------------------------
    def _pixel_table(self) -> np.ndarray:
        """(channels, 256): stored integer of each pixel value."""
        channels = self._shape[0]
        mean, std = (np.array(v[:channels])[:, None] for v in (self._how.mean, self._how.std))
        values = np.arange(256) / 255.0
        real = ((values - mean) / std).astype(np.float32)  # the model's input is float32
        return self._quantise(real.astype(np.float64))

    def _framed(self, fitted: np.ndarray) -> np.ndarray:
        """The picture inside the padding, whose pixels stand for the model's 0."""
        if not any(self._host.pads):
            return fitted
        c, h, w = self._shape
        top, left, bottom, right = self._host.pads
        if self._frame is None:
            self._frame = np.empty((h + top + bottom, w + left + right, c), np.uint8)
            self._frame[:] = np.rint(self._host.offset).astype(np.uint8)
        self._frame[top : top + h, left : left + w] = fitted
        return self._frame

    def _pack_picture(self, picture: np.ndarray, region: np.ndarray) -> None:
        if self._table is None:
            raise InputError(
                f"the model's input has {self._shape[0]} channels, a picture has 3: give an "
                f"array of shape {self._shape}"
            )
        fitted = fit_picture(picture, self._shape[1:], self._how)
        if self._shape[0] == 1:
            fitted = np.asarray(Image.fromarray(fitted).convert("L"))[..., None]
        fitted = self._framed(fitted)
        if self._pairs is not None:
            self._pack_direct(np.ascontiguousarray(fitted), region)
            return
        stored = np.stack([self._table[c][fitted[..., c]] for c in range(self._shape[0])])
        self.pack_stored(space_to_depth(stored, self._block), region)

    def _is_direct(self) -> bool:
        """Whether region bytes are pixels in order: 16-channel words that hold all channels."""
        m = self._layout.map
        return (
            self._shape[0] == 3
            and m.height * m.width * self._block**2 % 2 == 0
            and m.word_channels == BEAT_BYTES
            and m.positions == tuple(range(m.channels))
            and m.byte_offset + m.channels <= m.word_channels
        )

    def _pair_tables(self) -> list[list[np.ndarray]]:
        """Per byte plane (high first), per phase: bytes of two neighbours of an RGB row.

        Two values per look-up halve the time; their channels repeat every three pairs.
        """
        assert self._table is not None
        wide = self._table.astype(np.int32)
        planes = [wide >> 8, (wide & 255) - 128] if self._layout.map.low else [wide]
        value = np.arange(1 << 16)
        tables = []
        for plane in planes:
            code = (plane & 255).astype(np.uint16)
            tables.append(
                [
                    (code[a][value & 255] | code[b][value >> 8] << 8).astype("<u2")
                    for a, b in ((0, 1), (2, 0), (1, 2))
                ]
            )
        return tables

    def _pack_direct(self, fitted: np.ndarray, region: np.ndarray) -> None:
        """Table look-up and space-to-depth straight into the region's words."""
        assert self._pairs is not None
        m, block = self._layout.map, self._block
        size, row = m.height * m.width, 3 * block
        words = region.reshape(-1, BEAT_BYTES)
        if self._layout.packed:
            if self._words is None:
                self._words = np.zeros(
                    (self._layout.load_words * self._layout.part, BEAT_BYTES), np.uint8
                )
            words = self._words
        index = fitted.reshape(-1).view("<u2").reshape(-1, 3)
        codes = np.empty(index.shape, "<u2")
        # Rows of `block` pixels are moved as one item each.
        fields = np.dtype(
            {
                "names": [f"row{py}" for py in range(block)],
                "formats": [f"V{row}"] * block,
                "offsets": [m.byte_offset + py * row for py in range(block)],
                "itemsize": BEAT_BYTES,
            }
        )
        for first, tables in zip((0, m.low)[: len(self._pairs)], self._pairs, strict=True):
            for k in range(3):
                codes[:, k] = np.take(tables[k], index[:, k], mode="wrap")
            rows = codes.view(f"V{row}").reshape(m.height, block, m.width)
            target = words[first : first + size].view(fields).reshape(m.height, m.width)
            for py in range(block):
                target[f"row{py}"] = rows[:, py]
        if self._layout.packed:
            parts = words.reshape(self._layout.load_words, self._layout.part, BEAT_BYTES)
            region.reshape(self._layout.load_words, -1, BEAT_BYTES)[:] = carry_fourth(parts)
