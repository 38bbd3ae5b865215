"""Engines whose memory is too small for the example graphs, so that maps leave the chip."""

from __future__ import annotations

from dataclasses import replace

from fpga_gen.contract.params import EngineParams
from fpga_gen.schedule.program import Schedule
from tests.engines import SMALL
from tests.schedule.builder import THREE_MODES

EIGHT = replace(THREE_MODES, bank_rows=44)  # two memory words in a beat
SIXTEEN = EngineParams(
    pixels=2,
    in_channels=16,
    dsp_columns=8,
    sp2_columns=8,
    modes=(1, 2),
    tile_groups=16,
    bank_rows=48,
    ports=2,
    weight_words=512,
    program_words=512,
)
FOUR = replace(SMALL, bank_rows=128)  # four memory words in a beat
ENGINES = {"four": FOUR, "eight": EIGHT, "sixteen": SIXTEEN}


def loads(schedule: Schedule) -> int:
    """LOADs of maps: a network that fits has one, of its input."""
    return sum(i.op.name == "LOAD" for i in schedule.instructions)


NETWORKS: dict[str, tuple[str | int, ...]] = {
    "four": ("pool", "elementwise", 4, 6, 9),
    "eight": ("dilation", "elementwise", "resample", "depthwise", "block", 1, 4, 6),
    "sixteen": ("wide", "pool", "elementwise", "resample", "depthwise", "block", 4, 9),
}
