"""Engines for tests: what a whole one does, on an array that simulates in moments."""

from __future__ import annotations

from dataclasses import replace

from fpga_gen.contract.params import EngineParams

SMALL = EngineParams(
    pixels=2,
    in_channels=4,
    dsp_columns=4,
    sp2_columns=4,
    modes=(1, 2),
    tile_groups=16,
    bank_rows=2048,
    ports=1,
    weight_words=512,
    program_words=2048,
)
TABLES = replace(SMALL, activations=True)
PAIRS = replace(SMALL, pixels=4, exit_pixels=2)
