"""The AXI interrupt controller (PG099) of the virtual board, with its one input."""

from __future__ import annotations

import threading
from collections.abc import Callable

ISR, IPR, IER, IAR, SIE, CIE, IVR, MER = range(0x00, 0x20, 4)  # byte offsets, PG099
NONE = 0xFFFFFFFF  # IVR without a pending interrupt
MASTER_ENABLE, HARDWARE_ENABLE = 1, 2  # bits of MER


class InterruptController:
    """Registers of the controller; safe for several threads.

    level: reads the accelerator's interrupt pin, which is level-sensitive.
    """

    def __init__(self, level: Callable[[], bool]) -> None:
        self._level = level
        self._status = self._enabled = self._master = 0
        self._lock = threading.Lock()

    def reset(self) -> None:
        """As after loading a bitstream."""
        with self._lock:
            self._status = self._enabled = self._master = 0

    def read(self, offset: int) -> int:
        """A 32-bit register; an unused offset reads 0."""
        high = self._level()
        with self._lock:
            if high and self._master & HARDWARE_ENABLE:
                self._status |= 1
            pending = self._status & self._enabled
            values = {
                ISR: self._status, IPR: pending, IER: self._enabled, MER: self._master,
                IVR: 0 if pending else NONE,
            }  # fmt: skip
            return values.get(offset, 0)

    def write(self, offset: int, value: int) -> None:
        """Writes a register; an unused offset ignores it."""
        with self._lock:
            if offset == IER:
                self._enabled = value & 1
            elif offset == SIE:
                self._enabled |= value & 1
            elif offset == CIE:
                self._enabled &= ~value
            elif offset == IAR:
                self._status &= ~value
            elif offset == MER:
                self._master |= value & (MASTER_ENABLE | HARDWARE_ENABLE)
                if not value & MASTER_ENABLE:
                    self._master &= ~MASTER_ENABLE
