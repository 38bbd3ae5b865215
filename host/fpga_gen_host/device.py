"""What the driver needs from a board. `PynqDevice` is the one for PYNQ; tests bring their own."""

from __future__ import annotations

from typing import Protocol

import numpy as np


class Buffer(Protocol):
    """Physically contiguous memory that the accelerator can reach.

    device_address: bus address, 16-byte aligned; array: writable uint8 view, shape (bytes,).
    """

    @property
    def device_address(self) -> int: ...

    @property
    def array(self) -> np.ndarray: ...

    def flush(self) -> None:
        """Makes what the processor wrote visible to the accelerator."""

    def invalidate(self) -> None:
        """Makes what the accelerator wrote visible to the processor."""

    def free(self) -> None:
        """Gives the memory back; a second call does nothing."""


class Device(Protocol):
    """Registers, memory and the interrupt of one accelerator."""

    def allocate(self, nbytes: int) -> Buffer:
        """A buffer of at least `nbytes`; DeviceError if there is no memory."""
        ...

    def read(self, offset: int) -> int:
        """32-bit register at a byte offset."""
        ...

    def write(self, offset: int, value: int) -> None:
        """Writes a 32-bit register."""

    def wait(self, seconds: float) -> None:
        """Returns at the interrupt, or earlier; at the latest after `seconds`."""

    def close(self) -> None:
        """Gives everything back except buffers, which their owner frees."""
