"""The one form of everything that only moves elements: Reshape, Transpose, Slice, Split, Gather,
Concat, Pad, Expand, DepthToSpace and the like compute nothing, they say where elements lie."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

OUTSIDE = -(1 << 56)  # of an axis entry: the element is a zero of a padding
MOST_MERGED = 1 << 24  # elements of axes that a reshape joins


@dataclass(frozen=True, eq=False)
class View:
    """Elements of the maps of a network in an order and shape of its own.

    All maps lie one behind the other in one space of addresses, each in row-major order (see
    `Builder.base`). Element (i, j, ...) is at axes[0][i] + axes[1][j] + ...; it is a zero of a
    padding where one of the entries is (about) OUTSIDE.
    """

    axes: tuple[np.ndarray, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(len(a) for a in self.axes)

    @property
    def padded(self) -> bool:
        """Whether it holds zeros that are in no map."""
        return any(outside(a).any() for a in self.axes)

    def addresses(self) -> np.ndarray:
        """int64 addresses of all elements, in the view's shape."""
        total = np.zeros((), np.int64)
        for axis in self.axes:
            total = np.add.outer(total, axis)
        return total


def outside(axis: np.ndarray) -> np.ndarray:
    """Which entries of an axis, or addresses, are padding."""
    return axis < OUTSIDE // 2


def whole(base: int, shape: Sequence[int]) -> View:
    """Elements from address `base` on in row-major order."""
    steps = [math.prod(shape[k + 1 :]) for k in range(len(shape))]
    axes = [np.arange(n, dtype=np.int64) * s for n, s in zip(shape, steps, strict=True)]
    return View(tuple(a + base if k == 0 else a for k, a in enumerate(axes)))


def transposed(view: View, order: Sequence[int]) -> View:
    return View(tuple(view.axes[a] for a in order))


def taken(view: View, axis: int, index: np.ndarray | slice) -> View:
    """Elements `index` along an axis."""
    return View(tuple(a[index] if k == axis else a for k, a in enumerate(view.axes)))


def padded(view: View, before: Sequence[int], after: Sequence[int]) -> View:
    """Zeros around it."""
    return View(
        tuple(
            np.concatenate([np.full(b, OUTSIDE), axis, np.full(a, OUTSIDE)])
            for axis, b, a in zip(view.axes, before, after, strict=True)
        )
    )


def expanded(view: View, shape: Sequence[int]) -> View:
    """Broadcast to a shape of the same rank or a higher one (ONNX Expand)."""
    full = np.broadcast_shapes(view.shape, tuple(shape))
    axes = [np.zeros(1, np.int64)] * (len(full) - len(view.axes)) + list(view.axes)
    if not view.axes:
        return View(tuple(axes))
    axes = [np.repeat(a, n) if len(a) == 1 else a for a, n in zip(axes, full, strict=True)]
    return View(tuple(axes))


def joined(views: Sequence[View], axis: int) -> View | None:
    """Concatenation along an axis; None if the views differ along others."""
    first, parts = views[0], []
    for view in views:
        shift = 0
        for k, (a, b) in enumerate(zip(first.axes, view.axes, strict=True)):
            if k == axis:
                continue
            inside = ~outside(a)
            step = (b - a)[inside]
            if (inside == outside(b)).any() or (step != step[:1]).any():
                return None
            shift += int(step[0]) if step.size else 0
        parts.append(view.axes[axis] + shift)
    return View(tuple(np.concatenate(parts) if k == axis else a for k, a in enumerate(first.axes)))


def reshaped(view: View, shape: Sequence[int]) -> View | None:
    """The same elements in row-major order under another shape; None if no view has that order."""
    if not shape or math.prod(shape) != math.prod(view.shape):
        return None
    moving = [a for a in view.axes if len(a) > 1]
    offset = sum(int(a[0]) for a in view.axes if len(a) == 1)
    sizes, axes = [n for n in shape if n > 1], []
    while moving:  # the shortest runs of axes with equally many elements
        old, new = [moving.pop(0)], [sizes.pop(0)]
        while (have := math.prod(map(len, old))) != (want := math.prod(new)):
            if have < want:
                old.append(moving.pop(0))
            else:
                new.append(sizes.pop(0))
        part = _regrouped(old, new)
        if part is None:
            return None
        axes += part
    queue = iter(axes)
    out = [next(queue) if n > 1 else np.zeros(1, np.int64) for n in shape]
    return View((out[0] + offset, *out[1:]))


def _regrouped(axes: list[np.ndarray], sizes: list[int]) -> list[np.ndarray] | None:
    """Axes joined to one and divided into others; all are longer than one."""
    if len(sizes) == len(axes) == 1:
        return axes
    if math.prod(sizes) > MOST_MERGED or any(outside(a).any() for a in axes):
        return None
    rest, out = View(tuple(axes)).addresses().reshape(-1), []
    for n in sizes[:-1]:
        table = rest.reshape(n, -1)
        outer, rest = table[:, 0] - table[0, 0], table[0]
        if (outer[:, None] + rest != table).any():
            return None
        out.append(outer)
    return [*out, rest]


def is_whole(view: View, base: int, size: int) -> bool:
    """Whether it is `size` elements from `base` on in row-major order."""
    if math.prod(view.shape) != size or sum(int(a[0]) for a in view.axes) != base:
        return False
    step = 1
    for axis in reversed(view.axes):
        if len(axis) > 1 and (np.diff(axis) != step).any():
            return False
        step *= len(axis)
    return True


def nested(view: View) -> tuple[int, list[int], list[int]] | None:
    """(start, sizes, steps) of an equal sequence of elements as nested counters; None if its
    elements lie more irregularly, or some are padding."""
    if view.padded:
        return None
    start, sizes, steps = 0, [], []
    for axis in view.axes:
        start += int(axis[0])
        found = _counters(axis - axis[0])
        if found is None:
            return None
        for n, s in found:
            sizes.append(n)
            steps.append(s)
    return start, sizes or [1], steps or [1]


def _counters(axis: np.ndarray) -> list[tuple[int, int]] | None:
    """(size, step) of the counters, outermost first, that give the entries of one axis."""
    found: list[tuple[int, int]] = []
    while len(axis) > 1:
        step = int(axis[1] - axis[0])
        breaks = np.flatnonzero(np.diff(axis) != step)
        inner = int(breaks[0]) + 1 if breaks.size else len(axis)
        if len(axis) % inner:
            return None
        table = axis.reshape(-1, inner)
        if (table - table[:, :1] != np.arange(inner) * step).any():
            return None
        found.append((inner, step))
        axis = table[:, 0]
    return found[::-1]
