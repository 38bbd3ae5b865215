"""Lowering of convolutions: blocks, taps, weight slots and corrected biases."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fpga_gen.errors import ScheduleError
from fpga_gen.hardware.params import EngineParams
from fpga_gen.isa import MAX_BLOCKS, Instruction, Op, pack_address
from fpga_gen.quant.ir import QConv, QTensor
from fpga_gen.quant.numerics import ACC_BITS
from fpga_gen.schedule.lowered import Lowered, output_fields
from fpga_gen.schedule.placement import Placement
from fpga_gen.schedule.timing import Timing, group_cycles
from fpga_gen.schedule.walk import (
    Geometry,
    TapTable,
    Tap,
    lanes_of,
    live_taps,
    modes_of,
    pixel_groups,
    tiles,
    walk_fields,
)
from fpga_gen.schedule.weights import pack_params, pack_slots

MAX_SLOTS = (1 << 14) - 1
RUN_CYCLES = 60  # cost of one more instruction when a block-sparse layer is split


@dataclass(frozen=True, eq=False)
class _Block:
    """One pass over CI input channels of a plane.

    weight: int8 (out channels by position, taps, CI); low: a low-byte plane, whose sums count
    1/256 of those of the blocks before it.
    """

    address: int
    taps: tuple[Tap, ...]
    pad: int
    low: bool
    weight: np.ndarray


@dataclass(frozen=True)
class ConvPlan:
    """Mode and runs [first group, end group) with the blocks each run needs."""

    mode: int
    runs: tuple[tuple[int, int, tuple[int, ...]], ...]
    cycles: int


def conv_geometry(
    node: QConv, tensors: dict[str, QTensor], rows: tuple[int, int] | None = None
) -> Geometry:
    """The one walk of a convolution; ScheduleError if its terms need different ones."""
    out = tensors[node.output]
    shapes = {
        (tensors[i].height, tensors[i].width, t.stride) for t in node.terms for i in t.inputs
    }
    if len(shapes) != 1:
        raise ScheduleError(
            f"layer '{node.name}': the summed convolutions read maps of different sizes or "
            f"strides {sorted(shapes)}: keep the Add a separate node"
        )
    ((height, width, stride),) = shapes
    return Geometry(height, width, out.height, out.width, stride, rows or (0, out.height))


def _blocks(
    node: QConv,
    tensors: dict[str, QTensor],
    places: dict[str, Placement],
    geometry: Geometry,
    order: np.ndarray,
    params: EngineParams,
) -> tuple[list[_Block], np.ndarray]:
    """Blocks in execution order and the bias by output position, int64."""
    bias = node.bias.astype(np.int64)[order]
    high: list[_Block] = []
    low: list[_Block] = []
    row = geometry.rows[0] * geometry.stride[0]
    for term in node.terms:
        kernel = term.weight.shape[2:]
        live = live_taps(geometry, kernel, term.pads[:2], term.dilation)
        index = [i for i, _ in live] or [0]
        taps = tuple(t for _, t in live) or ((-term.pads[0], -term.pads[1]),)
        weight = term.weight.reshape(*term.weight.shape[:2], -1)[order][:, :, index]
        first = 0
        for name in term.inputs:
            tensor, place = tensors[name], places[name]
            layout = place.layout
            part = weight[:, first : first + tensor.channels]
            first += tensor.channels
            byte = layout.byte_offset + np.asarray(layout.positions)
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
                own = np.ascontiguousarray(slab[:, c : c + params.in_channels].transpose(0, 2, 1))
                pad = 0 if wide_map else int(tensor.format.zero != 0)
                high.append(_Block(place.address(plane, row), taps, pad, False, own))
                if wide_map:
                    low.append(_Block(place.address(plane, row, low=True), taps, 1, True, own))
    return high + low, bias


def _check_accumulator(node: QConv, blocks: list[_Block], bias: np.ndarray) -> None:
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


def _runs(
    needed: np.ndarray, slots: np.ndarray, cycles: dict[int, int | None], cost
) -> tuple[list[tuple[int, int, tuple[int, ...]]], int] | None:
    """Cheapest split of the groups into consecutive runs; needed: bool (groups, blocks).

    cost(slots) gives the cycles of one group or None if it does not fit; cached in `cycles`.
    """
    groups = len(needed)

    def price(total: int) -> int | None:
        if total not in cycles:
            cycles[total] = cost(total)
        return cycles[total]

    if (needed == needed[0]).all():
        used = tuple(np.flatnonzero(needed[0]).tolist())
        one = price(int(slots[list(used)].sum()))
        return None if one is None else ([(0, groups, used)], groups * one)
    best: list[tuple[int, int] | None] = [(0, 0)] + [None] * groups  # (cycles, start of run)
    for end in range(1, groups + 1):
        union = np.zeros(needed.shape[1], bool)
        for start in range(end - 1, -1, -1):
            union |= needed[start]
            one = price(int(slots[union].sum()))
            before = best[start]
            if one is None or before is None:
                continue
            total = before[0] + (end - start) * one + RUN_CYCLES
            current = best[end]
            if current is None or total < current[0]:
                best[end] = (total, start)
    if best[groups] is None:
        return None
    runs, end = [], groups
    while end:
        start = best[end][1]
        used = np.flatnonzero(needed[start:end].any(0))
        runs.append((start, end, tuple(used.tolist())))
        end = start
    return runs[::-1], best[groups][0]


def _needed(blocks: list[_Block], group: int, wide: bool) -> np.ndarray:
    """bool (groups, blocks): which blocks have weights in which group of `group` channels.

    A wide layer keeps one low block (it carries the shift), any layer keeps one block.
    """
    channels = len(blocks[0].weight)
    live = np.stack([b.weight.reshape(channels, -1).any(1) for b in blocks], axis=1)
    needed = np.stack([live[c : c + group].any(0) for c in range(0, channels, group)])
    first_low = next((i for i, b in enumerate(blocks) if b.low), 0)
    if wide:
        needed[:, first_low] = True
    needed[~needed.any(1), 0] = True
    return needed


def plan_conv(
    node: QConv,
    blocks: list[_Block],
    geometry: Geometry,
    out16: bool,
    params: EngineParams,
    timing: Timing,
) -> ConvPlan:
    """Mode and split with the fewest model cycles; ScheduleError if none fits the board."""
    slots = np.array([len(b.taps) for b in blocks])
    best: ConvPlan | None = None
    smallest = 0
    for mode in modes_of(params, geometry):
        lanes = lanes_of(params, geometry, mode)
        split = tiles(params, pixel_groups(params, geometry, mode))
        limit = (params.weight_words - timing.weight_margin) * params.stream_granules

        def cost(total: int) -> int | None:
            replayed = total * params.slot_granules(mode) if split[0] > 1 else 0
            if replayed > limit or total > MAX_SLOTS:
                return None
            return group_cycles(params, timing, mode, lanes, total, split, out16)

        needed = _needed(blocks, params.group_channels(mode), node.wide)
        found = _runs(needed, slots, {}, cost)
        if found is None:
            words = -(-int(slots.sum()) * params.slot_granules(mode) // params.stream_granules)
            smallest = min(smallest or words, words)
            continue
        if best is None or found[1] < best.cycles:
            best = ConvPlan(mode, tuple(found[0]), found[1])
    if best is None:
        raise ScheduleError(
            f"layer '{node.name}' is too big for the board: the weights of one group of output "
            f"channels take {smallest} words, the weight buffer holds {params.weight_words}"
        )
    return best


def lower_conv(
    node: QConv,
    tensors: dict[str, QTensor],
    places: dict[str, Placement],
    params: EngineParams,
    timing: Timing,
    rows: tuple[int, int] | None = None,
) -> list[Lowered]:
    """CONV instructions of a layer, or of a window [first, end) of its output rows."""
    out, place = tensors[node.output], places[node.output]
    geometry = conv_geometry(node, tensors, rows)
    if node.wide != any(tensors[i].format.bits == 16 for i in node.inputs):
        raise ScheduleError(f"layer '{node.name}': `wide` contradicts the formats of its inputs")
    order = np.argsort(np.asarray(place.layout.positions))
    blocks, bias = _blocks(node, tensors, places, geometry, order, params)
    if len(blocks) > MAX_BLOCKS:
        raise ScheduleError(
            f"layer '{node.name}' reads {len(blocks)} channel blocks, at most {MAX_BLOCKS} fit an "
            "instruction: use fewer input channels"
        )
    _check_accumulator(node, blocks, bias)
    plan = plan_conv(node, blocks, geometry, place.layout.low != 0, params, timing)
    walk = walk_fields(params, geometry, plan.mode, node.name)
    reads = tuple(dict.fromkeys(places[i].span for i in node.inputs))
    per_group = params.group_channels(plan.mode)
    mult, shift = node.mult[order], node.shift[order]
    lowered = []
    for start, end, used in plan.runs:
        first, last = start * per_group, min(end * per_group, out.channels)
        byte = place.layout.byte_offset + first
        table = TapTable(params, geometry.in_w, node.name)
        records, slots, shifted = [], 0, False
        for i in used:
            block = blocks[i]
            tap_start, count = table.add(block.taps)
            shift_here = block.low and not shifted and slots > 0
            shifted |= block.low
            slots += count
            records.append(
                {
                    "address": pack_address(block.address, params.banks),
                    "tap_start": tap_start,
                    "tap_count": count,
                    "pad": block.pad,
                    "shift": int(shift_here),
                }
            )
        fields = {
            **walk,
            **output_fields(params, out, place, byte // params.in_channels, geometry.rows[0]),
            "n_blocks": len(records),
            "n_taps": len(table.records),
            "n_groups": end - start,
            "slots": slots,
            "channels": last - first,
            "byte_offset": byte % params.in_channels,
            "lo": node.lo,
            "hi": node.hi,
        }
        weight = np.concatenate([blocks[i].weight[first:last] for i in used], axis=1)
        lowered.append(
            Lowered(
                Instruction(
                    Op.CONV,
                    fields,
                    blocks=tuple(records),
                    taps=tuple(table.records),
                    layer=node.name,
                ),
                _stream(params, plan.mode, weight, bias, mult, shift, (first, last), end - start),
                reads,
                (place.span,),
            )
        )
    return lowered


def _stream(
    params: EngineParams,
    mode: int,
    weight: np.ndarray,
    bias: np.ndarray,
    mult: np.ndarray,
    shift: np.ndarray,
    window: tuple[int, int],
    groups: int,
) -> np.ndarray:
    """Granules of one run: per group its parameters, then its slots."""
    per_group = params.group_channels(mode)
    tail = groups * per_group - (window[1] - window[0])

    def padded(values: np.ndarray) -> np.ndarray:
        return np.pad(values[window[0] : window[1]], (0, tail)).reshape(groups, per_group)

    full = np.pad(weight, ((0, tail), (0, 0), (0, 0)))
    full = full.reshape(groups, per_group, *weight.shape[1:]).transpose(0, 2, 3, 1)
    slots = pack_slots(full, params, mode).reshape(groups, -1)
    head = pack_params(padded(bias), padded(mult), padded(shift), params.param_granules(mode))
    return np.concatenate([head, slots], axis=1).reshape(-1)
