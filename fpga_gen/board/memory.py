"""Contiguous memory of the virtual board: named buffers in the simulated DRAM."""

from __future__ import annotations

import threading
from dataclasses import dataclass

import numpy as np

from fpga_gen.errors import BoardError

ALIGNMENT = 4096  # bytes; of every buffer, as Linux's contiguous memory allocator gives
MAX_BUFFERS = 4096


@dataclass(frozen=True, eq=False)
class BoardBuffer:
    """A buffer of one client. address: bus address; array: uint8 view of the DRAM, (bytes,)."""

    name: str
    owner: str
    address: int
    array: np.ndarray


class BoardMemory:
    """First-fit allocator over the simulated DRAM; safe for several threads.

    Args:
        base: bus address of the first byte.
        array: the DRAM, uint8 (bytes,).
    """

    def __init__(self, base: int, array: np.ndarray) -> None:
        self._base, self._array = base, array
        self._buffers: dict[str, BoardBuffer] = {}
        self._count = 0
        self._lock = threading.Lock()

    @property
    def used(self) -> int:
        """Bytes taken, alignment included."""
        with self._lock:
            return sum(_padded(len(b.array)) for b in self._buffers.values())

    def allocate(self, nbytes: int, owner: str) -> BoardBuffer:
        """A zeroed buffer; BoardError if the size is not positive or there is no room."""
        with self._lock:
            start = self._gap(nbytes)
            self._count += 1
            array = self._array[start : start + nbytes]
            array[:] = 0
            buffer = BoardBuffer(f"buffer-{self._count}", owner, self._base + start, array)
            self._buffers[buffer.name] = buffer
            return buffer

    def _gap(self, nbytes: int) -> int:
        """Offset of the first gap of `nbytes`."""
        if nbytes <= 0:
            raise BoardError(f"cannot allocate {nbytes} bytes")
        if len(self._buffers) >= MAX_BUFFERS:
            raise BoardError(f"{MAX_BUFFERS} buffers are allocated already: free some")
        start = 0
        for buffer in sorted(self._buffers.values(), key=lambda b: b.address):
            offset = buffer.address - self._base
            if offset - start >= nbytes:
                break
            start = offset + _padded(len(buffer.array))
        if start + nbytes > len(self._array):
            raise BoardError(
                f"cannot allocate {nbytes} contiguous bytes: the virtual board has "
                f"{len(self._array)} bytes, its {len(self._buffers)} buffers leave too little"
            )
        return start

    def find(self, name: str) -> BoardBuffer:
        """The buffer of that name; BoardError if there is none (any more)."""
        with self._lock:
            buffer = self._buffers.get(name)
        if buffer is None:
            raise BoardError(f"no buffer '{name[:40]}': it was freed or never allocated")
        return buffer

    def free(self, name: str) -> None:
        """Gives a buffer back; BoardError if there is none of that name."""
        self.find(name)
        with self._lock:
            self._buffers.pop(name, None)

    def free_others(self, owner: str) -> int:
        """Frees what other clients left behind; returns how many buffers that were."""
        with self._lock:
            stale = [name for name, b in self._buffers.items() if b.owner != owner]
            for name in stale:
                del self._buffers[name]
        return len(stale)


def _padded(nbytes: int) -> int:
    return -(-nbytes // ALIGNMENT) * ALIGNMENT
