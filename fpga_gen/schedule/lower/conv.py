"""Lowering of convolutions to CONV instructions and their weight stream."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from fpga_gen.contract.isa import Instruction, Op
from fpga_gen.contract.params import EngineParams
from fpga_gen.contract.slot_layout import Half
from fpga_gen.contract.weight_stream import conv_stream
from fpga_gen.errors import ScheduleError
from fpga_gen.quant.ir import QConv, QTensor
from fpga_gen.schedule.cycles.timing import Timing
from fpga_gen.schedule.lower.conv_blocks import Block, check_accumulator, conv_blocks, conv_geometry
from fpga_gen.schedule.lower.conv_plan import plan_conv
from fpga_gen.schedule.lower.lowered import Lowered, output_fields, own_bytes
from fpga_gen.schedule.lower.placement import Placement
from fpga_gen.schedule.lower.storing import cut_runs
from fpga_gen.schedule.lower.tables import conv_tables
from fpga_gen.schedule.lower.walk import walk_fields

MAX_REPEATS = (1 << 12) - 1  # slots that an instruction can repeat


def _block_half(block: Block, channels: slice) -> Half:
    """The inputs of a block that have weights for some output channels."""
    used = block.weight[channels].any((0, 1))
    middle = len(used) // 2
    if not used[middle:].any():
        return Half.LOW
    return Half.BOTH if used[:middle].any() else Half.HIGH


def _by_half(
    blocks: list[Block], used: tuple[int, ...], channels: slice, most: int
) -> tuple[tuple[int, ...], dict[str, int]]:
    """(block indices in the order that the stream needs, its fields of the instruction).

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
    if slots(used) - repeats > most or repeats > MAX_REPEATS:
        repeats = 0
    if low:
        halves |= dict.fromkeys(used if not repeats else plain, Half.BOTH)
    sent = [i for i in used if not (repeats and blocks[i].low)]
    ends = np.cumsum([slots(i for i in sent if halves[i] == half) for half in Half])
    fields = {
        "half_from": int(ends[0]),
        "high_from": int(ends[1]),
        "slots": slots(used),
        "repeats": repeats,
    }
    if low and not repeats:
        return used, fields
    order = [i for part in (plain, wide, low) for i in sorted(part, key=lambda i: halves[i])]
    return tuple(order), fields


def _same_weights(high: list[Block], low: list[Block]) -> bool:
    """Whether low-byte planes repeat the weights of the high-byte planes one by one."""
    return len(high) == len(low) and all(
        a.taps == b.taps and np.array_equal(a.weight, b.weight)
        for a, b in zip(high, low, strict=True)
    )


def lower_conv(
    node: QConv,
    tensors: dict[str, QTensor],
    places: dict[str, Placement],
    params: EngineParams,
    timing: Timing,
    rows: tuple[int, int] | None = None,
    mix: bool = True,
    pieces: int = 1,
) -> list[Lowered]:
    """CONV instructions of a layer, or of a window [first, end) of its output rows; mix: modes may
    differ within the layer; pieces: most parts in which a whole result map can be stored."""
    out, place = tensors[node.output], places[node.output]
    geometry = conv_geometry(node, tensors, rows)
    if node.wide != any(tensors[i].format.bits == 16 for i in node.inputs):
        raise ScheduleError(f"layer '{node.name}': `wide` contradicts the formats of its inputs")
    order = np.argsort(np.asarray(place.layout.positions))
    blocks, bias = conv_blocks(node, tensors, places, geometry, order, params)
    check_accumulator(node, blocks, bias)
    plan = plan_conv(node, blocks, geometry, place.layout.low != 0, params, timing, mix, out.period)
    reads = tuple(dict.fromkeys(s for i in node.inputs for s in own_bytes(places[i])))
    tables = bias, node.mult[order], node.shift[order]
    room = (params.weight_words - timing.weight_margin) * params.stream_granules
    buffered = {m: room // params.slot_granules(m) for m in params.modes}
    lowered = []
    if geometry.rows != (0, out.height):
        pieces = 1
    for run, final in zip(*cut_runs(plan.runs, place.layout, params, pieces), strict=True):
        first = run.first
        last = first + run.channels
        byte = place.layout.byte_offset + first
        used, slots = _by_half(blocks, run.blocks, slice(first, last), buffered[run.mode])
        records, taps = conv_tables([blocks[i] for i in used], geometry, params, node.name)
        per_group = params.group_channels(run.mode)
        last_group = run.channels - (run.groups - 1) * per_group
        fields = {
            **walk_fields(params, geometry, run.mode, node.name, plan.tile_limit),
            **output_fields(params, out, place, byte // params.in_channels, geometry.rows[0]),
            "n_blocks": len(records),
            "n_taps": len(taps),
            "n_groups": run.groups,
            **slots,
            "last_subgroups": -(-last_group // params.sub_columns),
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
                    taps=tuple(taps),
                    layer=node.name,
                ),
                _stream(params, fields, weight, tuple(v[first:last] for v in tables), node.name),
                reads,
                own_bytes(place),
                final,
            )
        )
    return lowered


def _stream(
    params: EngineParams,
    fields: dict[str, int],
    weight: np.ndarray,
    channels: tuple[np.ndarray, np.ndarray, np.ndarray],
    name: str,
) -> np.ndarray:
    """Granules of one run; ScheduleError names the layer if a weight is none of the engine's."""
    try:
        return conv_stream(fields, params, weight, *channels)
    except ValueError as error:
        raise ScheduleError(f"layer '{name}': {error}: quantise it for this engine") from error
