"""Records of the tables that follow the headers of instructions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from fpga_gen.contract.address import address
from fpga_gen.contract.fields import Record, bits, signed


@dataclass(frozen=True)
class BlockRecord(Record):
    """One pass of a CONV or POOL over a plane."""

    address: int = address("of the plane's first pixel, for the walk's first pixel")
    tap_start: int = bits(8, "first of its taps in the table")
    tap_count: int = bits(8, "how many taps, at least 1")
    pad: int = bits(1, "byte of a pixel outside the map: 0, or -128 if 1")
    shift: int = bits(1, "low bytes: behind another plane, all partial sums are shifted left by 8")


@dataclass(frozen=True)
class TapRecord(Record):
    """One weight slot: a tap of the kernel."""

    address: int = address("from the block's address")
    dy: int = signed(12, "rows from the output pixel's input coordinate")
    dx: int = signed(12, "columns from it")


@dataclass(frozen=True)
class SlotEntry(Record):
    """One weight slot of an output-channel group that skips others."""

    PER_WORD: ClassVar[int] = 4

    block: int = bits(7, "its record in the block table")
    tap: int = bits(8, "its record in the tap table")
    final: int = bits(1, "the group's last slot")


@dataclass(frozen=True)
class GroupHead(Record):
    """What the weight stream says of an output-channel group that skips slots, in front of its
    parameters; for any other group the header says it."""

    slots: int = bits(14, "weight slots of the group and a tile")
    half_from: int = bits(14, "first slot that carries the low half of the inputs alone")
    high_from: int = bits(14, "first slot that carries the high half alone")
    repeats: int = bits(12, "last slots, whose weights are those of as many before them")

    @property
    def stream_slots(self) -> int:
        """Slots that the stream carries."""
        return self.slots - self.repeats


@dataclass(frozen=True)
class SourceRecord(Record):
    """A map that a VECTOR reads."""

    base: int = address("of its first plane")
    plane: int = address("from one plane to the next")
    low: int = address("from the planes of high bytes to those of low bytes")
    wide: int = bits(1, "values of 16 bits: 256 * high + low + 128")
    zero: int = bits(1, "values are stored minus 128 (8 bits only)")
    factor: int = signed(16, "weight of the source in a direct LINEAR", word=True)
    still: int = bits(1, "every output pixel of a `direct` VECTOR reads the plane's first word")


@dataclass(frozen=True)
class AxisEntry(Record):
    """One tap of an output row of a resampling."""

    PER_WORD: ClassVar[int] = 2

    address: int = address("words to the input row")
    weight: int = bits(8, "of the tap")


@dataclass(frozen=True)
class ColumnEntry(Record):
    """One read of a resampling's step: two neighbouring input columns for each of its pixels. The
    weight of a column that is not there is 0."""

    address: int = address("words to the first pixel's left column")
    skip: int = bits(2, "words from there to the second pixel's left column")
    left: int = bits(8, "weight of the first pixel's left column")
    right: int = bits(8, "weight of its right column")
    second_left: int = bits(8, "weight of the second pixel's left column")
    second_right: int = bits(8, "weight of its right column")


@dataclass(frozen=True)
class LookupEntry(Record):
    """One entry of a TABLE."""

    PER_WORD: ClassVar[int] = 8

    stored: int = signed(8, "stored byte of the result")
