"""Tensors of any rank as maps: which axis holds the channels, and how pixels lie in the others."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fpga_gen.frontend.problems import Refused
from fpga_gen.frontend.values import Builder
from fpga_gen.frontend.view import View, outside, reshaped, transposed


@dataclass(frozen=True)
class ViewLayout:
    """A tensor of any rank as a map: `axis` holds the channels, all others the pixels.

    others: sizes of the other axes; size: (height, width) of the map.
    """

    axis: int
    others: tuple[int, ...]
    size: tuple[int, int]

    def forward(self, view: View) -> View | None:
        """(1, C, H, W) of a view with the tensor's axes, each of which may be 1 instead."""
        order = [self.axis, *(k for k in range(len(view.axes)) if k != self.axis)]
        moved = transposed(view, order)
        sizes = moved.shape[1:]
        if sizes == self.others:
            return reshaped(moved, (1, moved.shape[0], *self.size))
        if math.prod(sizes) == 1:
            return reshaped(moved, (1, moved.shape[0], 1, 1))
        pixels = [n for n in self.others if n > 1]
        if pixels == [n for n in self.size if n > 1] and len(pixels) == 2:  # broadcast one of two
            kept = [n for n, m in zip(sizes, self.others, strict=True) if m > 1]
            return reshaped(moved, (1, moved.shape[0], *kept))
        return None

    def constant(self, array: np.ndarray, rank: int) -> np.ndarray:
        """A constant that is broadcast against the tensor, as one for the map."""
        array = array.reshape((1,) * (rank - array.ndim) + array.shape)
        moved = np.moveaxis(array, self.axis, 0)
        if math.prod(moved.shape[1:]) == 1:
            return moved.reshape(1, -1, 1, 1)
        try:
            full = np.broadcast_to(moved, (moved.shape[0], *self.others))
        except ValueError:
            raise Refused(
                f"its constant of shape {list(array.shape)} makes more of the map than it is",
                "expand the map before, or leave this to the end of the network",
            ) from None
        return full.reshape(1, -1, *self.size)

    def backward(self, view: View) -> View | None:
        """A map (1, C, H, W) with the tensor's axes, whatever its channels."""
        plain = reshaped(view, (view.shape[1], *self.others))
        if plain is None:
            return None
        order = list(range(1, len(self.others) + 1))
        order.insert(self.axis, 0)
        return transposed(plain, order)


def layouts(builder: Builder, view: View, axes: Sequence[int]) -> list[ViewLayout]:
    """Layouts in which a view may be a map, the likely ones first; axes: that may hold channels."""
    found = []
    for axis in axes:
        others = tuple(n for k, n in enumerate(view.shape) if k != axis)
        pixels = math.prod(others)
        sizes = [(others[1], others[2])] if len(others) == 3 and others[0] == 1 else []
        start = sum(int(a[~outside(a)][0]) for a in view.axes if (~outside(a)).any())
        if 0 <= start < builder.bases[-1]:
            _, height, width = builder.shape(builder.owner(start))
            sizes += [(height, width)] if height * width == pixels else []
        sizes += [(1, pixels), (pixels, 1)]
        found += [ViewLayout(axis, others, size) for size in dict.fromkeys(sizes)]
    return found
