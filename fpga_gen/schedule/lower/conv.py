"""Lowering of convolutions to CONV instructions and their weight stream."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from fpga_gen.contract.isa import ConvInstruction, limit
from fpga_gen.contract.numerics import SP2
from fpga_gen.contract.params import GRANULE, EngineParams
from fpga_gen.contract.records import SlotEntry
from fpga_gen.contract.slot_layout import Half, slot_run
from fpga_gen.contract.weight_stream import (
    conv_granules,
    conv_stream,
    group_head,
    group_subgroups,
    listed_slots,
)
from fpga_gen.errors import ScheduleError
from fpga_gen.quant.ir import QConv
from fpga_gen.schedule.lower.conv_blocks import (
    ConvBlock,
    check_accumulator,
    conv_blocks,
    conv_geometry,
)
from fpga_gen.schedule.lower.conv_plan import ConvPlan, ConvRun, ConvWork, plan_conv
from fpga_gen.schedule.lower.lowered import (
    Context,
    Granules,
    Lowered,
    Skipped,
    own_bytes,
    writing,
)
from fpga_gen.schedule.lower.storing import cut_runs
from fpga_gen.schedule.lower.tables import conv_tables
from fpga_gen.schedule.lower.walk import walking
from fpga_gen.schedule.lower.zero_slots import (
    MAX_LISTED_BLOCKS,
    cut_lists,
    plan_skipping,
    slot_lists,
)


@dataclass(frozen=True)
class _Slots:
    """Blocks of a run in the order of the stream, and what the instruction says of their slots."""

    order: tuple[int, ...]
    slots: int
    half_from: int
    high_from: int
    repeats: int


@dataclass(frozen=True, eq=False)
class Planned:
    """A layer of which is decided how it uses the array; bias: by output position."""

    node: QConv
    work: ConvWork
    bias: np.ndarray
    plan: ConvPlan


def plan_conv_node(node: QConv, context: Context) -> Planned:
    """The cheapest plan of a layer."""
    _check_codes(node, context)
    work, bias = conv_work(node, context)
    return Planned(node, work, bias, plan_layer(work, context))


def lower_conv(planned: Planned, context: Context) -> list[Lowered]:
    """CONV instructions of a layer and what they take from the stream."""
    params, node, work, plan = context.params, planned.node, planned.work, planned.plan
    out, place = context.tensors[node.output], context.places[node.output]
    order = np.argsort(np.asarray(place.layout.positions))
    whole = all(term.read is not None for term in node.terms)
    parameters = {"bias": planned.bias, "mult": node.mult[order], "shift": node.shift[order]}
    reads = tuple(dict.fromkeys(s for i in node.inputs for s in own_bytes(context.places[i])))
    pieces = context.pieces if work.geometry.rows == (0, out.height) else 1
    lowered = []
    for run, final in zip(*cut_runs(plan.runs, place.layout, params, pieces), strict=True):
        made = list(_instructions(node, context, work, run, plan.tile_limit))
        for number, (part, order, instruction) in enumerate(made, 1):
            stream = _stream(params, instruction, work.blocks, part, order, parameters)
            done = final if number == len(made) else 0
            skipped = Skipped()
            if whole:
                skipped = _skipped(instruction, work, order, part.start, params)
            lowered.append(Lowered(instruction, stream, reads, own_bytes(place), done, skipped))
    return lowered


def _check_codes(node: QConv, context: Context) -> None:
    """ScheduleError names the layer if a weight is none of its column's code."""
    place, params = context.places[node.output], context.params
    if all(abs(e) <= 1 for t in node.terms for e in (int(t.weight.min()), int(t.weight.max()))):
        return  # which all codes hold
    columns = np.array([params.column_kind(p, context.tensors[node.output].period)
                        for p in place.layout.positions])  # fmt: skip
    for part in params.sub_kinds:
        held = np.zeros(256, bool)
        held[part.code.levels.astype(np.int8).view(np.uint8)] = True
        rows = columns == part.kind.number
        if not all(held[term.weight[rows].view(np.uint8)].all() for term in node.terms):
            raise ScheduleError(
                f"layer '{node.name}': a weight is not a level of the {part.code.name} code: "
                "quantise it for this engine"
            )


