"""A program is a sequence of 64-bit words: instructions up to the first END. An instruction is a
header, some followed by tables; the fields, in order, are the binary layout.

Instructions run in order. Results leave the array through the exit path while later instructions
already run; `wait` = 1 holds an instruction until every earlier result is in memory. VECTOR, LOAD
and END wait for that whatever their flag says. An instruction that does not wait must not read
bytes that an earlier one may still have to write, and none may write words that it reads itself.
Writes happen in program order, so a later one overtakes neither an earlier read nor an earlier
write.

A STORE is handed to the store unit when that has read the words of the STORE before, and runs
beside the instructions that follow: it begins when every earlier result is in memory, whatever its
`wait` says. END waits for it, and so does a FETCH whose `wait` is 1, no other instruction does:
nothing may write its words before the next of these.

FETCH, PAGE and TABLE are executed when they are decoded, ahead of the instructions before them. The
`wait` of a FETCH holds it, and what is decoded behind it, until what all STOREs before it wrote has
been acknowledged by the DRAM: of the region OUTPUT only that may be read. That of PAGE and TABLE
means nothing. When an instruction is decoded, the one before it has started, and at
most the results of that one and of the two writers (CONV, POOL, VECTOR) before it are not yet in
memory: a TABLE must not have the number of a table that one of the last three writers uses.
At most 32 FETCHes may be ahead of the consumers of their words. The
stream is the region PROGRAM, then the concatenation of the fetched
regions; its order is the program order of its consumers. CONV and VECTOR take whole 32-bit granules
from it, LOAD and PAGE whole stream words, from the next one on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property
from typing import ClassVar

from fpga_gen.contract import fields
from fpga_gen.contract.address import address, pack_address
from fpga_gen.contract.fields import (
    WORD_BITS,
    Field,
    Layout,
    Record,
    bits,
    constant,
    signed,
    table,
)
from fpga_gen.contract.records import (
    AxisEntry,
    BlockRecord,
    ColumnEntry,
    GroupHead,
    LookupEntry,
    SlotEntry,
    SourceRecord,
    TapRecord,
)
from fpga_gen_host.registers import WORDS_BITS

MAX_SOURCES = 4
MAX_TABLE = 1024  # entries of one axis table of a VECTOR instruction
TABLE_ENTRIES = 256  # of a TABLE
IN_FLIGHT = 3  # writers before a decoded instruction whose results may not be in memory
MAX_READ_STRIDE = 2  # pixels from lane to lane in row mode; beyond, a group has one lane
OP_BITS = 4


class Op(IntEnum):
    END = 0
    FETCH = 1
    LOAD = 2
    CONV = 3
    POOL = 4
    VECTOR = 5
    STORE = 6
    PAGE = 7
    TABLE = 8


class Region(IntEnum):
    """What a FETCH reads; each region has a base-address register. OUTPUT: where STOREs write,
    results first, then maps that leave the chip for a while."""

    PROGRAM = 0
    WEIGHTS = 1
    INPUT = 2
    OUTPUT = 3


class VectorOp(IntEnum):
    LINEAR = 0
    MUL = 1


@dataclass(frozen=True, kw_only=True)
class Instruction(Record):
    """Base of all instructions. ALONE: it starts when all earlier results are in memory, whatever
    its `wait` says; AFTER_STORE: it waits for the store unit; DECODED: the decoder executes it, it
    is not dispatched."""

    ALONE: ClassVar[bool] = False
    AFTER_STORE: ClassVar[bool] = False
    DECODED: ClassVar[bool] = False

    op: Op = constant(OP_BITS, "opcode")
    wait: int = bits(1, "start when all earlier results are in memory")
    layer: str = ""  # for reports only, not encoded


@dataclass(frozen=True, kw_only=True)
class EndInstruction(Instruction):
    """The end of the program: the run is done when all results are in DRAM. Its `wait` is 1."""

    ALONE = True
    AFTER_STORE = True

    op: Op = constant(OP_BITS, "opcode", Op.END)


@dataclass(frozen=True, kw_only=True)
class FetchInstruction(Instruction):
    """Queues a part of a region for the stream reader."""

    DECODED = True

    op: Op = constant(OP_BITS, "opcode", Op.FETCH)
    region: int = bits(2, "see Region")
    words: int = bits(WORDS_BITS, "stream words")
    offset: int = bits(32, "of the first one in the region, in beats", word=True)


@dataclass(frozen=True, kw_only=True)
class LoadInstruction(Instruction):
    """Writes words of the stream to memory. A beat is b memory words: word j of beat k (the one of
    port k) of stream word i goes to base + k * (stride + b - 1) + i * b + j. `packed`: the last
    quarters of three stream words are the first three quarters of a fourth."""

    ALONE = True

    op: Op = constant(OP_BITS, "opcode", Op.LOAD)
    words: int = bits(WORDS_BITS, "addresses written in every part")
    stream_words: int = bits(WORDS_BITS, "stream words taken: a quarter less if packed")
    packed: int = bits(1, "every fourth word came with the three before it")
    base: int = address("of the first part", word=True)
    stride: int = address("from the last word of a beat to the first of the next one")


@dataclass(frozen=True, kw_only=True)
class WalkInstruction(Instruction):
    """The walk of CONV and POOL: for group g of output channels: for tile: for block: for tap of
    the block (a weight slot): for pixel group t of the tile: read `lanes` words at block.address +
    tap.address + pixel address, those outside the map replaced by the pad byte.

    Pixel groups advance by (pixel_step, step_dy, step_dx); in row mode by `row_step` and
    y += stride_y after every `groups_per_row` groups, x restarting. Lane l of a group: l pixels
    further in raster order of a map in_w wide; in row mode x + l * stride_x. Only pixels with
    raster index < `pixels`, in row mode with column < `row_width`, are written.
    """

    mode: int = bits(2, "of the array, minus 1")
    row_mode: int = bits(1, "a pixel group lies in one row")
    n_blocks: int = bits(8, "length of the block table")
    n_taps: int = bits(8, "length of the tap table")
    out16: int = bits(1, "results of 16 bits, in two byte planes")
    zero: int = bits(1, "results are stored minus 128 (format u8)")
    n_tiles: int = bits(16, "tiles of the map")
    tile_groups: int = bits(7, "pixel groups of a long tile; the others have one less")
    list_words: int = bits(8, "64-bit words of the slot lists; 0: no group skips a slot")

    n_groups: int = bits(12, "groups of output channels", word=True)
    long_tiles: int = bits(16, "how many tiles are long, at least 1; they come first")
    slots: int = bits(14, "weight slots of an output-channel group and tile")
    channels: int = bits(16, "output channels")
    byte_offset: int = bits(4, "of the first output channel in its word")

    pixel_step: int = address("from one pixel group to the next", word=True)
    row_step: int = address("from the last pixel group of a row to the next row's first")
    out_step: int = address("of the result, from one pixel group to the next")

    out_row_step: int = address("of the result, from the last group of a row on", word=True)
    out_base: int = address("of the result's first pixel in its first plane")
    out_plane: int = address("of the result, from one plane to the next")

    out_low: int = address("of the result, from high to low bytes", word=True)
    groups_per_row: int = bits(13, "pixel groups of a row, in row mode")
    row_width: int = bits(13, "columns of the result")
    lanes: int = bits(6, "pixels of a group: m * P in mode m, or 1")
    repeats: int = bits(12, "last slots, whose weights are those of as many before them")

    in_h: int = bits(13, "height of the map that is read", word=True)
    in_w: int = bits(13, "its width")
    step_dy: int = bits(8, "rows from one pixel group to the next")
    step_dx: int = bits(13, "columns from one pixel group to the next")
    stride_x: int = bits(4, "columns from lane to lane, in row mode")
    stride_y: int = bits(4, "rows from output row to output row, in row mode")

    pixels: int = bits(24, "of the result", word=True)
    lo: int = signed(16, "least stored result")
    hi: int = signed(16, "largest stored result")

    y0: int = signed(14, "row of the first pixel, in the coordinates of in_h", word=True)
    x0: int = signed(14, "its column")
    half_from: int = bits(14, "first slot that carries the low half of the inputs alone")
    high_from: int = bits(14, "first slot that carries the high half alone")
    last_subgroups: int = bits(4, "column subgroups of the last group's parameters and slots")
    lookup: int = bits(3, "table that results index, 0: none")

    curve: tuple[int, ...] = ()  # entries of that table, which the program numbers; not encoded
    blocks: tuple[BlockRecord, ...] = table(BlockRecord, "n_blocks")
    taps: tuple[TapRecord, ...] = table(TapRecord, "n_taps")
    lists: tuple[SlotEntry, ...] = table(SlotEntry, "list_words")

    @property
    def array_mode(self) -> int:
        """m: the array computes m * P pixels of CO / m channels at a time."""
        return self.mode + 1


@dataclass(frozen=True, kw_only=True)
class ConvInstruction(WalkInstruction):
    """Multiplies stored bytes and accumulates along the walk; the first slot of a tile starts from
    0. In mode m lane l computes channels of its own pixel, CO/m of them in a group. A block with
    `shift` turns sums of high bytes into those of the whole values, to which it adds the low
    bytes'; what the zeros of the formats contribute is in the bias.

    From the stream it takes, for every output-channel group: its parameters, then its slots once,
    although every tile uses them. Slots of index >= half_from carry the low half of the inputs,
    those >= high_from the high half; the weights of the other half are 0. The last group has
    parameters and slots for `last_subgroups` column subgroups. The last `repeats` slots (planes of
    low bytes) have the weights of as many before them, which the stream carries once.

    With `list_words` a group has only the slots of its list: the lists follow one another, each up
    to its `final` entry, and take the place of the loops over blocks and taps. A slot that is not
    in it has weights of 0 alone. `slots`, `half_from`, `high_from` and `repeats` then stand in a
    GroupHead in front of the group's parameters in the stream; those of the header mean nothing.
    """

    op: Op = constant(OP_BITS, "opcode", Op.CONV)
    heads: tuple[GroupHead, ...] = ()  # of the groups: the stream carries them

    @cached_property
    def group_lists(self) -> tuple[tuple[SlotEntry, ...], ...]:
        """The entries of every output-channel group; () without lists."""
        groups, first = [], 0
        for index, entry in enumerate(self.lists):
            if entry.final and len(groups) < self.n_groups:
                groups.append(self.lists[first : index + 1])
                first = index + 1
        return tuple(groups)


@dataclass(frozen=True, kw_only=True)
class PoolInstruction(WalkInstruction):
    """The running maximum along the walk with group g = block g, lanes = P, mode 1; stored bytes
    pass unchanged. It takes nothing from the stream; `repeats`, `half_from`, `high_from` and
    `last_subgroups` mean nothing, and there are no slot lists."""

    op: Op = constant(OP_BITS, "opcode", Op.POOL)


@dataclass(frozen=True, kw_only=True)
class VectorInstruction(Instruction):
    """For every block (plane), every output pixel: LINEAR: the sum over sources, y taps, x taps of
    wy * wx * value, or over sources of factor * value when `direct`. MUL: the product of two
    sources, `direct` only. `direct`: no axis tables, source pixel = output pixel. A value is the
    stored one minus the zero of its format.

    `pair`: two neighbouring pixels per step (the last of an odd row alone). A read returns what
    two neighbouring taps of each need; the x table holds an entry per step and read. From the
    stream it takes one block of mode-1 parameters.
    """

    ALONE = True

    op: Op = constant(OP_BITS, "opcode", Op.VECTOR)
    function: int = bits(2, "see VectorOp")
    direct: int = bits(1, "elementwise: no axis tables")
    pair: int = bits(1, "two pixels per step")
    n_blocks: int = bits(8, "planes of the result")
    n_sources: int = bits(3, "length of the source table")
    out16: int = bits(1, "results of 16 bits, in two byte planes")
    zero: int = bits(1, "results are stored minus 128 (format u8)")
    y_taps: int = bits(7, "taps of an output row")
    x_reads: int = bits(7, "reads of an output column: two taps each")
    out_h: int = bits(13, "rows of the result")
    out_w: int = bits(13, "its columns")

    lo: int = signed(16, "least stored result", word=True)
    hi: int = signed(16, "largest stored result")
    out_base: int = address("of the result's first pixel in its first plane")
    lookup: int = bits(3, "table that results index, 0: none")

    out_plane: int = address("of the result, from one plane to the next", word=True)
    out_low: int = address("of the result, from high to low bytes")
    y_words: int = bits(10, "64-bit words of the y table")
    x_words: int = bits(10, "64-bit words of the x table")

    curve: tuple[int, ...] = ()  # as of a CONV
    sources: tuple[SourceRecord, ...] = table(SourceRecord, "n_sources")
    y: tuple[AxisEntry, ...] = table(AxisEntry, "y_words", unless="direct")
    x: tuple[ColumnEntry, ...] = table(ColumnEntry, "x_words", unless="direct")


@dataclass(frozen=True, kw_only=True)
class StoreInstruction(Instruction):
    """Copies memory words to the output region."""

    AFTER_STORE = True

    op: Op = constant(OP_BITS, "opcode", Op.STORE)
    words: int = bits(WORDS_BITS, "memory words, whole beats")
    base: int = address("of the first one", word=True)
    offset: int = bits(32, "of the first one in the region, in beats")


@dataclass(frozen=True, kw_only=True)
class PageInstruction(Instruction):
    """Words of the stream are the next words of the program. The program memory is a ring of which
    the region PROGRAM is the first fill; a page overwrites words that were decoded before it, so
    the words from behind the PAGE to the end of its page must fit the memory."""

    DECODED = True

    op: Op = constant(OP_BITS, "opcode", Op.PAGE)
    words: int = bits(WORDS_BITS, "stream words, at least 1")


@dataclass(frozen=True, kw_only=True)
class TableInstruction(Instruction):
    """Fills a table: the results of a writer with this `lookup`, as signed bytes, are replaced by
    the entries at these bytes. Entry i belongs to the result i mod 256."""

    DECODED = True

    op: Op = constant(OP_BITS, "opcode", Op.TABLE)
    lookup: int = bits(3, "number of the table, at least 1")
    entry_words: int = bits(6, "64-bit words of entries: all 32")

    entries: tuple[LookupEntry, ...] = table(LookupEntry, "entry_words")


INSTRUCTIONS: dict[Op, type[Instruction]] = {
    Op.END: EndInstruction,
    Op.FETCH: FetchInstruction,
    Op.LOAD: LoadInstruction,
    Op.CONV: ConvInstruction,
    Op.POOL: PoolInstruction,
    Op.VECTOR: VectorInstruction,
    Op.STORE: StoreInstruction,
    Op.PAGE: PageInstruction,
    Op.TABLE: TableInstruction,
}
DECODER_OPS = tuple(op for op, kind in INSTRUCTIONS.items() if kind.DECODED)
LAYOUTS: dict[Op, Layout] = {op: kind.layout() for op, kind in INSTRUCTIONS.items()}
RECORDS = (BlockRecord, TapRecord, SourceRecord, AxisEntry, ColumnEntry, SlotEntry, GroupHead)
BLOCK, TAP, SOURCE, ENTRY, COLUMN, SLOT_ENTRY, GROUP_HEAD = (r.layout() for r in RECORDS)
ENTRY_BITS = WORD_BITS // AxisEntry.PER_WORD
HEADER_WORDS = max(layout.words for layout in LAYOUTS.values())  # of the longest header


def _by_name() -> dict[str, Field]:
    """Every field by name; a name has one width, wherever it stands."""
    known: dict[str, Field] = {}
    tables = (record.layout() for record in RECORDS)
    for f in (f for layout in (*LAYOUTS.values(), *tables) for f in layout):
        first = known.setdefault(f.name, f)
        if (first.bits, first.signed) != (f.bits, f.signed):
            raise ValueError(f"field {f.name} has two widths")
    return known


_FIELDS = _by_name()


def width(name: str) -> int:
    """Bits of the field of that name, in whatever instruction or record; KeyError without one."""
    return _FIELDS[name].bits


def limit(name: str) -> int:
    """The largest value of the field of that name."""
    return _FIELDS[name].values[-1]


MAX_BLOCKS = limit("n_blocks")
MAX_TAPS = limit("n_taps")
MAX_LIST = limit("list_words") * SlotEntry.PER_WORD  # entries of all lists of an instruction
MAX_AXIS_TAPS = limit("y_taps")
MAX_SKIP = limit("skip")
MAX_LOOKUP = limit("lookup")
TABLE_WORDS = TABLE_ENTRIES // LookupEntry.PER_WORD


def decode_program(words: Sequence[int]) -> Iterator[Instruction]:
    """Instructions up to and including END; ValueError on an unknown opcode or truncation.

    The sequence may grow meanwhile: who executes a PAGE appends its words.
    """
    at = 0
    while True:
        if at >= len(words):
            raise ValueError("program has no END")
        code = words[at] & (1 << OP_BITS) - 1
        if code not in Op.__members__.values():
            raise ValueError(f"unknown opcode {code} at word {at}")
        instruction = INSTRUCTIONS[Op(code)].decode(words, at)
        at += instruction.encoded_words
        yield instruction
        if isinstance(instruction, EndInstruction):
            return


def describe() -> dict:
    """All that programs and their readers must agree on, JSON-able: codes, fields and limits of the
    tables, and examples of what is code."""
    return {
        "limits": [MAX_SOURCES, MAX_TABLE, MAX_READ_STRIDE, TABLE_ENTRIES, IN_FLIGHT],
        "codes": {e.__name__: {i.name: int(i) for i in e} for e in (Op, Region, VectorOp)},
        "order": {
            op.name: [kind.ALONE, kind.AFTER_STORE, kind.DECODED]
            for op, kind in INSTRUCTIONS.items()
        },
        "instructions": {op.name: fields.describe(kind) for op, kind in INSTRUCTIONS.items()},
        "records": {r.__name__: fields.describe(r) for r in (*RECORDS, LookupEntry)},
        "addresses": [pack_address(linear, 24) for linear in (1, 23, 24, 1000, -1, -25)],
    }
