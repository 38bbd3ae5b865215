"""Cycle model: steps a program through the clocks of clocks.py, instruction by instruction."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass

from fpga_gen.contract.isa import (
    ConvInstruction,
    FetchInstruction,
    Instruction,
    LoadInstruction,
    PageInstruction,
    PoolInstruction,
    StoreInstruction,
    TableInstruction,
    VectorInstruction,
)
from fpga_gen.contract.params import EngineParams
from fpga_gen.schedule.cycles.clocks import EngineClocks
from fpga_gen.schedule.cycles.timing import Timing
from fpga_gen_host.regions import BEAT_BYTES


@dataclass(frozen=True)
class Span:
    """One instruction. start: its dispatch; end: when its unit has read its last word, of a STORE
    when it is handed over, unless the next instruction waits for it;
    stall_weights: cycles it waited for the stream; stall_drain: for the exit path;
    stream_granules, write_bytes: its traffic."""

    start: int
    end: int
    stall_weights: int = 0
    stall_drain: int = 0
    stream_granules: int = 0
    write_bytes: int = 0


@dataclass(frozen=True)
class ModelRun:
    """When the instructions of a program run. spans: one for each; cycles: of the frame."""

    spans: tuple[Span, ...]
    cycles: int


class Stepper:
    """A program on its way through the engine, instruction by instruction."""

    def __init__(self, params: EngineParams, timing: Timing, words: int) -> None:
        self.params, self.timing = params, timing
        self.clocks = EngineClocks(params, timing, words)
        self.spans: list[Span] = []

    def fork(self) -> Stepper:
        """The same from here on, for another end."""
        known = {id(self.params): self.params, id(self.timing): self.timing}
        known[id(self.spans)] = list(self.spans)
        return deepcopy(self, known)

    @property
    def storing(self) -> bool:
        """The store unit has words to read."""
        return self.clocks.store.busy

    def ended(self) -> ModelRun:
        """All of the program has been stepped through."""
        clocks = self.clocks
        cycles = round(max(clocks.now, clocks.store.written) + self.timing.end)
        return ModelRun(tuple(self.spans), cycles)

    def through(self, instructions: Sequence[Instruction], after: Instruction | None) -> Stepper:
        """Steps through consecutive instructions; after: the one behind them."""
        for number, instruction in enumerate(instructions, 1):
            following = instructions[number] if number < len(instructions) else after
            self.spans.append(self._step(instruction, following))
        return self

    def _step(self, instruction: Instruction, after: Instruction | None) -> Span:
        clocks, timing = self.clocks, self.timing
        clocks.decode(instruction, instruction.encoded_words)
        position = clocks.stream.position
        if instruction.DECODED:
            match instruction:
                case FetchInstruction():
                    clocks.fetch(instruction)
                case PageInstruction():
                    clocks.page(instruction)
                case TableInstruction():
                    clocks.table(instruction)
            at, taken = round(clocks.now), clocks.stream.position - position
            return Span(at, at, stream_granules=taken)
        free = clocks.now
        clocks.now = max(clocks.now + timing.instruction, clocks.decoded)
        if instruction.wait or instruction.ALONE:
            clocks.now = max(clocks.now, clocks.drained + timing.wait_tail)
            if not isinstance(instruction, LoadInstruction):
                clocks.now = max(clocks.now, clocks.loaded + timing.wait_tail)
            clocks.store.results_in(clocks.drained)
        clocks.store.free(free, clocks.now)
        if instruction.AFTER_STORE:
            clocks.await_store()
        begin = clocks.now
        clocks.decoded = max(clocks.decoded, clocks.now)  # the next one is decoded meanwhile
        stalls = (clocks.stall_weights, clocks.stall_drain)
        written = self._execute(instruction, after)
        return Span(
            start=round(begin),
            end=round(clocks.now),
            stall_weights=round(clocks.stall_weights - stalls[0]),
            stall_drain=round(clocks.stall_drain - stalls[1]),
            stream_granules=clocks.stream.position - position,
            write_bytes=written,
        )

    def _execute(self, instruction: Instruction, after: Instruction | None) -> int:
        """Bytes written to DRAM."""
        clocks = self.clocks
        match instruction:
            case ConvInstruction():
                clocks.conv(instruction)
            case PoolInstruction():
                clocks.pool(instruction)
            case VectorInstruction():
                clocks.vector(instruction)
            case LoadInstruction():
                clocks.load(instruction)
            case StoreInstruction():
                written = instruction.words * self.params.in_channels
                clocks.store.start(clocks.now, written // BEAT_BYTES)
                if after is not None and after.AFTER_STORE:
                    clocks.await_store()
                return written
        return 0


def run_model(
    instructions: Sequence[Instruction], params: EngineParams, timing: Timing
) -> ModelRun:
    """Start and end of every instruction, in clock cycles from the start command."""
    words = sum(i.encoded_words for i in instructions)
    return Stepper(params, timing, words).through(instructions, None).ended()


def _alike(a: Instruction, b: Instruction) -> bool:
    """Whether two instructions are the same to the model; how much a FETCH reads is not."""
    if isinstance(a, FetchInstruction) and isinstance(b, FetchInstruction):
        return (a.region, a.wait) == (b.region, b.wait)
    return a is b or a == b


def best_of(
    programs: Sequence[Sequence[Instruction]], params: EngineParams, timing: Timing
) -> tuple[int, ModelRun]:
    """(number, run) of the program of the fewest cycles, the first of equal ones. What they begin
    with alike runs once, as in front of the longest of them."""
    if len(programs) == 1:
        return 0, run_model(programs[0], params, timing)
    words = [sum(i.encoded_words for i in program) for program in programs]
    shared = 0  # instructions with the one behind them
    for first, *others in zip(*programs, strict=False):
        if not all(_alike(first, other) for other in others):
            break
        shared += 1
    shared = max(0, shared - 1)
    start = Stepper(params, timing, max(words)).through(programs[0][:shared], programs[0][shared])
    runs = [start.fork().through(program[shared:], None).ended() for program in programs]
    best = min(range(len(runs)), key=lambda n: runs[n].cycles)
    if words[best] == max(words):
        return best, runs[best]
    return best, run_model(programs[best], params, timing)
