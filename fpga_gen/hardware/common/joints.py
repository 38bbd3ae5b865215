"""The joints between the engine's blocks: one signature each, used by both ends.

A signature is written from the end that a docstring names first; the other end takes it as `In`.
"""

from __future__ import annotations

from amaranth.hdl import signed
from amaranth.lib import data, stream
from amaranth.lib.data import Layout
from amaranth.lib.wiring import In, Out, Signature

from fpga_gen.contract.address import ADDRESS_BITS
from fpga_gen.contract.fields import WORD_BITS
from fpga_gen.contract.isa import MAX_SOURCES, MAX_TABLE, SOURCE, TABLE_ENTRIES, width
from fpga_gen.contract.numerics import ACC_BITS
from fpga_gen.contract.params import CHANNEL_BITS, PARAM_ENTRIES, PORT_BITS, EngineParams
from fpga_gen.hardware.common.fan_out import copies_for
from fpga_gen.hardware.common.records import (
    HEADER,
    PARAMS_OF_CHANNEL,
    PlainArray,
    PlainStruct,
)
from fpga_gen_host.registers import ERROR_CODE_BITS, LAYER_BITS

LOOKUP_BITS = 32  # of a word of a table: the widest of half a block RAM
LOOKUP_WORDS = 8 * TABLE_ENTRIES // LOOKUP_BITS
GROUP_BITS = width("tile_groups")  # pixel groups of a tile


def group_index_bits(params: EngineParams) -> int:
    """Bits of a pixel group's place in the partial sums."""
    return (params.tile_groups - 1).bit_length()


def lane_index_bits(params: EngineParams) -> int:
    """Bits of the number of one of the P pixel lanes."""
    return max((params.pixels - 1).bit_length(), 1)


# --- sequencer ---------------------------------------------------------------------------------
class Issue(Signature):
    """Sequencer to a unit: the pulse `start`, and the header of the instruction from then on until
    the next instruction starts."""

    def __init__(self) -> None:
        super().__init__({"start": Out(1), "header": Out(HEADER)})


class Units(Signature):
    """Engine to the sequencer: which units work, whether all results are in memory, whether there
    are parameters for a VECTOR."""

    def __init__(self) -> None:
        super().__init__(
            {
                "walker_busy": Out(1),
                "vector_busy": Out(1),
                "load_busy": Out(1),
                "store_busy": Out(1),
                "exit_idle": Out(1),
                "params_ready": Out(1),
            }
        )


class ProgramFill(Signature):
    """Loader to the program memory: while `filling`, its words are the program's, every one."""

    def __init__(self, params: EngineParams) -> None:
        super().__init__({"valid": Out(1), "word": Out(params.stream_bits), "filling": In(1)})


class RecordRead(Signature):
    """Walker to a table of records: the one at `index` a cycle ago."""

    def __init__(self, record: Layout, count_field: str) -> None:
        super().__init__({"index": Out(width(count_field)), "record": In(record)})


