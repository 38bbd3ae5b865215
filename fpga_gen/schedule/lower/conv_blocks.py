"""Blocks of a convolution: what is read, with which taps and weights, and the corrected bias.

The engine multiplies stored bytes s, the network means v = s - zero (or 256 * high + low + 128):
the difference is sum(w) times a constant and goes into the bias.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fpga_gen.contract.numerics import ACC_BITS
from fpga_gen.contract.params import EngineParams
from fpga_gen.errors import ScheduleError
from fpga_gen.quant.ir import QConv, QTensor
from fpga_gen.schedule.lower.placement import Placement
from fpga_gen.schedule.lower.walk import Geometry, Tap, live_taps


@dataclass(frozen=True, eq=False)
class Block:
    """One pass over CI input channels of a plane, which may belong to several maps.

    weight: int8 (out channels by position, taps, CI); low: a low-byte plane, whose sums count
    1/256 of those of the blocks before it; wide: a
    plane of a 16-bit map; lanes: bool (CI), bytes that hold channels read here; plane: words to the
    next plane of its map.
    """

    address: int
    plane: int
    taps: tuple[Tap, ...]
    pad: int
    low: bool
    weight: np.ndarray
    lanes: np.ndarray
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


def conv_blocks(
    node: QConv,
    tensors: dict[str, QTensor],
    places: dict[str, Placement],
    geometry: Geometry,
    order: np.ndarray,
    params: EngineParams,
) -> tuple[list[Block], np.ndarray]:
    """Blocks in execution order and the bias by output position, int64.

    A plane that several maps of a term share is one block with the weights of all of them.
    """
    bias = node.bias.astype(np.int64)[order]
    high: list[Block] = []
    low: list[Block] = []
    row = geometry.rows[0] * geometry.stride[0]
    for term in node.terms:
        kernel = term.weight.shape[2:]
        live = live_taps(geometry, kernel, term.pads[:2], term.dilation)
        index = [i for i, _ in live] or [0]
        taps = tuple(t for _, t in live) or ((-term.pads[0], -term.pads[1]),)
        weight = term.weight.reshape(*term.weight.shape[:2], -1)[order][:, :, index]
        first = 0
        own: dict[int, Block] = {}  # by address: the last block of the plane
        for name in term.inputs:
            tensor, place = tensors[name], places[name]
            layout = place.layout
            part = weight[:, first : first + tensor.channels]
            first += tensor.channels
            byte = layout.byte_offset + np.asarray(layout.positions)
            lanes = np.zeros(layout.planes * params.in_channels, bool)
            lanes[byte] = True
            slab = np.zeros((len(order), layout.planes * params.in_channels, len(taps)), np.int8)
            slab[:, byte] = part
            sums = part.astype(np.int64).sum((1, 2))
            wide_map = layout.low != 0
            if wide_map:
                bias += 128 * sums
            else:
                bias -= tensor.format.zero * sums * (256 if node.wide else 1)
            for plane in range(layout.planes):
                c = plane * params.in_channels
                end = c + params.in_channels
                values = np.ascontiguousarray(slab[:, c:end].transpose(0, 2, 1))
                pad = 0 if wide_map else int(tensor.format.zero != 0)
                address = place.address(plane, row)
                before = own.get(address)
                if before is not None and not (before.lanes & lanes[c:end]).any():
                    assert before.pad == pad, f"maps of two formats share a plane of '{name}'"
                    before.weight[...] += values
                    before.lanes[...] |= lanes[c:end]
                    continue
                own[address] = Block(
                    address, layout.plane, taps, pad, False, values, lanes[c:end].copy(), wide_map
                )
                high.append(own[address])
                if wide_map:
                    address = place.address(plane, row, low=True)
                    low.append(
                        Block(address, layout.plane, taps, 1, True, values, lanes[c:end], True)
                    )
    return high + low, bias


def check_accumulator(node: QConv, blocks: list[Block], bias: np.ndarray) -> None:
    """Every partial sum of stored bytes, and the sum with the bias, must fit the accumulator."""
    lo = np.zeros(len(bias), np.int64)
    hi = np.zeros(len(bias), np.int64)
    for block in blocks:
        factor = 256 if node.wide and not block.low else 1
        w = block.weight.astype(np.int64)
        up, down = np.maximum(w, 0).sum((1, 2)), np.minimum(w, 0).sum((1, 2))
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
