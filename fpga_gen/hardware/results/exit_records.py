"""What the parts of the exit path tell each other."""

from __future__ import annotations

from amaranth.hdl import signed
from amaranth.lib import data

from fpga_gen.contract.address import ADDRESS_BITS
from fpga_gen.contract.isa import width
from fpga_gen.contract.params import CHANNEL_BITS, PARAM_ENTRIES, EngineParams
from fpga_gen.hardware.common.joints import group_index_bits, lane_index_bits
from fpga_gen.hardware.common.records import PlainArray, PlainStruct
from fpga_gen.hardware.results.requantise import LIMIT_BITS


def facts_layout(params: EngineParams) -> PlainStruct:
    """Facts of an instruction, constant while results are on their way.

    pool, vector: whose results they are; lo, hi, zero: see RequantLane; lookup: their table, with
    activations; out_low: from a map's high
    bytes to its low ones; limit: pixels, or columns in row mode; bases: addresses of the planes
    that a step can touch; byte_offset, channels: of the output group.
    """
    return PlainStruct(
        {
            "mode": width("mode"),
            "pool": 1,
            "vector": 1,
            "zero": 1,
            "out16": 1,
            "lo": signed(LIMIT_BITS),
            "hi": signed(LIMIT_BITS),
            "out_low": ADDRESS_BITS,
            "limit": width("pixels"),
            "bases": PlainArray(ADDRESS_BITS, params.max_write_words),
            "byte_offset": width("byte_offset"),
            "channels": CHANNEL_BITS,
        }
        | ({"lookup": width("lookup")} if params.activations else {})
    )


def step_layout(params: EngineParams) -> data.StructLayout:
    """One exit step: pixel group t, lane, byte plane.

    pixel: address of the group's lane 0 relative to its plane; index: its raster index or column;
    pair: the second pixel of a max-pool step exists; param: entry of the parameters.
    """
    return data.StructLayout(
        {
            "t": group_index_bits(params),
            "lane": lane_index_bits(params),
            "low_pass": 1,
            "pixel": ADDRESS_BITS,
            "index": width("pixels"),
            "pair": 1,
            "param": range(PARAM_ENTRIES),
        }
    )


def result_layout(params: EngineParams) -> PlainStruct:
    """Where the values of one exit step go.

    address, enable: of every write slot; offset: byte of a memory word at which a pixel's channels
    begin; channels: bytes that a pixel has; high: high bytes of 16-bit values.
    """
    return PlainStruct(
        {
            "valid": 1,
            "address": PlainArray(ADDRESS_BITS, params.write_slots),
            "enable": params.write_slots,
            "offset": width("byte_offset"),
            "channels": CHANNEL_BITS,
            "high": 1,
        }
    )
