"""Stream of the program interpreter: fetched regions, consumed in order by words or granules."""

from __future__ import annotations

import numpy as np

from fpga_gen.contract.isa import Region
from fpga_gen.contract.params import EngineParams
from fpga_gen.schedule.execute.memory import ProgramError
from fpga_gen_host.regions import BEAT_BYTES, unstripe


class StreamReader:
    """Concatenation of all fetched regions, as granules."""

    def __init__(self, params: EngineParams, regions: dict[Region, bytes]) -> None:
        self._params = params
        self._regions = regions
        self._granules = np.zeros(0, np.uint32)
        self._position = 0

    def fetch(self, region: Region, offset: int, words: int) -> None:
        """Queue `words` stream words that start `offset` beats into a region."""
        data = self._regions.get(region, b"")
        start = offset * BEAT_BYTES
        end = start + words * self._params.stream_bits // 8
        if end > len(data):
            raise ProgramError(f"FETCH of bytes {start}..{end} of {region.name}: {len(data)} exist")
        fresh = unstripe(data[start:end], self._params.ports).reshape(-1).view("<u4")
        left = self._granules[self._position :]
        self._granules, self._position = np.concatenate([left, fresh]), 0

    def take_granules(self, count: int) -> np.ndarray:
        end = self._position + count
        if end > len(self._granules):
            raise ProgramError(f"the stream ends {end - len(self._granules)} granules too early")
        part = self._granules[self._position : end]
        self._position = end
        return part

    def take_words(self, count: int) -> np.ndarray:
        """uint8 (count, bytes of a stream word), from the next whole word on."""
        per_word = self._params.stream_granules
        left = len(self._granules) - self._position
        self._position += left % per_word
        part = np.ascontiguousarray(self.take_granules(count * per_word))
        return part.view(np.uint8).reshape(count, -1)

    def finish(self) -> None:
        """All words must be consumed; the last one may hold padding."""
        left = len(self._granules) - self._position
        if left >= self._params.stream_granules:
            raise ProgramError(f"{left} granules of the stream were not consumed")
