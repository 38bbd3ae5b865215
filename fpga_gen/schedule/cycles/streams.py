"""What comes from DRAM while a program runs: the weight stream and the program's words."""

from __future__ import annotations

from collections import deque

from fpga_gen.contract.params import EngineParams
from fpga_gen.schedule.cycles.timing import Timing


class StreamClock:
    """Arrival of the stream in the weight buffer, in granules taken in order."""

    def __init__(self, params: EngineParams, timing: Timing, start: float) -> None:
        self._per_word = params.stream_granules
        self._cycles_per_word = params.stream_bits / 8 / timing.read_rate(params)
        self._capacity = params.weight_words
        self._time, self._word = start, 0
        self.position = 0
        self._freed: deque[tuple[int, float]] = deque()  # (words before, time), ascending

    def take(self, granules: int) -> float:
        """Time at which the next `granules` are in the buffer."""
        self.position += granules
        word = -(-self.position // self._per_word)
        if word > self._word:
            limit = word - self._capacity
            while self._freed and self._freed[0][0] < limit:
                self._freed.popleft()
            room = self._freed[0][1] if limit > 0 and self._freed else 0.0
            arrived = self._time + (word - self._word) * self._cycles_per_word
            self._time = max(arrived, room)
            self._word = word
        return self._time

    def run(
        self, slots: list[tuple[int, int, float]], now: float, stalled: float, release: bool
    ) -> tuple[float, float]:
        """When the last of these slots (number, granules, cycles) ends, the first at `now` or
        later, and `stalled` with what they waited for; release: each is given up as it begins.

        `take` and `free` for every slot, in one loop: a large network has half a million.
        """
        per_word, per_cycle = self._per_word, self._cycles_per_word
        position, word, time, freed = self.position, self._word, self._time, self._freed
        for count, granules, cycles in slots:
            for _ in range(count):
                position += granules
                if position > word * per_word:
                    before, word = word, -(-position // per_word)
                    limit = word - self._capacity
                    while freed and freed[0][0] < limit:
                        freed.popleft()
                    time += (word - before) * per_cycle
                    if limit > 0 and freed and freed[0][1] > time:
                        time = freed[0][1]
                if time > now:
                    stalled += time - now
                    now = time
                if release:
                    freed.append((position // per_word, now))
                now += cycles
        self.position, self._word, self._time = position, word, time
        return now, stalled

    def fetched(self, time: float) -> None:
        """What is taken next was not asked for before; its first word comes at `time`."""
        self._time = max(self._time, time)

    def align(self) -> None:
        self.position += -self.position % self._per_word

    def free(self, time: float) -> None:
        """Everything taken so far may be overwritten from `time` on."""
        self._freed.append((self.position // self._per_word, time))


class ProgramClock:
    """Arrival of the program in its memory."""

    def __init__(self) -> None:
        self._fills: deque[tuple[int, float]] = deque()  # (words up to its end, time), ascending
        self._decoded = self._words = 0

    def fill(self, words: int, time: float) -> None:
        """So many more words, of which the first is there at `time`; the others keep ahead of the
        decoder."""
        self._words += words
        self._fills.append((self._words, time))

    def decode(self, words: int) -> float:
        """Time at which the last of the next words is there."""
        self._decoded += words
        while self._fills[0][0] < self._decoded:
            self._fills.popleft()
        return self._fills[0][1]
