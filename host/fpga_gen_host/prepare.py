"""Pictures and arrays into the input region.

A picture goes through a table from pixel value to stored integer: normalisation and quantisation
of 3 x 256 values are computed once, in the same steps as the compiler's reference.
"""

from __future__ import annotations

import numpy as np

from fpga_gen_host.deployment import Deployment
from fpga_gen_host.errors import InputError
from fpga_gen_host.model_input import (
    as_image,
    prepare_input,
    quantise,
    scale_channels,
    space_to_depth,
)
from fpga_gen_host.pictures import fit_picture, normalise
from fpga_gen_host.regions import BEAT_BYTES, carry_fourth, pack_input


class InputPacker:
    """Writes frames into the input region of one network."""

    def __init__(self, deployment: Deployment) -> None:
        self._layout = deployment.input
        self._tensor = deployment.input_tensor
        self._shape = deployment.model_shape
        self._host, self._own = deployment.host_input, deployment.array_shape[1:]
        self._block = self._host.space_to_depth
        self._how = deployment.preparation
        self._table = self._pixel_table() if self._shape[0] in (1, 3) else None
        self._pairs = self._pair_tables() if self._is_direct() else None
        self._frame: np.ndarray | None = None
        self._words: np.ndarray | None = None  # of the map, before they are packed

    def pack(self, array: np.ndarray, region: np.ndarray) -> None:
        """Writes one frame.

        Args:
            array: uint8 (h, w, 3) RGB picture of any size, or the model's input as real numbers in
                the model's own shape, with or without the batch axis, already normalised.
            region: uint8 (input bytes,).

        Raises:
            InputError: the array fits neither.
        """
        array = np.asarray(array)
        if array.dtype == np.uint8:
            self._pack_picture(array, region)
            return
        image = as_image(self._host, array)
        if image is None or array.dtype.kind not in "fiu":
            raise InputError(
                f"array {array.dtype} {array.shape}: give a uint8 picture (height, width, 3) or "
                f"the model's input of shape {self._own}"
            )
        real = np.asarray(image, np.float64)
        if not np.isfinite(real).all():
            raise InputError("the array holds values that are not finite")
        self.pack_stored(self._quantise(prepare_input(self._host, real)), region)

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
        """Stored integers of real numbers, float64, of the engine's input."""
        t = self._tensor
        stored = quantise(real, t.scale, t.zero, t.lo, t.hi)
        return stored.astype(np.int16 if t.bits == 16 else np.int8)

    # --- pictures --------------------------------------------------------------------------
    def _pixel_table(self) -> np.ndarray:
        """(channels, 256): stored integer of each pixel value."""
        values = np.repeat(np.arange(256)[:, None], self._shape[0], axis=1)
        real = normalise(values, self._how).astype(np.float64).T  # the model's input is float32
        return self._quantise(scale_channels(self._host, real))

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
        fitted = self._framed(fit_picture(picture, self._shape, self._how))
        if self._pairs is not None:
            self._pack_direct(np.ascontiguousarray(fitted), region)
            return
        assert self._table is not None
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
