"""Estimate of the logic an engine takes, and the check that it fits the board.

The coefficients come from mapping single blocks with Yosys (Zynq UltraScale+ family); they are
estimates, not results of place-and-route.
"""

from __future__ import annotations

from fpga_gen.boards import Board, Resources
from fpga_gen.errors import ScheduleError
from fpga_gen.hardware.params import EngineParams

SP2_LUTS = {"two-term-6": 47, "two-term-6s": 43, "sp2-4": 34}  # per MAC, adder tree included
DSP_LUTS = 4  # per MAC: splitting the packed products and joining the cascades
PARTIAL_LUTS = 72  # per accumulator: 32 bit, up to 32 entries of distributed RAM, adder
BANK_LUTS = 6  # per bit of a bank word: rotation and lane selection
EXIT_LUTS = 7_000  # requantisation, activation, write-back
CONTROL_LUTS = 10_000  # DMA, decoder, registers
REQUANT_DSPS = 2  # per column: 32 x 16 bit multiplier of its requantisation lane
VECTOR_DSPS = 5  # per input channel: multipliers of the vector unit, rounded up
MAX_LUT_SHARE = 0.90  # above this, placement is not expected to succeed at the target clock
FF_PER_LUT = 1.2  # register stages wherever fan-out is large
URAM_ROWS, URAM_BITS = 4096, 72
BRAM_ROWS, BRAM_BITS = 512, 72
BANK_BRAM_ROWS, BANK_BRAM_BITS = 1024, 32  # with byte enables the parity bits stay unused


def estimate_resources(params: EngineParams, macs_per_dsp: int = 2) -> Resources:
    """Primitives of the generated engine (estimated). macs_per_dsp: see `Board`."""
    lanes = params.pixels * params.in_channels
    accumulators = params.pixels * params.columns
    deep = max(1, params.tile_groups // 32)
    luts = (
        SP2_LUTS[params.sp2_code] * lanes * params.sp2_columns
        + DSP_LUTS * lanes * params.dsp_columns
        + PARTIAL_LUTS * deep * accumulators
        + BANK_LUTS * params.word_bits * params.banks
        + EXIT_LUTS
        + CONTROL_LUTS
    )
    in_uram = params.bank_memory == "ultra"
    uram = -(-params.word_bits // URAM_BITS) * -(-params.bank_rows // URAM_ROWS)
    bram = -(-params.word_bits // BANK_BRAM_BITS) * -(-params.bank_rows // BANK_BRAM_ROWS)
    weights = -(-params.stream_bits // BRAM_BITS) * -(-params.weight_words // BRAM_ROWS)
    program = -(-64 // BRAM_BITS) * -(-params.program_words // BRAM_ROWS)
    return Resources(
        luts=luts,
        flip_flops=int(FF_PER_LUT * luts),
        dsps=lanes * params.dsp_columns // macs_per_dsp
        + REQUANT_DSPS * params.columns
        + VECTOR_DSPS * params.in_channels,
        bram36=weights + program + (0 if in_uram else params.banks * bram),
        uram=params.banks * uram if in_uram else 0,
    )


def check_fit(board: Board, params: EngineParams) -> None:
    """ScheduleError with every resource that the array would exceed, and what to change."""
    need, have = estimate_resources(params, board.macs_per_dsp), board.resources
    rows = (
        ("LUTs", need.luts, int(MAX_LUT_SHARE * have.luts), "fewer SP2 columns"),
        ("flip-flops", need.flip_flops, have.flip_flops, "fewer columns"),
        ("DSPs", need.dsps, have.dsps, "fewer DSP columns"),
        ("BRAM36", need.bram36, have.bram36, "fewer pixels or a smaller weight buffer"),
        ("URAM", need.uram, have.uram, "fewer pixels"),
        ("HP ports", params.ports, board.hp_ports, "fewer ports"),
    )
    over = [
        f"{name} {wanted:,} of {limit:,} usable ({remedy})"
        for name, wanted, limit, remedy in rows
        if wanted > limit
    ]
    if over:
        raise ScheduleError(
            f"the array {params.pixels},{params.in_channels},{params.dsp_columns},"
            f"{params.sp2_columns} does not fit {board.name} (estimated): {'; '.join(over)}"
        )
