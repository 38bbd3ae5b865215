"""Blocks of a convolution: what is read, with which taps and weights, and the corrected bias.

The engine multiplies stored bytes s, the network means v = s - zero (or 256 * high + low + 128):
the difference is sum(w) times a constant and goes into the bias.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from fpga_gen.contract.numerics import ACC_BITS
from fpga_gen.errors import ScheduleError
from fpga_gen.quant.ir import QConv, QTensor
from fpga_gen.schedule.lower.lowered import Context
from fpga_gen.schedule.lower.walk import Geometry, Tap, live_taps


@dataclass(frozen=True, eq=False)
class ConvBlock:
    """One pass over CI input channels of a plane, which may belong to several maps.

    weight: int8 (out channels by position, taps, CI); low: a low-byte plane or one of a low term,
    whose sums count 1/256 of those of the blocks before it; wide: a plane of a 16-bit map; lanes:
    bool (CI), bytes that hold channels of the maps; read: those that the model's layer reads;
    plane: words to the next plane of its map.
    """

    address: int
    plane: int
    taps: tuple[Tap, ...]
    pad: int
    low: bool
    weight: np.ndarray
    lanes: np.ndarray
    read: np.ndarray
    wide: bool = False


def conv_geometry(
    node: QConv, tensors: dict[str, QTensor], rows: tuple[int, int] | None = None
) -> Geometry:
    """The one walk of a convolution; ScheduleError if its terms need different ones."""
    out = tensors[node.output]
    shapes = {(tensors[i].height, tensors[i].width, t.stride) for t in node.terms for i in t.inputs}
    if len(shapes) != 1:
        raise ScheduleError(
            f"layer '{node.name}': the summed convolutions read maps of different sizes or "
            f"strides {sorted(shapes)}: keep the Add a separate node"
        )
    ((height, width, stride),) = shapes
    return Geometry(height, width, out.height, out.width, stride, rows or (0, out.height))


@dataclass
class _Blocks:
    """The blocks of a layer while they are made; own: by address, the last block of a plane."""

    high: list[ConvBlock]
    low: list[ConvBlock]
    own: dict[int, ConvBlock]

    def add(self, block: ConvBlock, name: str) -> None:
        """A block of high bytes. If it reads the plane of one before with lanes of its own, that
        one takes its weights."""
        before = self.own.get(block.address)
        if before is not None and not (before.lanes & block.lanes).any():
            assert before.pad == block.pad, f"maps of two formats share a plane of '{name}'"
            before.weight[...] += block.weight
            before.lanes[...] |= block.lanes
            before.read[...] |= block.read
            return
        self.own[block.address] = block
        self.high.append(block)


def conv_blocks(
    node: QConv, context: Context, geometry: Geometry, order: np.ndarray
) -> tuple[list[ConvBlock], np.ndarray]:
    """Blocks in execution order and the bias by output position, int64.

    A plane that several maps of a term share is one block with the weights of all of them.
    """
    bias = node.bias.astype(np.int64)[order]
    blocks = _Blocks([], [], {})
    for term in node.terms:
        live = live_taps(geometry, term.kernel, term.pads[:2], term.dilation)
        index = [i for i, _ in live] or [0]
        taps = tuple(t for _, t in live) or ((-term.pads[0], -term.pads[1]),)
        weight = term.weight.reshape(*term.weight.shape[:2], -1)[order]
        if len(index) < weight.shape[2]:
            weight = weight[:, :, index]
        blocks.own = {}
        first, read = 0, np.ones(term.weight.shape[1], bool) if term.read is None else term.read
        for name in term.inputs:
            tensor = context.tensors[name]
            channels = slice(first, first + tensor.channels)
            part, first = weight[:, channels], channels.stop
            sums = part.sum((1, 2), dtype=np.int64)
            if tensor.format.bits == 16:
                bias += 128 * sums
            else:
                bias -= tensor.format.zero * sums * (256 if node.wide and not term.low else 1)
            _map_blocks(blocks, context, tensor, part, read[channels], taps, geometry, term.low)
    return blocks.high + blocks.low, bias


def _map_blocks(
    blocks: _Blocks,
    context: Context,
    tensor: QTensor,
    weight: np.ndarray,
    read: np.ndarray,
    taps: tuple[Tap, ...],
    geometry: Geometry,
    low: bool,
) -> None:
    """Blocks of one map; weight: int8 (out channels by position, channels of the map, taps); read:
    bool (channels of the map); low: of a term whose sums count 1/256."""
    place, word = context.places[tensor.name], context.params.in_channels
    layout = place.layout
    row = geometry.rows[0] * geometry.stride[0]
    byte = layout.byte_offset + np.asarray(layout.positions)
    lanes, reads = np.zeros((2, layout.planes * word), bool)
    lanes[byte], reads[byte] = True, read
    slab = weight  # which holds all lanes in their order, but for the following
    if not np.array_equal(byte, np.arange(len(lanes))):
        slab = np.zeros((len(weight), len(lanes), len(taps)), np.int8)
        slab[:, byte] = weight
    wide = tensor.format.bits == 16
    pad = 0 if wide else int(tensor.format.zero != 0)
    for plane in range(layout.planes):
        part = slice(plane * word, (plane + 1) * word)
        values = np.ascontiguousarray(slab[:, part].transpose(0, 2, 1))
        block = ConvBlock(
            place.address(plane, row), layout.plane, taps, pad, low, values,
            lanes[part].copy(), reads[part].copy(), wide,
        )  # fmt: skip
        if low:
            blocks.low.append(block)
            continue
        blocks.add(block, tensor.name)
        if wide:
            address = place.address(plane, row, low=True)
            blocks.low.append(replace(block, address=address, pad=1, low=True))


def check_accumulator(node: QConv, blocks: list[ConvBlock], bias: np.ndarray) -> None:
    """Every partial sum of stored bytes, and the sum with the bias, must fit the accumulator."""
    lo = np.zeros(len(bias), np.int64)
    hi = np.zeros(len(bias), np.int64)
    for block in blocks:
        factor = 256 if node.wide and not block.low else 1
        up = np.maximum(block.weight, 0).sum((1, 2), dtype=np.int64)
        down = block.weight.sum((1, 2), dtype=np.int64) - up
        hi += factor * (127 * up - 128 * down)
        lo += factor * (127 * down - 128 * up)
    limit = 1 << (ACC_BITS - 1)
    worst = max(
        int(np.max(np.abs(v))) for v in (lo, hi, bias, lo + bias, hi + bias)
    )  # |lo| = 2^31 would just fit; the quantiser stays well below
    if worst >= limit:
        raise ScheduleError(
            f"layer '{node.name}': partial sums can reach {worst}, beyond {ACC_BITS} bits: "
            "quantise its weights or inputs more coarsely"
        )
