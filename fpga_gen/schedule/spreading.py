"""STOREs of a network with maps in DRAM: each as soon as the store unit is free for it.

A buffer holds one band of a map. Its STOREs may run beside everything up to the first instruction
that writes these words again: in front of that one stands a STORE of nothing, which waits. As a
STORE holds the program up until the one before it has ended, each waits in a queue until the cycle
model says that the unit is free.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from fpga_gen.contract.isa import LoadInstruction, StoreInstruction
from fpga_gen.contract.params import EngineParams
from fpga_gen.schedule.cycles.model import Stepper
from fpga_gen.schedule.cycles.timing import Timing
from fpga_gen.schedule.lower.hazards import overlap
from fpga_gen.schedule.lower.lowered import NO_STREAM, Lowered, Span

ALL_WORDS = 1 << 40  # more than any program has


def spread_stores(
    body: Sequence[Lowered], params: EngineParams, timing: Timing
) -> tuple[list[Lowered], list[int]]:
    """(the program with its STOREs, which stand where their words are complete, where they run
    beside others; index there of every item: of a STORE, that of the last item in front of it that
    is none). Items have their waits, and no FETCHes yet."""
    queue = _Queue(params, timing)
    places: list[int] = []
    for item in body:
        if isinstance(item.instruction, StoreInstruction):
            queue.waiting.append(item)
            places.append(places[-1] if places else 0)
        else:
            queue.prepare(item)
            places.append(len(queue.out))
            queue.add(item)
        queue.go_on()
    return queue.out, places


class _Queue:
    """out: the program so far; waiting: STOREs whose words are complete."""

    def __init__(self, params: EngineParams, timing: Timing) -> None:
        self._model = Stepper(params, timing, 0)
        self._model.clocks.program.fill(ALL_WORDS, 0.0)  # its pages are cut later
        self._reads: tuple[Span, ...] = ()  # of the STORE that may be running
        self._map = ""  # which it stores
        self.out: list[Lowered] = []
        self.waiting: deque[Lowered] = deque()

    def add(self, item: Lowered) -> None:
        self._model.through([item.instruction], None)
        self.out.append(item)

    def flush(self, count: int) -> None:
        """The first STOREs that wait go."""
        for _ in range(count):
            item = self.waiting.popleft()
            self.add(item)
            self._reads, self._map = item.reads, item.instruction.layer

    def go_on(self) -> None:
        """The next STORE, if the store unit is free."""
        if self.waiting and not self._model.storing:
            self.flush(1)

    def prepare(self, item: Lowered) -> None:
        """What must be stored before an item can run: words that it overwrites, or loads; at the
        end, all."""

        def hit(reads: Sequence[Span]) -> bool:
            return any(overlap(w, r) for w in item.writes for r in reads)

        instruction = item.instruction
        loaded = instruction.layer if isinstance(instruction, LoadInstruction) else None
        stores = enumerate(self.waiting, 1)
        first = [n for n, s in stores if hit(s.reads) or s.instruction.layer == loaded]
        self.flush(len(self.waiting) if instruction.AFTER_STORE else max(first, default=0))
        if hit(self._reads):
            self.add(Lowered(StoreInstruction(layer=self._map), NO_STREAM, (), ()))
            self._reads = ()
