"""Feature-map memory of the program interpreter, with the life of every word."""

from __future__ import annotations

import numpy as np

from fpga_gen.errors import ScheduleError
from fpga_gen.hardware.params import EngineParams

EMPTY, PENDING, READY = 0, 1, 2  # never written; written but not waited for; readable


class ProgramError(ScheduleError):
    """The program breaks a rule of the hardware."""


class FeatureMemory:
    """int8 (words, CI), random at first. A read of a word that is not READY is an error."""

    def __init__(self, params: EngineParams, seed: int) -> None:
        self.words = params.words
        rng = np.random.default_rng(seed)
        self.data = rng.integers(-128, 128, (params.words, params.in_channels), np.int8)
        # whole words as one item, so that a gather copies words and not bytes
        self.word_type = np.dtype({4: np.int32, 8: np.int64, 16: np.complex128}[params.in_channels])
        self.items = self.data.view(self.word_type)[:, 0]
        self.state = np.zeros(params.words, np.uint8)
        self._pending: list[np.ndarray] = []
        self._reads: list[tuple[int, int]] = []

    def drain(self) -> None:
        """All results written so far are in memory."""
        for index in self._pending:
            self.state[index] = READY
        self._pending = []

    def begin_instruction(self) -> None:
        self._reads = []

    def _in_range(self, low: int, high: int) -> None:
        if low < 0 or high >= self.words:
            raise ProgramError(f"address {low if low < 0 else high} is outside the memory")

    def read(self, index: np.ndarray) -> np.ndarray:
        """Words (as items of word_type) at linear addresses."""
        if index.size == 0:
            return self.items[index]
        low, high = int(index.min()), int(index.max())
        self._in_range(low, high)
        state = self.state[index]
        if (state != READY).any():
            at = int(index.reshape(-1)[int(np.argmax(state.reshape(-1) != READY))])
            what = "not waited for" if self.state[at] == PENDING else "never written"
            raise ProgramError(f"read of word {at}, which was {what}")
        self._reads.append((low, high))
        return self.items[index]

    def read_run(self, base: int, words: int) -> np.ndarray:
        """int8 (words, CI) copy; gaps between planes may be empty, but nothing may be pending."""
        self._in_range(base, base + words - 1)
        if (self.state[base : base + words] == PENDING).any():
            raise ProgramError(f"read of words from {base}, which were not waited for")
        return self.data[base : base + words].copy()

    def peek(self, base: int, words: int) -> np.ndarray:
        """int8 (words, CI) as seen once all writes have landed; for traces."""
        return self.data[base : base + words]

    def write(self, index: np.ndarray, byte: int, values: np.ndarray) -> None:
        """int8 values (n, k) into bytes [byte, byte + k) of the words at `index`."""
        low, high = int(index.min()), int(index.max())
        self._in_range(low, high)
        if any(low <= last and first <= high for first, last in self._reads):
            raise ProgramError(f"words {low}..{high} are read and written by one instruction")
        self.data[index, byte : byte + values.shape[1]] = values
        self.state[index] = PENDING
        self._pending.append(index)
