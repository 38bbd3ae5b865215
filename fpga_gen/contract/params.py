"""Everything about the engine that is fixed when the Verilog is generated.

One frozen object feeds the schedule, the cycle model, the program interpreter and the hardware.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields
from functools import cached_property

from fpga_gen.contract.address import BANK_BITS, ROW_BITS
from fpga_gen.contract.column_kinds import DSP_KIND, KINDS, ColumnKind, KindColumns
from fpga_gen.contract.fields import WORD_BITS
from fpga_gen.contract.isa import MAX_SKIP, limit
from fpga_gen.contract.latencies import EXIT_LATENCY, LOOKUP_LATENCY
from fpga_gen.contract.numerics import SP2_CODES, Sp2Code
from fpga_gen.contract.parameter_record import PARAM_BITS
from fpga_gen.errors import ScheduleError
from fpga_gen_host.regions import BEAT_BYTES

GRANULE = 32  # bits: alignment of a weight slot in the weight stream
FAMILIES = ("xcup", "xc7")  # as Yosys names them
PORT_BITS = 8 * BEAT_BYTES  # width of one AXI master
BLOCK_BITS = 36 * 1024  # of a block RAM
MAX_BURST = 64  # beats
WRITE_BUFFER = 512  # beats in the write port: a burst is announced when its last beat is there
WRITE_ROOM = 48  # beats that the store unit may have on their way when the port says stop
SAFE_STEPS = 3  # exit steps of a drain that the sums of a tile just begun cannot overtake
STORE_BYTES = 256  # most bytes that the store unit reads in one access
# Beyond any board: bounds of what a file may ask for.
MAX_PIXELS, MAX_COLUMNS, MAX_MODE, MAX_DEPTH = 128, 127, limit("mode") + 1, 1 << 20
CHANNEL_BITS = MAX_COLUMNS.bit_length()  # of the number of channels of an output group
PARAM_ENTRIES = 4  # parameter memory; one entry stays unused so that it is never overtaken


def block_width(rows: int) -> int:
    """Bits of a RAMB36 that is so many rows deep, as simple dual-port memory (UG573)."""
    if rows <= 512:
        return 72
    return max(w for w in (36, 18, 9, 4, 2, 1) if rows <= BLOCK_BITS // w or w == 1)


@dataclass(frozen=True)
class EngineParams:
    """Shape of the engine.

    pixels: P, pixel lanes of one column group; in_channels: CI, channels of a memory word and
    inputs of a MAC column; dsp_columns, sp2_columns: output columns, a field for each kind
    (column_kinds.KINDS); modes: m for which the array can run as (m*P pixels) x (CO/m channels);
    tile_groups: T, pixel groups whose partial sums are kept; bank_rows: depth of a feature-map
    bank; ports: AXI read masters; weight_words: depth of the weight buffer in stream words;
    program_words: 64-bit words of program memory, a power of two (a longer program comes in
    pages); family: device family, "xcup" (UltraScale+: DSP48E2, UltraRAM) or "xc7"; bram_banks:
    feature-map banks made of block RAM although the family has UltraRAM; double_clock: the slices
    of the DSP columns run at twice the engine's clock, four columns in those of two;
    activations: the exit path has tables, the vector unit reads one pixel for all; exit_pixels:
    neighbouring pixel lanes whose results leave in one exit step, each through requantisation lanes
    of its own, 1 or 2.
    """

    pixels: int = 8
    in_channels: int = 16
    dsp_columns: int = 24
    sp2_columns: int = 18
    modes: tuple[int, ...] = (1, 2, 3)
    tile_groups: int = 32
    bank_rows: int = 8192
    ports: int = 4
    weight_words: int = 4096
    program_words: int = 8192
    sp2_code: str = "two-term-6"
    family: str = "xcup"
    bram_banks: int = 0
    double_clock: bool = False
    activations: bool = False
    exit_pixels: int = 1

    def __post_init__(self) -> None:
        def need(ok: bool, rule: str) -> None:
            if not ok:
                raise ScheduleError(f"engine parameters: {rule}")

        need(1 <= self.pixels <= MAX_PIXELS, f"pixels must be 1 to {MAX_PIXELS}")
        need(
            self.in_channels >= 4
            and self.in_channels & (self.in_channels - 1) == 0
            and self.in_channels <= 16,
            "in_channels must be 4, 8 or 16",
        )
        need(
            self.columns > 0 and min(kind.count(self) for kind in KINDS) >= 0,
            "at least one MAC column is needed",
        )
        need(self.columns <= MAX_COLUMNS, f"at most {MAX_COLUMNS} MAC columns are possible")
        need(
            self.modes[:1] == (1,) and tuple(sorted(set(self.modes))) == self.modes,
            "modes must be ascending and start with 1",
        )
        need(self.modes[-1] <= MAX_MODE, f"modes must be at most {MAX_MODE}")
        need(
            self.lanes <= 1 << BANK_BITS,
            f"pixels times the largest mode must be at most {1 << BANK_BITS}, a bank for each",
        )
        for depth in ("weight_words", "program_words"):
            words = getattr(self, depth)
            need(1 <= words <= MAX_DEPTH, f"{depth} must be 1 to {MAX_DEPTH}")
        for kind in KINDS:
            step, block = kind.step(self), kind.block(self)
            why = f" (blocks of {block} in every subgroup)" if block > 1 else ""
            need(kind.count(self) % step == 0, f"{kind.field} must be a multiple of {step}{why}")
        need(
            not self.double_clock or (DSP_KIND.count(self) > 0 and self.family == "xcup"),
            "double_clock needs DSP columns and a family with DSP48E2 (xcup)",
        )
        need(
            self.tile_groups & (self.tile_groups - 1) == 0 and 16 <= self.tile_groups <= 64,
            "tile_groups must be 16, 32 or 64",
        )
        need(
            1 <= self.bank_rows <= 1 << (ROW_BITS - 1),
            f"bank_rows must be at most {1 << (ROW_BITS - 1)}: rows of an address are signed",
        )
        need(self.ports in (1, 2, 4), "ports must be 1, 2 or 4")
        need(
            self.program_words & (self.program_words - 1) == 0 and self.program_words >= 64,
            "program_words must be a power of two, at least 64",
        )
        need(self.stream_bits % self.word_bits == 0, "a stream word must hold whole memory words")
        need(self.sp2_code in SP2_CODES, f"sp2_code must be one of {sorted(SP2_CODES)}")
        need(0 <= self.bram_banks <= self.banks, "bram_banks must be at most the number of banks")
        need(self.family in FAMILIES, f"family must be one of {', '.join(FAMILIES)}")
        need(self.exit_pixels in (1, 2), "exit_pixels must be 1 or 2")
        need(
            self.pixels % self.exit_pixels == 0,
            "two exit pixels need an even number of pixel lanes",
        )
        need(self.skew > 0, "no plane skew avoids write conflicts for this shape")

    def __getstate__(self) -> dict:
        """The fields: what is computed from them need not fit a pickle."""
        return {f.name: getattr(self, f.name) for f in fields(self)}

    # --- array -----------------------------------------------------------------------------
    @property
    def kinds(self) -> tuple[ColumnKind, ...]:
        """The kinds of columns that the array has."""
        return tuple(kind for kind in KINDS if kind.count(self))

    @cached_property
    def columns(self) -> int:
        """CO, all output columns."""
        return sum(kind.count(self) for kind in KINDS)

    @property
    def figures(self) -> tuple[int, ...]:
        """Pixels, inputs and columns of each kind, as the option --array takes them."""
        return (self.pixels, self.in_channels, *(kind.count(self) for kind in KINDS))

    @property
    def figures_text(self) -> str:
        return ",".join(map(str, self.figures))

    @property
    def macs_per_cycle(self) -> int:
        return self.pixels * self.in_channels * self.columns

    @property
    def sp2(self) -> Sp2Code:
        return SP2_CODES[self.sp2_code]

    @cached_property
    def subgroups(self) -> int:
        """Number of column subgroups: the unit that is moved between pixel groups."""
        return math.lcm(*self.modes)

    @property
    def slot_minimum(self) -> int:
        """Shortest weight slot in cycles."""
        return max(8, *(kind.hold(self) for kind in self.kinds))

    @property
    def switch_lead(self) -> int:
        """Cycles by which the switch to new weights comes before the DSP columns' activations."""
        return 1 if self.double_clock else 0

    @cached_property
    def sub_kinds(self) -> tuple[KindColumns, ...]:
        """The columns of one subgroup, kind by kind, and the bits of their weights for one input,
        which lie in the same order, lowest first."""
        found: list[KindColumns] = []
        column = bit = 0
        for kind in self.kinds:
            code, count = kind.code(self.sp2), kind.sub_count(self)
            columns = slice(column, column + count)
            found.append(KindColumns(kind, code, columns, slice(bit, bit + count * code.bits)))
            column, bit = columns.stop, found[-1].bits.stop
        return tuple(found)

    @property
    def sub_columns(self) -> int:
        return self.columns // self.subgroups

    def column_kind(self, position: int, period: int = 0) -> int:
        """Kind of the column that computes output channel `position` of a layer (any mode) whose
        columns begin anew every `period` channels (0: never)."""
        column = (position % period if period else position) % self.sub_columns
        for kind in KINDS[:-1]:
            column -= kind.sub_count(self)
            if column < 0:
                return kind.number
        return KINDS[-1].number

    def group_channels(self, mode: int) -> int:
        """Output channels per column group in a mode."""
        return self.columns // mode

    @property
    def row_lanes(self) -> int:
        """Requantisation lanes for one exit pixel: one for each column, and for each channel of the
        vector unit's word."""
        return max(self.columns, self.in_channels)

    @property
    def requant_lanes(self) -> int:
        """Of all exit pixels, one row of lanes behind the other."""
        return self.exit_pixels * self.row_lanes

    @property
    def lookup_latency(self) -> int:
        """Cycles of the exit path's tables."""
        return LOOKUP_LATENCY if self.activations else 0

    @property
    def exit_latency(self) -> int:
        """Cycles from a step of a drain to its write step."""
        return EXIT_LATENCY + self.lookup_latency

    @property
    def max_mode(self) -> int:
        return self.modes[-1]

    @property
    def lanes(self) -> int:
        """Largest number of pixels read per cycle."""
        return self.pixels * self.max_mode

    @property
    def vector_pixels(self) -> int:
        """Pixels per step of the vector unit: its results share the requantisation columns."""
        both = self.requant_lanes >= 2 * self.in_channels
        return 2 if both and self.lanes >= 2 else 1

    @property
    def vector_words(self) -> int:
        """Neighbouring words that the vector unit reads: all columns of both pixels of a step are
        among them."""
        most = (MAX_SKIP if self.vector_pixels == 2 else 0) + self.vector_taps
        return min(most, self.lanes)

    @property
    def vector_taps(self) -> int:
        """Neighbouring columns of an output pixel that the vector unit takes from one read."""
        return 2 if self.lanes > 2 else 1

    @property
    def pool_pixels(self) -> int:
        """Pixels of a max-pool tile that leave in one exit step."""
        if self.exit_pixels == 2:
            return 2
        return 2 if self.pixels % 2 == 0 and self.write_words(1) >= 2 else 1

    # --- weights ---------------------------------------------------------------------------
    @property
    def sub_weight_bits(self) -> int:
        """Bits of one subgroup's weights for CI inputs."""
        return self.in_channels * self.sub_kinds[-1].bits.stop

    def slot_granules(self, mode: int) -> int:
        """Granules of one weight slot (CI inputs x CO/mode columns)."""
        return -(-self.sub_weight_bits * (self.subgroups // mode) // GRANULE)

    def param_granules(self, mode: int) -> int:
        return self.some_param_granules(self.subgroups // mode)

    def some_param_granules(self, subgroups: int) -> int:
        """Granules of the parameters of so many column subgroups."""
        return -(-subgroups * self.sub_columns * PARAM_BITS // GRANULE)

    @property
    def stream_bits(self) -> int:
        return self.ports * PORT_BITS

    @property
    def stream_granules(self) -> int:
        return self.stream_bits // GRANULE

    @property
    def program_parts(self) -> int:
        """Program words in one stream word."""
        return self.stream_bits // WORD_BITS

    # --- feature-map memory ----------------------------------------------------------------
    @property
    def banks(self) -> int:
        return self.lanes

    @property
    def word_bits(self) -> int:
        return 8 * self.in_channels

    @property
    def beat_words(self) -> int:
        """Memory words in one beat of a port."""
        return PORT_BITS // self.word_bits

    @property
    def words(self) -> int:
        """Capacity of the feature-map memory in words."""
        return self.banks * self.bank_rows

    @property
    def load_words(self) -> int:
        """Memory words in one stream word."""
        return self.stream_bits // self.word_bits

    def load_offsets(self, stride: int) -> list[int]:
        """Offsets of the memory words of one stream word of a LOAD, from the first one's address;
        stride: of the LOAD."""
        beat = self.beat_words
        return [k * (stride + beat - 1) + j for k in range(self.ports) for j in range(beat)]

    def load_stride(self, stream_words: int) -> int:
        """`stride` of a LOAD that puts so many stream words in one run."""
        return (stream_words - 1) * self.beat_words + 1

    def load_part(self, words: int) -> int:
        """Stream words of a LOAD of a run of at least `words` memory words without bank conflicts.
        Parts of single words lie like planes."""
        part = -(-words // self.load_words)
        if self.beat_words == 1:
            return self.plane_words(part)
        while not self.load_fits(self.load_stride(part)):
            part += 1
        return part

    def load_fits(self, stride: int) -> bool:
        """Whether the memory words of a stream word of a LOAD with this stride lie in banks that
        their write slots serve, each in its own."""
        offsets = self.load_offsets(stride)
        if self.exit_pixels == 2:
            rows = [self.load_slot(word) // self.row_slots for word in range(self.load_words)]
            if any((offset - row) % 2 for offset, row in zip(offsets, rows, strict=True)):
                return False
        return self.distinct_banks(offsets)

    def distinct_banks(self, offsets: list[int]) -> bool:
        """Words so far apart can be written in one cycle."""
        return len({offset % self.banks for offset in offsets}) == len(offsets)

    @property
    def store_words(self) -> int:
        """Consecutive memory words that the store unit reads in one access, a power of two: whole
        beats, because the memory has a bank for every word of a stream word."""
        most = min(self.lanes, STORE_BYTES // self.in_channels)
        return 1 << most.bit_length() - 1

    def write_words(self, mode: int) -> int:
        """Words that CO/mode channels of one pixel can touch (any byte offset)."""
        return -(-(self.in_channels - 1 + self.group_channels(mode)) // self.in_channels)

    @property
    def max_write_words(self) -> int:
        return max(self.write_words(1), self.load_words)

    @property
    def row_slots(self) -> int:
        """Words one exit step can write for one exit pixel: one lane of every pixel group of a
        mode, times the words that each may touch."""
        return max([m * self.write_words(m) for m in self.modes] + [self.load_words])

    @property
    def write_slots(self) -> int:
        """Words one exit step can write: those of the first exit pixel, then of the second."""
        return self.exit_pixels * self.row_slots

    def load_slot(self, word: int) -> int:
        """Write slot of a memory word of a stream word of a LOAD. With two exit pixels, all words
        of a row of slots lie an even number of words apart: the words of a beat take turns."""
        if self.exit_pixels == 1 or self.beat_words == 1:
            return word
        return word % 2 * self.row_slots + word // 2

    @cached_property
    def skew(self) -> int:
        """Plane stride modulo banks that makes every write step free of bank conflicts; 0: none.
        With two exit pixels it is even: the words of each lie in banks of one parity."""
        for skew in range(self.exit_pixels, self.banks + 1, self.exit_pixels):
            steps = [
                [
                    pixel + g * self.pixels + j * skew
                    for pixel in range(self.exit_pixels)
                    for g in range(m)
                    for j in range(self.write_words(m))
                ]
                for m in self.modes
            ]
            steps.append([j * skew for j in range(self.load_words)])
            if all(len({s % self.banks for s in step}) == len(step) for step in steps):
                return skew
        return 0

    def plane_words(self, pixels: int) -> int:
        """Words from one channel block of a map to the next: >= pixels, = skew mod banks."""
        return pixels + (self.skew - pixels) % self.banks

    def to_dict(self) -> dict:
        return {**asdict(self), "modes": list(self.modes)}

    @staticmethod
    def from_dict(data: dict) -> EngineParams:
        return EngineParams(**{**data, "modes": tuple(data["modes"])})
