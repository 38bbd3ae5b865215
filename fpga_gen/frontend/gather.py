"""From a view to maps that operators can read: what a convolution takes in place, else a copy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from fpga_gen.frontend.inputs import MAX_SIZE
from fpga_gen.frontend.values import Builder, Feature
from fpga_gen.frontend.view import View, outside, padded, taken
from fpga_gen.graph.ir import (
    PHASE_CHANNELS,
    AxisTable,
    Concat,
    Conv,
    ConvTerm,
    Interleave,
    Resample,
    Select,
)

Pads = tuple[int, int, int, int]
Channel = tuple[str, int]  # of a map
NO_PADS = (0, 0, 0, 0)
MAX_BLOCK = 8  # of a depth to space
MOST_PHASES = 1 << 10  # each is a convolution of its own


@dataclass(frozen=True, eq=False)
class MapPhase:
    """Channels of a view that begin at the same row and column of their maps. index: their numbers
    in the view."""

    index: tuple[int, ...]
    channels: tuple[Channel, ...]
    row: int
    column: int


@dataclass(frozen=True, eq=False)
class MapView:
    """A view (1, C, H, W) whose channels are parts of channels of maps of one size.

    rows, columns: of the maps, relative to each phase's first; pads: zeros around them; missing:
    channels that are zero.
    """

    shape: tuple[int, ...]
    size: tuple[int, int]
    phases: tuple[MapPhase, ...]
    rows: np.ndarray
    columns: np.ndarray
    pads: Pads

    @property
    def steps(self) -> tuple[int, int] | None:
        """Distance of its rows and of its columns; None if it varies or runs backwards."""
        found = []
        for index in (self.rows, self.columns):
            step = np.unique(np.diff(index)) if len(index) > 1 else np.array([1])
            if len(step) != 1 or step[0] < 1:
                return None
            found.append(int(step[0]))
        return found[0], found[1]

    @property
    def is_selection(self) -> bool:
        """Whether it has all rows and columns of its maps: a selection of channels."""
        h, w = self.size
        return (
            self.pads == NO_PADS
            and len(self.phases) == 1
            and len(self.phases[0].index) == self.shape[1]
            and self.phases[0].row == self.phases[0].column == 0
            and np.array_equal(self.rows, np.arange(h))
            and np.array_equal(self.columns, np.arange(w))
        )

    def window(
        self, phase: MapPhase, kernel: Pads, stride: tuple[int, int], out: tuple[int, int]
    ) -> tuple[tuple[int, int], tuple[int, int], Pads] | None:
        """(stride, dilation, pads) with which a convolution reads the maps instead of the view.

        kernel: (height, width, vertical and horizontal dilation) after padding that is part of the
        view. None if the padding of the view is not that of the maps.
        """
        steps = self.steps
        if steps is None:
            return None
        strides, dilations, before, after = [], [], [], []
        first, counts = (phase.row, phase.column), (len(self.rows), len(self.columns))
        for a in (0, 1):
            step, pad = steps[a], self.pads[a]
            reach = (kernel[a] - 1) * kernel[2 + a] + 1
            last = (out[a] - 1) * stride[a] + reach - 1 - pad  # the last row of the view it reads
            if pad > 0 and first[a] - step >= 0:
                return None
            if last >= counts[a] and first[a] + counts[a] * step < self.size[a]:
                return None
            strides.append(stride[a] * step)
            dilations.append(kernel[2 + a] * step)
            before.append(pad * step - first[a])
            end = (out[a] - 1) * strides[a] + (kernel[a] - 1) * dilations[a] + 1
            after.append(end - self.size[a] - before[a])
        return (
            (strides[0], strides[1]),
            (dilations[0], dilations[1]),
            (before[0], before[1], after[0], after[1]),
        )


def as_map(builder: Builder, view: View) -> MapView | None:
    """How a view of shape (1, C, H, W) reads maps row by row; None if it does not."""
    if len(view.axes) != 4 or len(view.axes[0]) != 1 or outside(view.axes[0]).any():
        return None
    if len(view.axes[1]) > MAX_SIZE:  # everything below goes through its channels one by one
        return None
    rows, columns = (_inside(axis) for axis in view.axes[2:])
    if rows is None or columns is None:
        return None
    (top, bottom, ys), (left, right, xs) = rows, columns
    start = view.axes[0][0] + view.axes[1] + ys[0] + xs[0]
    present = np.flatnonzero(~outside(start))
    if not present.size:
        return None
    number = np.searchsorted(builder.bases, start[present], side="right") - 1
    names = [builder.order[n] for n in number]
    sizes = {builder.shape(builder.order[n])[1:] for n in np.unique(number)}
    if len(sizes) != 1:
        return None
    ((height, width),) = sizes
    local = start[present] - np.array(builder.bases)[number]
    channel, rest = np.divmod(local, height * width)
    row, column = np.divmod(rest, width)
    rows, odd = np.divmod(ys - ys[0], width)
    columns = xs - xs[0]
    if odd.any() or (row + rows.min() < 0).any() or (row + rows.max() >= height).any():
        return None
    if (column + columns.min() < 0).any() or (column + columns.max() >= width).any():
        return None
    places: dict[tuple[int, int], list[int]] = {}
    for k, place in enumerate(zip(row.tolist(), column.tolist(), strict=True)):
        places.setdefault(place, []).append(k)
    if len(places) > MOST_PHASES:
        return None
    phases = []
    for place, mine in sorted(places.items()):
        index = tuple(int(present[k]) for k in mine)
        phases.append(MapPhase(index, tuple((names[k], int(channel[k])) for k in mine), *place))
    pads = (top, left, bottom, right)
    return MapView(view.shape, (height, width), tuple(phases), rows, columns, pads)


def _inside(axis: np.ndarray) -> tuple[int, int, np.ndarray] | None:
    """(entries of padding before and after, entries between); None if there are none, or padding
    among them."""
    inside = np.flatnonzero(~outside(axis))
    if not inside.size or inside[-1] - inside[0] + 1 != inside.size:
        return None
    return int(inside[0]), int(len(axis) - inside[-1] - 1), axis[inside]


def without_pads(view: View) -> tuple[View, Pads]:
    """The part of a view (1, C, H, W) inside its padding, and the padding."""
    rows, columns = (_inside(axis) for axis in view.axes[2:])
    if rows is None or columns is None:
        return view, NO_PADS
    (top, bottom, ys), (left, right, xs) = rows, columns
    return View((*view.axes[:2], ys, xs)), (top, left, bottom, right)


def channels_of(builder: Builder, channels: Sequence[Channel], output: str, onnx_name: str) -> str:
    """A map of these channels of maps of one size, read in place where convolutions read it."""
    key = tuple(channels)
    if key in builder.sources:
        return builder.sources[key]
    parts = []
    for name, run in groupby(key, key=lambda item: item[0]):
        depth, height, width = builder.shape(name)
        picked = tuple(c for _, c in run)
        while picked:
            if picked[:depth] == tuple(range(depth)):  # a whole map, perhaps one of several times
                parts.append(name)
                picked = picked[depth:]
                continue
            many = next(
                (k for k in range(1, len(picked)) if picked[k : k + depth] == tuple(range(depth))),
                len(picked),
            )
            parts.append(
                builder.add(
                    Select, f"{output}.part", (many, height, width), onnx_name,
                    input=name, channels=picked[:many],
                )
            )  # fmt: skip
            picked = picked[many:]
    if len(parts) == 1:
        builder.sources[key] = parts[0]
    else:
        _, height, width = builder.shape(parts[0])
        builder.sources[key] = builder.add(
            Concat, f"{output}.parts", (len(key), height, width), onnx_name, inputs=tuple(parts)
        )
    return builder.sources[key]


def materialised(builder: Builder, view: View, output: str, onnx_name: str) -> Feature | None:
    """The view (1, C, H, W) as a map; None if the engine cannot gather it."""
    found = as_map(builder, view)
    if found is None:
        return _interleaved(builder, view, output, onnx_name)
    channels, *_ = shape = (view.shape[1], view.shape[2], view.shape[3])
    if found.is_selection:
        tensor = channels_of(builder, found.phases[0].channels, output, onnx_name)
        return Feature(tensor, (1, *shape))
    terms = _copy_terms(builder, found, output, onnx_name)
    if terms is not None:
        tensor = builder.add(
            Conv, f"{output}.gathered", shape, onnx_name, terms=terms,
            bias=np.zeros(channels, np.float32),
        )  # fmt: skip
        return Feature(tensor, (1, *shape))
    inner, pads = without_pads(view)
    if any(pads):  # padding around what is cropped: one after the other
        inner_map = materialised(builder, inner, output, onnx_name)
        if inner_map is None:
            return None
        before, after = (0, 0, *pads[:2]), (0, 0, *pads[2:])
        again = padded(builder.view(inner_map), before, after)
        return materialised(builder, again, output, onnx_name)
    phase, *others = found.phases
    if others or len(phase.index) < channels:
        return None
    source = channels_of(builder, phase.channels, output, onnx_name)
    tables = [
        _picking(size, first + index)
        for size, first, index in zip(
            found.size, (phase.row, phase.column), (found.rows, found.columns), strict=True
        )
    ]
    tensor = builder.add(
        Resample, f"{output}.gathered", shape, onnx_name, input=source, y=tables[0], x=tables[1]
    )
    return Feature(tensor, (1, *shape))


def _interleaved(builder: Builder, view: View, output: str, onnx_name: str) -> Feature | None:
    """A view whose rows and columns alternate between channels: depth to space."""
    if len(view.axes) != 4 or len(view.axes[0]) != 1:
        return None
    _, channels, height, width = view.shape
    blocks = [
        (b, c) for b in range(1, MAX_BLOCK + 1) for c in range(1, MAX_BLOCK + 1)
        if b * c > 1 and not height % b and not width % c
    ]  # fmt: skip
    for rows, columns in sorted(blocks, key=lambda block: block[0] * block[1]):
        parts = [
            as_map(builder, taken(taken(view, 2, slice(i, None, rows)), 3, slice(j, None, columns)))
            for i in range(rows) for j in range(columns)
        ]  # fmt: skip
        if not all(part is not None and part.is_selection for part in parts):
            continue
        read = [part.phases[0].channels for part in parts if part is not None]
        wanted = dict.fromkeys(c for part in read for c in part)
        number = {c: k for k, c in enumerate(wanted)}
        depth = -(-channels // PHASE_CHANNELS) * PHASE_CHANNELS
        weight = np.zeros((rows * columns * depth, len(wanted), 1, 1), np.float32)
        for phase, part in enumerate(read):
            for k, c in enumerate(part):
                weight[phase * depth + k, number[c]] = 1
        source = channels_of(builder, list(wanted), output, onnx_name)
        size = (height // rows, width // columns)
        phases = builder.add(
            Conv, f"{output}.phases", (len(weight), *size), onnx_name,
            terms=(ConvTerm(source, weight),), bias=np.zeros(len(weight), np.float32),
        )  # fmt: skip
        tensor = builder.add(
            Interleave, f"{output}.interleaved", (channels, height, width), onnx_name,
            input=phases, block=(rows, columns), channels=channels,
        )  # fmt: skip
        return Feature(tensor, view.shape)
    return None


def _picking(size: int, index: np.ndarray) -> AxisTable:
    """The table that copies these rows or columns."""
    return AxisTable(size, tuple(int(i) for i in index), ((1,),) * len(index), 1)


def _copy_terms(
    builder: Builder, found: MapView, output: str, onnx_name: str
) -> tuple[ConvTerm, ...] | None:
    """Terms of the convolution that copies a view."""
    channels = found.shape[1]
    terms = []
    for phase in found.phases:
        read = found.window(phase, (1, 1, 1, 1), (1, 1), (found.shape[2], found.shape[3]))
        if read is None:
            return None
        stride, dilation, pads = read
        source = channels_of(builder, phase.channels, output, onnx_name)
        if len(phase.index) == channels:
            weight, groups = np.ones((channels, 1, 1, 1), np.float32), channels
        else:
            weight, groups = np.zeros((channels, len(phase.index), 1, 1), np.float32), 1
            weight[phase.index, range(len(phase.index))] = 1
        terms.append(ConvTerm(source, weight, stride, pads, dilation, groups))
    return tuple(terms)
