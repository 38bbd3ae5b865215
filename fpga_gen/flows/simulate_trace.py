"""Layer hooks of the simulated device: intermediate maps, and when each instruction began."""

from __future__ import annotations

import numpy as np

from fpga_gen.errors import SimulationError
from fpga_gen.schedule.execute.interpreter import TracedMap
from fpga_gen.schedule.program import Schedule, TracePoint
from fpga_gen.simulate.device import SimulatedDevice
from fpga_gen.simulate.runner import SimulationResult
from fpga_gen_host.regions import words_to_map


class TraceRecorder:
    """Layer hook of the simulated device.

    debug_layer counts dispatched instructions; FETCH and PAGE only order transfers. When one is
    dispatched that waits, every earlier result is in memory: the maps made since the last such
    moment are copied. None of them can have been overwritten, because a map's reader waits
    before it reads. What a STORE alone reads was in memory when that began, and stays there until
    the next one is dispatched.
    """

    def __init__(self, schedule: Schedule) -> None:
        self.schedule = schedule
        self.dispatched = [i for i, n in enumerate(schedule.instructions) if not n.DECODED]
        self.pending: list[TracePoint] = sorted(schedule.trace, key=lambda p: p.after)
        self.maps: list[TracedMap] = []
        self.stored = 0  # the last STORE that was dispatched

    def __call__(self, layer: int, device: SimulatedDevice) -> None:
        """`layer` instructions have been dispatched."""
        if not 1 <= layer <= len(self.dispatched):  # 0: the engine is in reset
            return
        index = self.dispatched[layer - 1]
        instruction = self.schedule.instructions[index]
        there = index if instruction.wait or instruction.ALONE else 0
        if instruction.AFTER_STORE:
            there = max(there, self.stored)
            self.stored = index
        while self.pending and self.pending[0].after < there:
            self.maps.append(self._copy(self.pending.pop(0), device))

    def _copy(self, point: TracePoint, device: SimulatedDevice) -> TracedMap:
        place, banks = point.placement, self.schedule.params.banks
        first_row = place.base // banks
        last_row = (place.base + place.layout.words - 1) // banks
        rows = device.read_banks(first_row, last_row - first_row + 1)
        if len(rows) != banks:
            raise SimulationError(f"the design exports {len(rows)} of {banks} feature-map banks")
        words = rows.transpose(1, 0, 2).reshape(-1, rows.shape[2])
        start = place.base - first_row * banks
        run = words[start : start + place.layout.words].view(np.int8)
        return TracedMap(
            place.tensor, point.after, place.first_row, words_to_map(place.layout, run)
        )

    def finish(self) -> tuple[TracedMap, ...]:
        """All traced maps in program order; SimulationError if the program skipped some."""
        if self.pending:
            raise SimulationError(
                f"{len(self.pending)} maps were not traced, first '{self.pending[0].tensor}'"
            )
        return tuple(self.maps)


class DispatchClock:
    """Layer hook of the simulated device that notes when each of `count` instructions is
    dispatched."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._seen: dict[int, int] = {}

    def __call__(self, layer: int, device: SimulatedDevice) -> None:
        """`layer` instructions have been dispatched."""
        if layer:
            self._seen[layer] = device.cycle

    def finish(self, result: SimulationResult) -> tuple[int, ...]:
        """Cycles of the hardware's own counter; SimulationError if instructions are missing."""
        if sorted(self._seen) != list(range(1, self.count + 1)):
            raise SimulationError(
                f"{len(self._seen)} instructions were dispatched, the program has {self.count}"
            )
        # The counter starts with the command and stops with the interrupt.
        zero = result.start_cycle + result.interrupt_cycles - result.cycles
        return tuple(self._seen[k] - zero for k in range(1, self.count + 1))
