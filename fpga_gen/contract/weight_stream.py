"""Weight stream: parameters and weight slots as 32-bit granules, and back.

Order of a CONV: for every group of output channels its head if it has slot lists, its parameters,
then its slots in execution order: those with all inputs, with the low half alone, with the high
half alone. A slot holds the
inputs x the columns that the group needs, in whole subgroups, as contract/slot_layout.py lays them
out; of one input and subgroup the columns kind by kind (contract/column_kinds.py), LSB first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from hashlib import sha256

import numpy as np

from fpga_gen.contract import numerics, slot_layout
from fpga_gen.contract.column_kinds import KINDS
from fpga_gen.contract.fields import WORD_BITS
from fpga_gen.contract.fields import describe as describe_record
from fpga_gen.contract.isa import GROUP_HEAD, ConvInstruction
from fpga_gen.contract.numerics import WeightCode
from fpga_gen.contract.parameter_record import (
    PARAM_BYTES,
    PARAMETER,
    ParameterRecord,
    pack_records,
    unpack_records,
)
from fpga_gen.contract.params import GRANULE, EngineParams
from fpga_gen.contract.records import BlockRecord, GroupHead, SlotEntry
from fpga_gen.contract.slot_layout import Half, run_bits, slot_run

HEAD_GRANULES = GROUP_HEAD.words * WORD_BITS // GRANULE


def pack_params(values: dict[str, np.ndarray], granules: int) -> np.ndarray:
    """uint32 (groups, granules) of the fields of ParameterRecord by name, each (groups, channels):
    record after record, then zeros."""
    records = pack_records(values)
    groups = len(records)
    table = np.zeros((groups, granules * (GRANULE // 8)), np.uint8)
    packed = records.reshape(groups, -1)
    table[:, : packed.shape[1]] = packed
    return table.view("<u4")


def unpack_params(granules: np.ndarray, channels: int) -> dict[str, np.ndarray]:
    """Fields of ParameterRecord by name, int64 (channels,), of one block of parameters."""
    raw = np.ascontiguousarray(granules).view(np.uint8)[: channels * PARAM_BYTES]
    return unpack_records(raw.reshape(channels, PARAM_BYTES))


def group_head(conv: ConvInstruction, group: int) -> GroupHead:
    """The slots of an output-channel group of a CONV."""
    if conv.list_words:
        return conv.heads[group]
    return GroupHead(conv.slots, conv.half_from, conv.high_from, conv.repeats)


def slot_halves(head: GroupHead) -> tuple[tuple[Half, int], ...]:
    """(inputs carried, slots) of a group in the order of its stream; only what it has."""
    counts = (
        head.half_from,
        head.high_from - head.half_from,
        head.stream_slots - head.high_from,
    )
    return tuple((h, n) for h, n in zip(Half, counts, strict=True) if n)


def group_subgroups(conv: ConvInstruction, params: EngineParams, group: int) -> int:
    """Column subgroups in the slots of an output-channel group of a CONV."""
    last = group == conv.n_groups - 1
    return conv.last_subgroups if last else params.subgroups // conv.array_mode


def head_granules(conv: ConvInstruction) -> int:
    """Granules in front of the parameters of every group of a CONV."""
    return HEAD_GRANULES if conv.list_words else 0


def pack_head(head: GroupHead) -> np.ndarray:
    """uint32 (HEAD_GRANULES,) of a head."""
    return np.array(head.encode(), "<u8").view("<u4")


def unpack_head(granules: np.ndarray) -> GroupHead:
    """Inverse of `pack_head`."""
    return GroupHead.decode(np.ascontiguousarray(granules).view("<u8").tolist())


def listed_slots(conv: ConvInstruction, entries: Sequence[SlotEntry]) -> np.ndarray:
    """Index, in the order of the block table, of the slots of a list."""
    counts = [b.tap_count for b in conv.blocks]
    starts = np.cumsum([0, *counts])
    return np.array([starts[e.block] + e.tap - conv.blocks[e.block].tap_start for e in entries])


def pack_slots(
    weights: np.ndarray, params: EngineParams, subgroups: int, half: Half = Half.BOTH
) -> np.ndarray:
    """uint32 (slots, granules of the run) of int8 weights (slots, CI, columns of the subgroups).

    half: the other inputs have no weight but 0.
    """
    slots, inputs, channels = weights.shape
    assert (inputs, channels) == (params.in_channels, subgroups * params.sub_columns)
    split = weights.reshape(slots, inputs, subgroups, params.sub_columns).transpose(0, 2, 1, 3)
    lead = split.shape[:3]
    bits = np.empty((*lead, params.sub_kinds[-1].bits.stop), np.uint8)
    for part in params.sub_kinds:
        words = part.code.encode(split[..., part.columns]).astype(np.uint8)
        bits[..., part.bits] = np.unpackbits(
            words[..., None], axis=-1, count=part.code.bits, bitorder="little"
        ).reshape(*lead, -1)
    place = run_bits(params, subgroups, half)
    assert not weights[:, (place[0] < 0).all(1)].any(), "a weight of the half that is not sent"
    out = np.zeros((slots, slot_run(params, subgroups, half).granules * GRANULE), np.uint8)
    out[:, place[place >= 0]] = bits[:, place >= 0]
    packed = np.packbits(out, axis=-1, bitorder="little")
    return np.ascontiguousarray(packed).view("<u4")


@lru_cache
def _levels(code: WeightCode) -> np.ndarray:
    """Integer weight of every code word, int8."""
    return np.array([code.decode(word) for word in range(1 << code.bits)], np.int8)


def unpack_slots(
    granules: np.ndarray, params: EngineParams, subgroups: int, half: Half = Half.BOTH
) -> np.ndarray:
    """int8 weights (slots, CI, columns of the subgroups) of uint32 granules (slots, run)."""
    slots = len(granules)
    raw = np.ascontiguousarray(granules).view(np.uint8)
    sent = np.unpackbits(raw, axis=-1, bitorder="little")
    place = run_bits(params, subgroups, half)
    bits = np.where(place >= 0, sent[:, place], 0).astype(np.uint8)
    lead = bits.shape[:3]
    out = np.empty((*lead, params.sub_columns), np.int8)
    for part in params.sub_kinds:
        words = bits[..., part.bits].reshape(*lead, -1, part.code.bits)
        words = np.packbits(words, axis=-1, bitorder="little")[..., 0]
        out[..., part.columns] = _levels(part.code)[words]
    return out.transpose(0, 2, 1, 3).reshape(slots, params.in_channels, -1)


def conv_granules(conv: ConvInstruction, params: EngineParams) -> int:
    """Length of the stream of a CONV."""
    total = 0
    for group in range(conv.n_groups):
        subgroups = group_subgroups(conv, params, group)
        total += head_granules(conv) + params.some_param_granules(subgroups)
        for half, count in slot_halves(group_head(conv, group)):
            total += count * slot_run(params, subgroups, half).granules
    return total


def conv_stream(
    conv: ConvInstruction,
    params: EngineParams,
    weight: np.ndarray,
    parameters: dict[str, np.ndarray],
) -> np.ndarray:
    """uint32 granules of a CONV: per group its parameters, then its slots.

    weight: int8 (channels, slots, CI), with slot lists all slots of the tables in their order;
    parameters: fields of ParameterRecord by name, each (channels,). ValueError if a weight cannot
    be coded.
    """
    per_group = params.group_channels(conv.array_mode)
    tail = conv.n_groups * per_group - len(weight)
    padded = {
        name: np.pad(values, (0, tail)).reshape(conv.n_groups, per_group)
        for name, values in parameters.items()
    }
    head = pack_params(padded, params.param_granules(conv.array_mode))
    full = np.pad(weight, ((0, tail), (0, 0), (0, 0)))
    full = full.reshape(conv.n_groups, per_group, *weight.shape[1:]).transpose(0, 2, 3, 1)
    parts = []
    for group in range(conv.n_groups):
        subgroups = group_subgroups(conv, params, group)
        slots = group_head(conv, group)
        columns = full[group][..., : subgroups * params.sub_columns]
        if conv.list_words:
            parts.append(pack_head(slots))
            columns = columns[listed_slots(conv, conv.group_lists[group][: slots.stream_slots])]
        parts.append(head[group, : params.some_param_granules(subgroups)])
        first = 0
        for half, count in slot_halves(slots):
            packed = pack_slots(columns[first : first + count], params, subgroups, half)
            parts.append(packed.reshape(-1))
            first += count
    return np.concatenate(parts)


# --- identity -------------------------------------------------------------------------------


def _example(params: EngineParams, mode: int) -> np.ndarray:
    """Stream of a CONV with a short last group, slots of every half and a repeated one."""
    conv = ConvInstruction(
        mode=mode - 1, n_groups=2, slots=5, repeats=1, half_from=2, high_from=3, last_subgroups=1
    )
    channels, middle = params.group_channels(mode) + params.sub_columns, params.in_channels // 2
    count = np.arange(channels * 4 * params.in_channels).reshape(channels, 4, -1)
    weight = np.zeros(count.shape, np.int64)
    for part in params.sub_kinds:
        rows = [params.column_kind(c) == part.kind.number for c in range(channels)]
        weight[rows] = part.code.levels[count[rows] * 5 % len(part.code.levels)]
    weight[:, 2, middle:] = 0
    weight[:, 3, :middle] = 0
    number = np.arange(channels)
    parameters = {
        f.name: f.values[0] + (number * 0x01234567 + n) % len(f.values)
        for n, f in enumerate(PARAMETER)
    }
    whole = conv_stream(conv, params, weight.astype(np.int8), parameters)
    # The same slots in two blocks, the second one of low bytes; the groups skip one of each half.
    lists = ((0, 0), (0, 1), (0, 2), (1, 2)), ((0, 1), (0, 3), (1, 3), (0, 0))
    entries = [SlotEntry(b, t, int(n == len(x) - 1)) for x in lists for n, (b, t) in enumerate(x)]
    skipping = replace(
        conv,
        blocks=(BlockRecord(tap_count=4), BlockRecord(tap_count=4, shift=1)),
        list_words=2,
        lists=tuple(entries),
        heads=(GroupHead(4, 2, 3, 1), GroupHead(4, 1, 1, 1)),
    )
    twice = np.concatenate([weight, weight], axis=1).astype(np.int8)
    return np.concatenate([whole, conv_stream(skipping, params, twice, parameters)])


def describe(params: EngineParams) -> dict:
    """All that fixes the weight stream of an engine, JSON-able: its units, codes and slots, every
    bit of a parameter record, and examples of the order of all that."""
    ones = {f.name: np.array([[0, -1 if f.signed else f.values[-1]]]) for f in PARAMETER}
    nothing = {name: np.zeros((1, 2), np.int64) for name in ones}
    records = {name: pack_params(nothing | {name: ones[name]}, 4) for name in ones}
    return {
        "granule": GRANULE,
        "stream_bits": params.stream_bits,
        "array": [params.subgroups, params.in_channels],
        "columns": {kind.title: kind.sub_count(params) for kind in KINDS},
        "codes": {
            part.kind.title: [part.kind.number, part.code.name, _levels(part.code).tolist()]
            for part in params.sub_kinds
        },
        "sp2_code": params.sp2_code,
        "numerics": numerics.describe(),
        "parameter_record": describe_record(ParameterRecord),
        "parameters": {name: record.tobytes().hex() for name, record in records.items()},
        "parameter_granules": [params.some_param_granules(s + 1) for s in range(params.subgroups)],
        "slots": slot_layout.describe(params),
        "streams": {
            f"mode {m}": sha256(_example(params, m).tobytes()).hexdigest() for m in params.modes
        },
    }