class TableWrite(Signature):
    """Sequencer to the vector unit: `word` is 64-bit word `part` of source number `source`, or
    word `pair` (two entries) of an axis table."""

    def __init__(self) -> None:
        super().__init__(
            {
                "word": Out(WORD_BITS),
                "source": Out(range(MAX_SOURCES)),
                "part": Out(range(SOURCE.words)),
                "pair": Out(range(MAX_TABLE // 2)),
                "source_write": Out(1),
                "y_write": Out(1),
                "x_write": Out(1),
            }
        )


class LookupWrite(Signature):
    """Sequencer to the exit path: `data` is word `word` of table `lookup`."""

    def __init__(self) -> None:
        super().__init__(
            {
                "valid": Out(1),
                "lookup": Out(width("lookup")),
                "word": Out(range(LOOKUP_WORDS)),
                "data": Out(LOOKUP_BITS),
            }
        )


# --- walker ------------------------------------------------------------------------------------
class Beat(Signature):
    """Walker to memory, lanes and array: one pixel group of one weight slot, registered.

    t: its number in the tile; first, last: of the tile's slots; shift: the sums move up a byte;
    switch: the first group of a slot, with new weights; pool: it is for the max-pool unit; pad:
    lanes outside the map hold -128; address: of lane 0; double: of every second word.
    """

    def __init__(self, params: EngineParams) -> None:
        super().__init__(
            {
                "valid": Out(1),
                "t": Out(group_index_bits(params)),
                "first": Out(1),
                "shift": Out(1),
                "last": Out(1),
                "switch": Out(1),
                "pad": Out(1),
                "pool": Out(1),
                "address": Out(ADDRESS_BITS),
                "mode": Out(width("mode")),
                "double": Out(1),
            }
        )


class LaneMotion(Signature):
    """Walker to the lane masks, a cycle before the beat: where the pixel lanes go after it.

    advance: to the next pixel group, in row mode to the next row if `row_end`; at the last beat of
    a slot instead restore: back to the start of the tile, commit: on, and the tile starts there, or
    reinit: back to the first pixel. dy, dx: tap of this beat. ready: lanes know the first group.
    """

    def __init__(self) -> None:
        super().__init__(
            {
                "row_end": Out(1),
                "advance": Out(1),
                "restore": Out(1),
                "commit": Out(1),
                "reinit": Out(1),
                "dy": Out(signed(width("dy"))),
                "dx": Out(signed(width("dx"))),
                "ready": In(1),
            }
        )


# What the exit path must know of one finished tile. groups: its pixel groups; new_instruction,
# new_group: it is the first of those; base: plane that holds the output group's first channel, at
# `byte_offset`; channels: of the output group.
TILE = data.StructLayout(
    {
        "groups": GROUP_BITS,
        "new_instruction": 1,
        "new_group": 1,
        "base": ADDRESS_BITS,
        "byte_offset": width("byte_offset"),
        "channels": CHANNEL_BITS,
    }
)
TOKEN = PlainStruct({"header": HEADER, "tile": TILE, "pool": 1})


class Tiles(Signature):
    """Walker to the exit path: finished tiles with their instruction. drain_free: the drain memory
    may be written SAFE_STEPS cycles from now."""

    def __init__(self) -> None:
        super().__init__({"token": Out(stream.Signature(TOKEN)), "drain_free": In(1)})


# --- feature-map memory ------------------------------------------------------------------------
class MemoryRead(Signature):
    """A unit to the feature-map memory: `words` neighbouring words from `address` on, READ_LATENCY
    cycles later."""

    def __init__(self, params: EngineParams, words: int) -> None:
        super().__init__(
            {
                "valid": Out(1),
                "address": Out(ADDRESS_BITS),
                "data": In(words * params.word_bits),
            }
        )


class WriteStep(Signature):
    """Exit path to the feature-map memory: up to `write_slots` words in different banks; `bytes`:
    those of a word that are written; odd, with two exit pixels: the words of the first one, and so
    the first `row_slots` slots, are for banks of odd numbers, those of the second for even ones
    (`odd_copies` for every slot of the first)."""

    def __init__(self, params: EngineParams) -> None:
        n, odds = params.write_slots, params.row_slots * odd_copies(params)
        super().__init__(
            {
                "valid": Out(n),
                "address": Out(PlainArray(ADDRESS_BITS, n)),
                "data": Out(PlainArray(params.word_bits, n)),
                "bytes": Out(PlainArray(params.in_channels, n)),
            }
            | ({"odd": Out(odds)} if params.exit_pixels == 2 else {})
        )


def odd_copies(params: EngineParams) -> int:
    """Copies of `odd` in a WriteStep for one slot of each exit pixel: a copy chooses LOADS bits of
    data, half of them for even banks; the last but one chooses byte enables and rows, the last one
    the bank."""
    return copies_for(2 * params.word_bits) + 2


# --- array -------------------------------------------------------------------------------------
class ArrayBeat(Signature):
    """Array feed to the array: a beat with the masked words of its lanes; `switch` and `mode` come
    ARRAY_LEAD cycles before the rest."""

    def __init__(self, params: EngineParams) -> None:
        super().__init__(
            {
                "act": Out(params.lanes * params.word_bits),
                "valid": Out(1),
                "t": Out(group_index_bits(params)),
                "first": Out(1),
                "shift": Out(1),
                "last": Out(1),
                "switch": Out(1),
                "mode": Out(width("mode")),
            }
        )


class PoolBeat(Signature):
    """Array feed to the max-pool unit: the same of P lanes; `t` comes a cycle before the rest."""

    def __init__(self, params: EngineParams) -> None:
        super().__init__(
            {
                "act": Out(params.pixels * params.word_bits),
                "valid": Out(1),
                "t": Out(group_index_bits(params)),
                "first": Out(1),
                "last": Out(1),
            }
        )


class Done(Signature):
    """Array or max-pool unit to the exit path: the results of pixel group t may be asked for."""

    def __init__(self, params: EngineParams) -> None:
        super().__init__({"valid": Out(1), "t": Out(group_index_bits(params))})


# --- results -----------------------------------------------------------------------------------
class Drain(Signature):
    """Exit path to the array (`sums`) or the max-pool unit (`maxima`): the results of pixel group
    t in a lane, DRAIN_LATENCY cycles later; with two exit pixels, and always in max-pooling, of its
    neighbour behind them, and the lane is an even one."""

    def __init__(self, params: EngineParams, results: int) -> None:
        super().__init__(
            {
                "t": Out(group_index_bits(params)),
                "lane": Out(lane_index_bits(params)),
                "data": In(results),
            }
        )

    @classmethod
    def sums(cls, params: EngineParams) -> Drain:
        return cls(params, params.exit_pixels * params.columns * ACC_BITS)

    @classmethod
    def maxima(cls, params: EngineParams) -> Drain:
        return cls(params, params.pool_pixels * params.word_bits)


class VectorResult(Signature):
    """Vector unit to the exit path: CI sums for each pixel of a step and where they go; both: the
    second pixel is there; high: the high byte of a 16-bit result is asked for."""

    def __init__(self, params: EngineParams) -> None:
        n = params.vector_pixels
        super().__init__(
            {
                "valid": Out(1),
                "both": Out(1),
                "sums": Out(PlainArray(ACC_BITS, n * params.in_channels)),
                "address": Out(PlainArray(ADDRESS_BITS, n)),
                "high": Out(1),
            }
        )


# --- loader ------------------------------------------------------------------------------------
class ParamRead(Signature):
    """Exit path to the loader's parameter memory: entry `index` a cycle ago. release: the oldest
    entry is free; held: the exit path uses one."""

    def __init__(self, params: EngineParams) -> None:
        super().__init__(
            {
                "index": Out(range(PARAM_ENTRIES)),
                "data": In(PlainArray(PARAMS_OF_CHANNEL, params.columns)),
                "release": Out(1),
                "held": Out(1),
            }
        )


# --- the outside -------------------------------------------------------------------------------
# A region to read: offset in beats from the region's base, length in stream words.
FETCH = data.StructLayout(
    {"region": width("region"), "offset": width("offset"), "words": width("words")}
)
# A transfer to the output region, in beats.
STORE = data.StructLayout({"offset": width("offset"), "beats": width("words")})


class StoreBeats(Signature):
    """Store unit to the write port: beats that must be taken, WRITE_ROOM more after `room` fell."""

    def __init__(self) -> None:
        super().__init__({"valid": Out(1), "data": Out(PORT_BITS), "room": In(1)})


class EngineStatus(Signature):
    """Engine to the shell, all registered.

    done: pulse, END is reached and every STORE accepted with its data. error: pulse, with an
    ErrorCode and, in `error_info`, the instruction's number. progress: for the watchdog. count_*:
    cycles to be counted. layer: instructions dispatched; layer_start: pulse for each.
    """

    def __init__(self) -> None:
        super().__init__(
            {
                "done": Out(1),
                "error": Out(1),
                "error_code": Out(ERROR_CODE_BITS),
                "error_info": Out(LAYER_BITS),
                "progress": Out(1),
                "count_busy": Out(1),
                "count_stall_weights": Out(1),
                "count_stall_drain": Out(1),
                "count_stall_input": Out(1),
                "layer": Out(LAYER_BITS),
                "layer_start": Out(1),
            }
        )
