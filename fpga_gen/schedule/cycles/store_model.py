"""The store unit in the cycle model: it works beside the walker, in cycles without a read."""

from __future__ import annotations

from fpga_gen.contract.params import (
    MAX_BURST,
    PORT_BITS,
    WRITE_BUFFER,
    WRITE_ROOM,
    EngineParams,
)
from fpga_gen.schedule.cycles.timing import Timing


class StoreClock:
    """One STORE at a time. It begins when the exit path is idle, so that all earlier results are
    in memory; it reads whenever nobody else does, and one access at each start of a weight slot,
    which costs the array a cycle where slots follow each other without a gap.

    `end`: the last STORE has read its words; `written`: they are in DRAM.
    """

    def __init__(self, params: EngineParams, timing: Timing, begin: float) -> None:
        bits = params.store_words * params.word_bits
        self._per_access = bits / PORT_BITS  # beats
        self._rate = timing.write_efficiency
        self._latency = timing.store_latency
        self._left = 0.0  # beats still to read
        self._waits = False  # the exit path was not idle yet
        self._from = begin
        self.end = self.written = begin

    @property
    def busy(self) -> bool:
        return self._left > 0

    def start(self, now: float, beats: int) -> None:
        """Hand a STORE over; the one before must have ended."""
        self._left, self._waits, self._from = beats, True, now + self._latency

    def results_in(self, time: float) -> None:
        """The exit path is idle at `time`."""
        if self._waits:
            self._waits = False
            self._from = max(self._from, time)

    def beside(self, start: float, end: float, slot: float, gap: float) -> float:
        """The walker runs weight slots of `slot` cycles, `gap` of them without a read, from `start`
        to `end`; returns the cycles that it gives up."""
        if not self.busy or self._waits or end <= self._from:
            return 0.0
        start = max(start, self._from)
        accesses = (end - start) / max(slot, self._per_access / self._rate)
        accesses = min(accesses, self._left / self._per_access)
        self._left -= accesses * self._per_access
        if self._left < 1e-6:
            self._left, self.end = 0.0, start + accesses * slot + self._latency
        self._from = end
        self.written = max(self.written, min(end, self.end) if self._left == 0 else end)
        return 0.0 if gap >= 1 else accesses

    def free(self, start: float, end: float) -> None:
        """Nobody else reads from `start` to `end`."""
        if self.busy and not self._waits and end > max(start, self._from):
            took = min(self._left, (end - max(start, self._from)) * self._rate)
            self._left -= took
            self._from = end
            if self._left < 1e-6:
                self._left, self.end = 0.0, end
            self.written = max(self.written, end)

    def finish(self, now: float) -> float:
        """Time at which the store unit is free again if nobody else reads from `now` on."""
        if self.busy:
            begin = max(now, self._from)
            first = begin + min(self._left, MAX_BURST)
            self.written = max(self.written, first) + self._left / self._rate
            read = self._left / min(1.0, self._per_access)
            held = self.written - (WRITE_BUFFER - WRITE_ROOM) / self._rate
            self.end = max(begin + read, held) + self._latency
            self._left = 0.0
        return max(now, self.end)
