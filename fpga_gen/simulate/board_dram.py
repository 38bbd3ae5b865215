"""The DRAM model set to a board's memory, as an engine at its clock sees it."""

from __future__ import annotations

from fpga_gen.schedule.cycles.timing import SUSTAINED
from fpga_gen.simulate.dram import DEFAULT, DramConfig
from fpga_gen.simulate.runner import Frame

REFRESH_US, REFRESH_LENGTH_US = 7.8, 0.35  # DDR4: interval and duration of a refresh
LATENCY_NS = 200  # of a read through HP port, interconnect and controller
MAX_BYTES_PER_CYCLE = 256


def dram_config(clock_mhz: float, frame: Frame, rate: float = SUSTAINED) -> DramConfig:
    """DDR4-2400 (19.2 GB/s) as an engine at `clock_mhz` sees it, held to the `rate` in bytes per
    cycle that the board's memory and ports sustain."""
    size = sum(len(part) for part in (frame.program, frame.weights, frame.input))
    size += frame.output_bytes
    return board_dram(clock_mhz, max(16 << 20, -(-2 * size // 4096) * 4096), rate=rate)


def board_dram(
    clock_mhz: float, size: int, base: int = DEFAULT.base, rate: float = SUSTAINED
) -> DramConfig:
    """`size` bytes of it from bus address `base`."""
    peak = min(MAX_BYTES_PER_CYCLE, int(19_200 / clock_mhz))
    return DramConfig(
        base=base,
        size=size,
        bytes_per_cycle=peak,
        sustained=min(DramConfig.sustained, rate / peak),
        refresh_interval=round(REFRESH_US * clock_mhz),
        refresh_length=round(REFRESH_LENGTH_US * clock_mhz),
        read_latency=max(2, round(LATENCY_NS * clock_mhz / 1000)),
        write_latency=max(2, round(LATENCY_NS * clock_mhz / 3000)),
    )
