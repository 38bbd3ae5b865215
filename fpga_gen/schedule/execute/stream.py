"""Stream of the program interpreter: fetched regions, consumed in order by words or granules."""

from __future__ import annotations

import numpy as np

from fpga_gen.contract.isa import Region
from fpga_gen.contract.params import EngineParams
from fpga_gen.schedule.execute.memory import ProgramError
from fpga_gen_host.regions import BEAT_BYTES, unstripe


class StreamReader:
    """Concatenation of all fetched regions, as granules. known: those that were in DRAM; the others
    lie where no STORE had written, or none that was waited for."""

    def __init__(self, params: EngineParams, regions: dict[Region, bytes]) -> None:
        self._params = params
        self._regions = regions
        self._granules = np.zeros(0, np.uint32)
        self._known = np.zeros(0, bool)
        self._position = 0

    def fetch(self, region: Region, offset: int, words: int) -> None:
        """Queue `words` stream words that start `offset` beats into a region."""
        data = self._regions.get(region, b"")
        start = offset * BEAT_BYTES
        end = start + words * self._params.stream_bits // 8
        if end > len(data):
            raise ProgramError(f"FETCH of bytes {start}..{end} of {region.name}: {len(data)} exist")
        fresh = unstripe(data[start:end], self._params.ports).reshape(-1).view("<u4")
        self._append(fresh, np.ones(len(fresh), bool))

    def fetch_output(self, data: np.ndarray, stored: np.ndarray, offset: int, words: int) -> None:
        """Queue stream words of the output region; stored: its beats that are in
        DRAM for certain."""
        ports = self._params.ports
        at = np.arange(words)[:, None] + np.arange(ports) * words + offset
        if words and at[-1, -1] >= len(stored):
            raise ProgramError(f"FETCH of beat {at[-1, -1]} of OUTPUT: {len(stored)} exist")
        fresh = data[: len(stored) * BEAT_BYTES].reshape(-1, BEAT_BYTES)[at]
        known = np.repeat(stored[at].reshape(-1), BEAT_BYTES // 4)
        self._append(np.ascontiguousarray(fresh).reshape(-1).view("<u4"), known)

    def _append(self, granules: np.ndarray, known: np.ndarray) -> None:
        left, was = self._granules[self._position :], self._known[self._position :]
        self._granules, self._position = np.concatenate([left, granules]), 0
        self._known = np.concatenate([was, known])

    def take_granules(self, count: int) -> np.ndarray:
        part, known = self._take(count)
        if not known.all():
            raise ProgramError("weights or program from DRAM that no STORE wrote")
        return part

    def _take(self, count: int) -> tuple[np.ndarray, np.ndarray]:
        end = self._position + count
        if end > len(self._granules):
            raise ProgramError(f"the stream ends {end - len(self._granules)} granules too early")
        part = slice(self._position, end)
        self._position = end
        return self._granules[part], self._known[part]

    def take_words(self, count: int) -> np.ndarray:
        """uint8 (count, bytes of a stream word), from the next whole word on."""
        words, known = self.take_known_words(count)
        if not known.all():
            raise ProgramError("program from DRAM that no STORE wrote")
        return words

    def take_known_words(self, count: int) -> tuple[np.ndarray, np.ndarray]:
        """The same, and bool (count, ports): the beats that are known."""
        per_word = self._params.stream_granules
        left = len(self._granules) - self._position
        self._position += left % per_word
        granules, known = self._take(count * per_word)
        words = np.ascontiguousarray(granules).view(np.uint8).reshape(count, -1)
        return words, known.reshape(count, self._params.ports, -1).all(2)

    def finish(self) -> None:
        """All words must be consumed; the last one may hold padding."""
        left = len(self._granules) - self._position
        if left >= self._params.stream_granules:
            raise ProgramError(f"{left} granules of the stream were not consumed")
