"""The instruction set: one table of fields, used by compiler, interpreters, RTL and docs.

A program is a sequence of 64-bit words. Every instruction is a fixed header (its fields are
listed in `LAYOUTS`) followed by tables. Addresses of the feature-map memory are pairs
(row, bank) with linear = row * banks + bank; offsets may have a negative row, the bank part is
always 0..banks-1, so adding two of them is one small carry (see `pack_address`).

Execution. Instructions run in order. Results leave the array through the exit path while later
instructions already run; `wait` = 1 holds an instruction until every earlier result is in memory.

CONV. for group g of output channels: for tile: for block: for tap of block (one weight slot):
for pixel group t of the tile: read `lanes` words at block.address + tap.address + pixel address,
replace those outside the map by the pad byte, multiply and accumulate. A block whose `shift` is 1
shifts all partial sums left by 8 at its first tap (high to low byte planes). The first slot
starts from 0. Pixel groups advance by (pixel_step, step_dy, step_dx); in row mode by
`row_step` and y += stride_y after every `groups_per_row` groups, x restarting.
Lane l of a group: flat mode: l pixels further in raster order of a map in_w wide; row mode:
x + l * stride_x. Only pixels with raster index < `pixels` (flat) or column < `row_width` (row)
are written. Mode m: lane l computes channels of its own pixel; CO/m channels per group.
Weight stream of a CONV: for every group: its parameters, then its slots once (replayed per tile).
Slots of index >= half_from carry the low half of the inputs, those >= high_from the high half; the
weights of the other half are 0. The last group has parameters and slots for `last_subgroups` column
subgroups. The last `repeats` slots (low-byte planes) have the weights of as many before them, which
the stream carries once.

POOL. The same walk with group g = block g, running maximum over the taps; lanes = P.

VECTOR. For every block, every output pixel: LINEAR: sum over sources (at most MAX_SOURCES), y taps,
x taps of wy * wx * value, or of factor * value when `direct`; MUL: product of two sources (direct).
`pair` = 1: two neighbouring pixels per step (the last of an odd row alone). The x table holds two
entries per step and tap; the second pixel's address counts words from the first's (0..MAX_SKIP).
y_words, x_words: 64-bit words of the tables.
Parameters come from the weight stream (one block of mode-1 parameters). `direct` = 1: no tables,
source pixel = output pixel. A VECTOR or LOAD starts when all earlier results are in memory.

LOAD `stream_words` words of the stream into `words` addresses of memory. `packed` = 1: the last
quarters of three stream words are the first three quarters of a fourth (load_unpack.py). FETCH
queues a region for the stream reader. Stream order is the program order of its consumers.

PAGE `words` words of the stream are the next words of the program. The program memory is a ring of
which the region PROGRAM is the first fill; a page overwrites words that were decoded before it, so
the words from behind the PAGE to the end of its page must fit the memory. LOAD and PAGE take whole
stream words, from the next one on. The decoder executes FETCH and PAGE itself; they are not
dispatched, and their `wait` means nothing.

STORE memory words to the output region. It is handed to the store unit when that has read the words
of the STORE before, and runs beside the instructions that follow: it begins when every earlier
result is in memory, whatever its `wait` says. END waits for it. No other instruction does: nothing
may write its words before the next STORE or END.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from enum import IntEnum

WORD_BITS = 64  # of a program
BANK_BITS = 6
ROW_BITS = 14
ADDRESS_BITS = BANK_BITS + ROW_BITS
MAX_BLOCKS = 255
MAX_TAPS = 255
MAX_SOURCES = 4
MAX_AXIS_TAPS = 127  # of one axis of a VECTOR instruction
MAX_TABLE = 1024  # entries of one axis table of a VECTOR instruction
MAX_SKIP = 3  # words between the taps of the two pixels of a VECTOR step
HEADER_WORDS = 8  # longest header


class Op(IntEnum):
    END = 0
    FETCH = 1
    LOAD = 2
    CONV = 3
    POOL = 4
    VECTOR = 5
    STORE = 6
    PAGE = 7


DECODER_OPS = (Op.FETCH, Op.PAGE)  # executed by the decoder: the hardware's log leaves them out


class Region(IntEnum):
    """What a FETCH reads; each region has a base-address register."""

    PROGRAM = 0
    WEIGHTS = 1
    INPUT = 2


class VectorOp(IntEnum):
    LINEAR = 0
    MUL = 1


@dataclass(frozen=True)
class Field:
    """Bits [lsb, lsb + bits) of one word; signed fields are two's complement."""

    name: str
    bits: int
    lsb: int
    word: int
    signed: bool = False


def _layout(*words: str) -> tuple[Field, ...]:
    """'name:bits' (unsigned) or 'name:-bits' (signed) items, one string per word, LSB first."""
    fields = []
    for index, text in enumerate(words):
        lsb = 0
        for item in text.split():
            name, width = item.split(":")
            bits = abs(int(width))
            fields.append(Field(name, bits, lsb, index, width.startswith("-")))
            lsb += bits
        assert lsb <= WORD_BITS, f"word {index} has {lsb} bits"
    return tuple(fields)


