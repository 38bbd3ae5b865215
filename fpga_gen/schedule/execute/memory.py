"""Feature-map memory of the program interpreter, with the life of every byte."""

from __future__ import annotations

import numpy as np

from fpga_gen.contract.params import EngineParams
from fpga_gen.errors import ScheduleError


class ProgramError(ScheduleError):
    """The program breaks a rule of the hardware."""


class TrackedMemory:
    """int8 (words, CI), random at first. `ready` and `pending` hold one bit per byte of a word:
    readable; written, but not waited for. A read that depends on other bytes is an error."""

    def __init__(self, params: EngineParams, seed: int) -> None:
        self.words = params.words
        rng = np.random.default_rng(seed)
        self.data = rng.integers(-128, 128, (params.words, params.in_channels), np.int8)
        # whole words as one item, so that a gather copies words and not bytes
        self.word_type = np.dtype({4: np.int32, 8: np.int64, 16: np.complex128}[params.in_channels])
        self.items = self.data.view(self.word_type)[:, 0]
        self.ready = np.zeros(params.words, np.uint16)
        self.pending = np.zeros(params.words, np.uint16)
        self.all_lanes = (1 << params.in_channels) - 1
        self._written: list[np.ndarray] = []
        self._reads: list[tuple[int, int, int]] = []
        self._stored = (0, 0)  # words [first, end) that the store unit may still be reading

    def forget(self, index: np.ndarray) -> None:
        """Nobody knows what was just written to some words: a read of them is an error."""
        self.pending[index] = 0

    def drain(self) -> None:
        """All results written so far are in memory."""
        for index in self._written:
            self.ready[index] |= self.pending[index]
            self.pending[index] = 0
        self._written = []

    def begin_instruction(self) -> None:
        self._reads = []

    def _in_range(self, low: int, high: int) -> None:
        if low < 0 or high >= self.words:
            raise ProgramError(f"address {low if low < 0 else high} is outside the memory")

    def read(self, index: np.ndarray, lanes: int | None = None) -> np.ndarray:
        """Words (as items of word_type) at linear addresses. lanes: bits of the bytes that the
        result depends on; None: whole words, of which bytes of no channel may be unwritten."""
        if index.size == 0 or lanes == 0:
            return self.items[index]
        low, high = int(index.min()), int(index.max())
        self._in_range(low, high)
        ready, pending = self.ready[index], self.pending[index]
        if lanes is None:
            bad = (pending != 0) | (ready == 0)
        else:
            bad = (ready & lanes) != lanes
        if bad.any():
            at = int(index.reshape(-1)[int(np.argmax(bad.reshape(-1)))])
            late = self.pending[at] & (self.all_lanes if lanes is None else lanes)
            raise ProgramError(
                f"read of word {at}, which was {'not waited for' if late else 'never written'}"
            )
        self._reads.append((low, high, self.all_lanes if lanes is None else lanes))
        return self.items[index]

    def store(self, base: int, words: int) -> np.ndarray:
        """int8 (words, CI) copy for a STORE, which waits for earlier results by itself, and for the
        STORE before; gaps between planes may be empty. Nothing may write these words until the next
        STORE or END."""
        self._in_range(base, base + words - 1)
        self._stored = (base, base + words)
        return self.data[base : base + words].copy()

    def stores_done(self) -> None:
        """What all STOREs so far read is in DRAM."""
        self._stored = (0, 0)

    def peek(self, base: int, words: int) -> np.ndarray:
        """int8 (words, CI) as seen once all writes have landed; for traces."""
        return self.data[base : base + words]

    def write(self, index: np.ndarray, byte: int, values: np.ndarray) -> None:
        """int8 values (n, k) into bytes [byte, byte + k) of the words at `index`."""
        low, high = int(index.min()), int(index.max())
        self._in_range(low, high)
        mask = ((1 << values.shape[1]) - 1) << byte
        if any(low <= b and a <= high and mask & lanes for a, b, lanes in self._reads):
            raise ProgramError(f"words {low}..{high} are read and written by one instruction")
        if low < self._stored[1] and self._stored[0] <= high:
            stored = (index >= self._stored[0]) & (index < self._stored[1])
            if stored.any():
                at = int(index[int(np.argmax(stored))])
                raise ProgramError(f"write of word {at}, which a STORE may still be reading")
        self.data[index, byte : byte + values.shape[1]] = values
        self.ready[index] &= ~mask & self.all_lanes
        self.pending[index] |= mask
        self._written.append(index)
