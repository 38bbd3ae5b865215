"""Weight stream: parameters and weight slots as 32-bit granules, and back.

Order of a CONV: for every group of output channels its parameters, then its slots in execution
order. A slot holds CI inputs x CO/mode columns, subgroup-major: subgroup, input, then the int8
columns and the SP2 columns of the subgroup; LSB first, padded to whole granules.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from fpga_gen.hardware.params import GRANULE, PARAM_BITS, EngineParams
from fpga_gen.quant.numerics import SP2_CODES

PARAM_BYTES = PARAM_BITS // 8


def _granules(bits: np.ndarray) -> np.ndarray:
    """uint8 bits (..., n) -> uint32 granules (..., ceil(n / 32)), LSB first."""
    pad = -bits.shape[-1] % GRANULE
    if pad:
        bits = np.concatenate([bits, np.zeros((*bits.shape[:-1], pad), np.uint8)], axis=-1)
    packed = np.packbits(bits, axis=-1, bitorder="little")
    return np.ascontiguousarray(packed).view("<u4")


def pack_params(bias: np.ndarray, mult: np.ndarray, shift: np.ndarray, granules: int) -> np.ndarray:
    """uint32 (groups, granules) of parameters (groups, channels), 56 bits each."""
    groups, channels = bias.shape
    table = np.zeros((groups, granules * (GRANULE // 8)), np.uint8)
    fields = table[:, : channels * PARAM_BYTES].reshape(groups, channels, PARAM_BYTES)
    fields[..., 0:4] = bias.astype("<i4")[..., None].view(np.uint8)
    fields[..., 4:6] = mult.astype("<u2")[..., None].view(np.uint8)
    fields[..., 6] = shift
    return table.view("<u4")


def unpack_params(granules: np.ndarray, channels: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(bias, mult, shift), int64 (channels,), of one block of parameters."""
    raw = np.ascontiguousarray(granules).view(np.uint8)[: channels * PARAM_BYTES]
    fields = np.ascontiguousarray(raw.reshape(channels, PARAM_BYTES))
    bias = np.ascontiguousarray(fields[:, 0:4]).view("<i4")[:, 0]
    mult = np.ascontiguousarray(fields[:, 4:6]).view("<u2")[:, 0]
    return bias.astype(np.int64), mult.astype(np.int64), (fields[:, 6] & 63).astype(np.int64)


def pack_slots(weights: np.ndarray, params: EngineParams, mode: int) -> np.ndarray:
    """uint32 (groups, slots, slot granules) of int8 weights (groups, slots, CI, CO/mode)."""
    groups, slots, inputs, channels = weights.shape
    assert (inputs, channels) == (params.in_channels, params.group_channels(mode))
    split = weights.reshape(groups, slots, inputs, -1, params.sub_columns).transpose(0, 1, 3, 2, 4)
    dsp = np.ascontiguousarray(split[..., : params.sub_dsp]).view(np.uint8)
    codes = params.sp2.encode(split[..., params.sub_dsp :]).astype(np.uint8)
    width = params.sp2.bits
    lead = split.shape[:4]
    bits = np.empty((*lead, 8 * params.sub_dsp + width * params.sub_sp2), np.uint8)
    bits[..., : 8 * params.sub_dsp] = np.unpackbits(
        dsp[..., None], axis=-1, bitorder="little"
    ).reshape(*lead, -1)
    bits[..., 8 * params.sub_dsp :] = np.unpackbits(
        codes[..., None], axis=-1, count=width, bitorder="little"
    ).reshape(*lead, -1)
    packed = _granules(bits.reshape(groups, slots, -1))
    assert packed.shape[-1] == params.slot_granules(mode)
    return packed


@lru_cache
def _levels(code_name: str) -> np.ndarray:
    """Integer weight of every SP2 code word, int8."""
    code = SP2_CODES[code_name]
    return np.array([code.decode(c) for c in range(1 << code.bits)], np.int8)


def unpack_slots(granules: np.ndarray, params: EngineParams, mode: int) -> np.ndarray:
    """int8 weights (slots, CI, CO/mode) of uint32 granules (slots, slot granules)."""
    slots = len(granules)
    subgroups = params.subgroups // mode
    per_input = 8 * params.sub_dsp + params.sp2.bits * params.sub_sp2
    raw = np.ascontiguousarray(granules).view(np.uint8)
    bits = np.unpackbits(raw, axis=-1, bitorder="little")
    bits = bits[:, : subgroups * params.sub_weight_bits]
    bits = bits.reshape(slots, subgroups, params.in_channels, per_input)
    lead = bits.shape[:3]
    dsp = bits[..., : 8 * params.sub_dsp].reshape(*lead, params.sub_dsp, 8)
    sp2 = bits[..., 8 * params.sub_dsp :].reshape(*lead, params.sub_sp2, params.sp2.bits)
    out = np.empty((*lead, params.sub_columns), np.int8)
    out[..., : params.sub_dsp] = np.packbits(dsp, axis=-1, bitorder="little")[..., 0].view(np.int8)
    codes = np.packbits(sp2, axis=-1, bitorder="little")[..., 0] if params.sub_sp2 else 0
    if params.sub_sp2:
        out[..., params.sub_dsp :] = _levels(params.sp2_code)[codes]
    return out.transpose(0, 2, 1, 3).reshape(slots, params.in_channels, -1)