_MAP_WALK = (  # shared by CONV and POOL
    "op:4 wait:1 mode:2 row_mode:1 n_blocks:8 n_taps:8 out16:1 zero:1 n_tiles:16 tile_groups:7",
    "n_groups:12 long_tiles:16 slots:14 channels:16 byte_offset:4",
    f"pixel_step:{ADDRESS_BITS} row_step:{ADDRESS_BITS} out_step:{ADDRESS_BITS}",
    f"out_row_step:{ADDRESS_BITS} out_base:{ADDRESS_BITS} out_plane:{ADDRESS_BITS}",
    f"out_low:{ADDRESS_BITS} groups_per_row:13 row_width:13 lanes:6 repeats:12",
    "in_h:13 in_w:13 step_dy:8 step_dx:13 stride_x:4 stride_y:4",
    "pixels:24 lo:-16 hi:-16",
    "y0:-14 x0:-14 half_from:14 high_from:14 last_subgroups:4",
)

LAYOUTS: dict[Op, tuple[Field, ...]] = {
    Op.END: _layout("op:4 wait:1"),
    Op.FETCH: _layout("op:4 wait:1 region:2 words:24", "offset:32"),
    Op.LOAD: _layout(
        "op:4 wait:1 words:24 stream_words:24 packed:1",
        f"base:{ADDRESS_BITS} stride:{ADDRESS_BITS}",
    ),
    Op.CONV: _layout(*_MAP_WALK),
    Op.POOL: _layout(*_MAP_WALK),
    Op.VECTOR: _layout(
        "op:4 wait:1 function:2 direct:1 pair:1 n_blocks:8 n_sources:3 out16:1 zero:1 y_taps:7 "
        "x_taps:7 out_h:13 out_w:13",
        f"lo:-16 hi:-16 out_base:{ADDRESS_BITS}",
        f"out_plane:{ADDRESS_BITS} out_low:{ADDRESS_BITS} y_words:10 x_words:10",
    ),
    Op.STORE: _layout("op:4 wait:1 words:24", f"base:{ADDRESS_BITS} offset:32"),
    Op.PAGE: _layout("op:4 wait:1 words:24"),
}
BLOCK = _layout(f"address:{ADDRESS_BITS} tap_start:8 tap_count:8 pad:1 shift:1")
TAP = _layout(f"address:{ADDRESS_BITS} dy:-12 dx:-12")
SOURCE = _layout(
    f"base:{ADDRESS_BITS} plane:{ADDRESS_BITS} low:{ADDRESS_BITS} wide:1 zero:1", "factor:-16"
)
ENTRY_BITS = 32  # two axis-table entries per word
ENTRY = _layout(f"address:{ADDRESS_BITS} weight:8")


def words_of(layout: Sequence[Field]) -> int:
    return max(f.word for f in layout) + 1


def encode_fields(layout: Sequence[Field], values: dict[str, int]) -> list[int]:
    """Words of one record; ValueError names a field that does not fit or is unknown."""
    words = [0] * words_of(layout)
    names = {f.name for f in layout}
    unknown = set(values) - names
    if unknown:
        raise ValueError(f"unknown fields {sorted(unknown)}")
    for f in layout:
        value = int(values.get(f.name, 0))
        low, high = (-(1 << (f.bits - 1)), (1 << (f.bits - 1))) if f.signed else (0, 1 << f.bits)
        if not low <= value < high:
            raise ValueError(f"field {f.name} = {value} does not fit {f.bits} bits")
        words[f.word] |= (value & ((1 << f.bits) - 1)) << f.lsb
    return words


def decode_fields(layout: Sequence[Field], words: Sequence[int]) -> dict[str, int]:
    out = {}
    for f in layout:
        value = (words[f.word] >> f.lsb) & ((1 << f.bits) - 1)
        if f.signed and value >> (f.bits - 1):
            value -= 1 << f.bits
        out[f.name] = value
    return out


def pack_address(linear: int, banks: int) -> int:
    """(row, bank) code of a linear address or of a (possibly negative) offset."""
    row, bank = divmod(linear, banks)
    if not -(1 << (ROW_BITS - 1)) <= row < (1 << (ROW_BITS - 1)):
        raise ValueError(f"address {linear} does not fit {ROW_BITS} row bits")
    return bank | (row & ((1 << ROW_BITS) - 1)) << BANK_BITS


def unpack_address(code: int, banks: int) -> int:
    """Linear value of a (row, bank) code (row read as signed)."""
    bank = code & ((1 << BANK_BITS) - 1)
    row = code >> BANK_BITS
    if row >> (ROW_BITS - 1):
        row -= 1 << ROW_BITS
    return row * banks + bank


