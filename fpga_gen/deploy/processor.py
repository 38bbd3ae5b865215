"""The Zynq UltraScale+ processor around the accelerator on the virtual board: addresses, clocks.

Sources: UG1085 (HP ports), UG1087 (registers).
"""

from __future__ import annotations

from dataclasses import dataclass

from fpga_gen.boards import Board
from fpga_gen.errors import BoardError
from fpga_gen_host.identity import control_base, interrupt_base

PROCESSOR = "zynq_ultra_ps_e"
CONTROL_BASE, INTERRUPT_BASE = control_base(PROCESSOR), interrupt_base(PROCESSOR)
DDR_LOW = 0x8000_0000  # bytes of DDR below 2 GiB, all that an HP port reaches there

REFERENCE_MHZ = 33.333  # PS_REF_CLK of the boards
IOPLL_MULTIPLIER, IOPLL_HALVES = 90, 1  # IOPLL_CTRL.FBDIV, DIV2: 1499.985 MHz
MAX_DIVISOR = 63  # of PL0_REF_CTRL.DIVISOR0 and DIVISOR1, 6 bits each


@dataclass(frozen=True)
class PlClock:
    """PL clock 0: IOPLL / (divisor0 * divisor1)."""

    divisor0: int
    divisor1: int

    @property
    def mhz(self) -> float:
        return iopll_mhz() / (self.divisor0 * self.divisor1)


def iopll_mhz() -> float:
    """Frequency of the IOPLL."""
    return REFERENCE_MHZ * IOPLL_MULTIPLIER / (1 + IOPLL_HALVES)


def pl_clock(clock_mhz: float) -> PlClock:
    """The divisors whose clock is nearest to `clock_mhz`; BoardError more than 1 % off."""
    options = [PlClock(a, b) for a in range(1, MAX_DIVISOR + 1) for b in range(1, MAX_DIVISOR + 1)]
    best = min(options, key=lambda c: (abs(c.mhz - clock_mhz), c.divisor1))
    if abs(best.mhz - clock_mhz) > 0.01 * clock_mhz:
        raise BoardError(
            f"{clock_mhz:g} MHz is no integer fraction of the IOPLL's {iopll_mhz():g} MHz "
            f"(nearest {best.mhz:g}): build with another --clock-mhz"
        )
    return best


def need_ultrascale(board: Board) -> None:
    """BoardError for a processor that pynq 4.0 does not drive."""
    if board.vivado.processor != PROCESSOR:
        raise BoardError(
            f"{board.name} has a Zynq-7000 processor, which pynq 4.0 no longer drives: build for "
            "zcu104 to use the virtual board"
        )