def conv_work(node: QConv, context: Context) -> tuple[ConvWork, np.ndarray]:
    """What a layer asks of the array, and its bias by output position."""
    place, out = context.places[node.output], context.tensors[node.output]
    geometry = conv_geometry(node, context.tensors, context.rows)
    if fault := node.contradiction(context.tensors):
        raise ScheduleError(f"layer '{node.name}': {fault}")
    order = np.argsort(np.asarray(place.layout.positions))
    blocks, bias = conv_blocks(node, context, geometry, order)
    check_accumulator(node, blocks, bias)
    work = ConvWork(node.name, blocks, geometry, node.wide, place.layout.low != 0, out.period)
    return work, bias


def _skipped(
    conv: ConvInstruction, work: ConvWork, order: tuple[int, ...], first: int, params: EngineParams
) -> Skipped:
    """What an instruction leaves out of its layer. first: its first channel by position. A slot of
    low bytes costs no multiply-accumulate of its own, and no byte if it repeats; channels that the
    model's layer does not read are no work that was saved."""
    size, whole = params.group_channels(conv.array_mode), int(work.slots.sum())
    weights = [np.full(len(b.taps), 0 if b.low else b.read.sum()) for b in work.blocks]
    lanes, used = np.concatenate(weights), np.concatenate([weights[i] for i in order])
    columns = [params.column_kind(first + c) for c in range(conv.channels)]
    widths = np.array([params.sp2.bits if kind == SP2 else 8 for kind in columns])
    left_out = macs = bits = sent = 0
    for group in range(conv.n_groups):
        channels = min(size, conv.channels - group * size)
        head = group_head(conv, group)
        kept = slice(None)
        if conv.list_words:
            kept = listed_slots(conv, conv.group_lists[group])
        left_out += whole - head.slots
        weights_left_out = int(lanes.sum() - used[kept].sum())  # of one filter
        macs += channels * weights_left_out
        bits += int(widths[group * size :][:channels].sum()) * weights_left_out
        run = slot_run(params, group_subgroups(conv, params, group)).granules
        sent += run * max(0, int((lanes > 0).sum()) - head.stream_slots)
    pixels = work.geometry.n_rows * work.geometry.out_w
    if work.geometry.rows[0]:  # a further band of rows: the same slots once more
        return Skipped(macs=macs * pixels, bytes=sent * GRANULE // 8)
    return Skipped(whole * conv.n_groups, left_out, macs * pixels, bits, sent * GRANULE // 8)


def plan_layer(work: ConvWork, context: Context) -> ConvPlan:
    """The cheapest plan, with zero skipping where it saves cycles."""
    skipping = plan_skipping(work, context.params, context.timing) if context.skip else None
    try:
        plan = plan_conv(work, context.params, context.timing, context.mix)
    except ScheduleError:
        if skipping is None:
            raise
        return skipping
    return skipping if skipping and skipping.cycles < plan.cycles else plan


def _instructions(
    node: QConv, context: Context, work: ConvWork, run: ConvRun, tile_limit: int
) -> Iterator[tuple[slice, tuple[int, ...], ConvInstruction]]:
    """Instructions of a run, each with its output channels by position and its blocks in order."""
    blocks, most = work.blocks, _buffered(context, run.mode)
    if run.skips:
        order = tuple(sorted(run.blocks, key=lambda i: (blocks[i].low, blocks[i].wide)))
        used = [blocks[i] for i in order]
        whole = sum(len(b.taps) for b in used)
        records, taps = conv_tables(used, work.geometry, context.params, node.name)
        parts = cut_lists(run, used, context.params, most)
        saved = any(len(g.slots) < whole for _, groups in parts for g in groups)
        if saved and len(records) <= MAX_LISTED_BLOCKS:
            for part, groups in parts:
                lists = slot_lists(groups, records)
                instruction = replace(
                    _instruction(node, context, work, part, tile_limit),
                    n_blocks=len(records),
                    n_taps=len(taps),
                    blocks=records,
                    taps=taps,
                    list_words=len(lists) // SlotEntry.PER_WORD,
                    lists=lists,
                    heads=tuple(group.head for group in groups),
                )
                yield slice(part.first, part.first + part.channels), order, instruction
            return
    part = slice(run.first, run.first + run.channels)
    slots = _by_half(blocks, run.blocks, part, most)
    used = [blocks[i] for i in slots.order]
    records, taps = conv_tables(used, work.geometry, context.params, node.name)
    instruction = replace(
        _instruction(node, context, work, run, tile_limit),
        n_blocks=len(records),
        n_taps=len(taps),
        slots=slots.slots,
        half_from=slots.half_from,
        high_from=slots.high_from,
        repeats=slots.repeats,
        blocks=records,
        taps=taps,
    )
    yield part, slots.order, instruction


def _buffered(context: Context, mode: int) -> int:
    """Weight slots that the weight buffer holds."""
    params = context.params
    room = (params.weight_words - context.timing.weight_margin) * params.stream_granules
    return room // params.slot_granules(mode)


def _instruction(
    node: QConv, context: Context, work: ConvWork, run: ConvRun, tile_limit: int
) -> ConvInstruction:
    """The instruction of one run, without its slots and tables."""
    params, place = context.params, context.places[node.output]
    byte = place.layout.byte_offset + run.first
    plane = byte // params.in_channels
    last_group = run.channels - (run.groups - 1) * params.group_channels(run.mode)
    rows = work.geometry.rows
    walk = walking(ConvInstruction, params, work.geometry, run.mode, node.name, tile_limit)
    return replace(
        writing(walk, params, node.epilogue, place, (plane, rows[0])),
        n_groups=run.groups,
        last_subgroups=-(-last_group // params.sub_columns),
        channels=run.channels,
        byte_offset=byte % params.in_channels,
    )


def _block_half(block: ConvBlock, channels: slice) -> Half:
    """The inputs of a block that have weights for some output channels."""
    used = block.weight[channels].any((0, 1))
    middle = len(used) // 2
    if not used[middle:].any():
        return Half.LOW
    return Half.BOTH if used[:middle].any() else Half.HIGH


def _by_half(blocks: list[ConvBlock], used: tuple[int, ...], channels: slice, most: int) -> _Slots:
    """The blocks in the order that the stream needs.

    Sums do not depend on the order of the blocks but for the shift between high and low bytes.
    most: slots of one output-channel group that the weight buffer holds.
    """
    halves = {i: _block_half(blocks[i], channels) for i in used}
    low = [i for i in used if blocks[i].low]
    wide = [i for i in used if blocks[i].wide and not blocks[i].low]
    plain = [i for i in used if not blocks[i].wide]

    def slots(part: Iterable[int]) -> int:
        return sum(len(blocks[i].taps) for i in part)

    repeats = (
        slots(low) if _same_weights([blocks[i] for i in wide], [blocks[i] for i in low]) else 0
    )
    if slots(used) - repeats > most or repeats > limit("repeats"):
        repeats = 0
    if low:
        halves |= dict.fromkeys(used if not repeats else plain, Half.BOTH)
    sent = [i for i in used if not (repeats and blocks[i].low)]
    ends = np.cumsum([slots(i for i in sent if halves[i] == half) for half in Half])
    order = used
    if not low or repeats:
        parts = (plain, wide, low)
        order = tuple(i for part in parts for i in sorted(part, key=lambda i: halves[i]))
    return _Slots(order, slots(used), int(ends[0]), int(ends[1]), repeats)


def _same_weights(high: list[ConvBlock], low: list[ConvBlock]) -> bool:
    """Whether low-byte planes repeat the weights of the high-byte planes one by one."""
    return len(high) == len(low) and all(
        a.taps == b.taps and np.array_equal(a.weight, b.weight)
        for a, b in zip(high, low, strict=True)
    )


def _stream(
    params: EngineParams,
    conv: ConvInstruction,
    blocks: list[ConvBlock],
    part: slice,
    order: tuple[int, ...],
    parameters: dict[str, np.ndarray],
) -> Granules:
    """What an instruction takes. part: its output channels by position; order: of its blocks;
    parameters: of the layer, by position."""

    def make() -> np.ndarray:
        weight = np.concatenate([blocks[i].weight[part] for i in order], axis=1)
        values = {name: array[part] for name, array in parameters.items()}
        return conv_stream(conv, params, weight, values)

    return Granules(conv_granules(conv, params), make)