@dataclass(frozen=True)
class Instruction:
    """One instruction: header fields by name, and its tables of field dictionaries.

    Tables: CONV and POOL: blocks, taps. VECTOR: sources, y and x (both empty when direct; an even
    number of entries).
    """

    op: Op
    fields: dict[str, int]
    blocks: tuple[dict[str, int], ...] = ()
    taps: tuple[dict[str, int], ...] = ()
    sources: tuple[dict[str, int], ...] = ()
    y: tuple[dict[str, int], ...] = ()
    x: tuple[dict[str, int], ...] = ()
    layer: str = ""  # for reports only, not encoded

    @property
    def words(self) -> int:
        """Length of the encoding."""
        records = ((self.blocks, BLOCK), (self.taps, TAP), (self.sources, SOURCE))
        tables = sum(len(record) * words_of(layout) for record, layout in records)
        return words_of(LAYOUTS[self.op]) + tables + (len(self.y) + len(self.x)) // 2

    def encode(self) -> list[int]:
        words = encode_fields(LAYOUTS[self.op], {**self.fields, "op": int(self.op)})
        for record, layout in ((self.blocks, BLOCK), (self.taps, TAP), (self.sources, SOURCE)):
            for values in record:
                words += encode_fields(layout, values)
        for table in (self.y, self.x):
            codes = [encode_fields(ENTRY, values)[0] for values in table]
            words += [codes[i] | codes[i + 1] << ENTRY_BITS for i in range(0, len(codes), 2)]
        return words


def decode_program(words: Sequence[int]) -> Iterator[Instruction]:
    """Instructions up to and including END; ValueError on an unknown opcode or truncation.

    The sequence may grow meanwhile: who executes a PAGE appends its words.
    """
    at = 0

    def take(layout: Sequence[Field], count: int) -> tuple[dict[str, int], ...]:
        nonlocal at
        size = words_of(layout)
        if at + size * count > len(words):
            raise ValueError(f"program truncated at word {at}")
        out = tuple(
            decode_fields(layout, words[at + i * size : at + (i + 1) * size]) for i in range(count)
        )
        at += size * count
        return out

    def entries(size: int) -> tuple[dict[str, int], ...]:
        nonlocal at
        if at + size > len(words):
            raise ValueError(f"program truncated at word {at}")
        mask = (1 << ENTRY_BITS) - 1
        codes = [c for w in words[at : at + size] for c in (w & mask, w >> ENTRY_BITS)]
        at += size
        return tuple(decode_fields(ENTRY, [c]) for c in codes)

    while True:
        if at >= len(words):
            raise ValueError("program has no END")
        code = words[at] & 15
        if code not in Op.__members__.values():
            raise ValueError(f"unknown opcode {code} at word {at}")
        op = Op(code)
        (fields,) = take(LAYOUTS[op], 1)
        del fields["op"]
        if op in (Op.CONV, Op.POOL):
            blocks = take(BLOCK, fields["n_blocks"])
            yield Instruction(op, fields, blocks=blocks, taps=take(TAP, fields["n_taps"]))
        elif op == Op.VECTOR:
            sources = take(SOURCE, fields["n_sources"])
            y = x = ()
            if not fields["direct"]:
                y, x = entries(fields["y_words"]), entries(fields["x_words"])
            yield Instruction(op, fields, sources=sources, y=y, x=x)
        else:
            yield Instruction(op, fields)
        if op == Op.END:
            return


# --- identity -------------------------------------------------------------------------------


def _example(op: Op) -> list[int]:
    """Words of an instruction with two records in each table; most fields differ."""

    def numbered(layout: Sequence[Field], start: int) -> dict[str, int]:
        return {f.name: (start + i) % (1 << (f.bits - f.signed)) for i, f in enumerate(layout)}

    tables: dict[str, tuple[Field, ...]] = {}
    if op in (Op.CONV, Op.POOL):
        tables = {"blocks": BLOCK, "taps": TAP}
    elif op == Op.VECTOR:
        tables = {"sources": SOURCE, "y": ENTRY, "x": ENTRY}
    records = {
        name: (numbered(layout, 16 * n), numbered(layout, 16 * n + 8))
        for n, (name, layout) in enumerate(tables.items(), 1)
    }
    return Instruction(op, numbered(LAYOUTS[op], 1), **records).encode()


def describe() -> dict:
    """All that programs and their readers must agree on, JSON-able: codes, fields and limits of the
    tables, and examples of what is code."""
    records = {"BLOCK": BLOCK, "TAP": TAP, "SOURCE": SOURCE, "ENTRY": ENTRY}
    layouts = {op.name: layout for op, layout in LAYOUTS.items()} | records
    return {
        "widths": {"word": WORD_BITS, "bank": BANK_BITS, "row": ROW_BITS, "entry": ENTRY_BITS},
        "limits": {
            "blocks": MAX_BLOCKS,
            "taps": MAX_TAPS,
            "sources": MAX_SOURCES,
            "table": MAX_TABLE,
            "skip": MAX_SKIP,
            "header_words": HEADER_WORDS,
        },
        "codes": {e.__name__: {i.name: int(i) for i in e} for e in (Op, Region, VectorOp)},
        "layouts": {name: [asdict(f) for f in layout] for name, layout in layouts.items()},
        "instructions": {op.name: [f"{word:016x}" for word in _example(op)] for op in Op},
        "addresses": [pack_address(linear, 24) for linear in (1, 23, 24, 1000, -1, -25)],
    }
