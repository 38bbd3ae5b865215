"""Cycle model: walks the program by instruction, group, tile and, where it streams, slot.

Four clocks run against each other: the array (reads and multiplies), the exit path (drains the
tile before), the weight stream (arrives at the DRAM rate, runs ahead as far as the weight
buffer holds), and the store unit (see store_model).
"""

from __future__ import annotations

from collections import deque
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
    Region,
    StoreInstruction,
    TableInstruction,
    VectorInstruction,
    VectorOp,
    WalkInstruction,
)
from fpga_gen.contract.params import PARAM_ENTRIES, EngineParams
from fpga_gen.contract.slot_layout import slot_run
from fpga_gen.contract.weight_stream import (
    group_head,
    group_subgroups,
    head_granules,
    slot_halves,
)
from fpga_gen.schedule.cycles.store_model import StoreClock
from fpga_gen.schedule.cycles.timing import (
    Timing,
    array_latency,
    drain_lead,
    drain_tail,
    drain_time,
    param_time,
    record_words,
    slot_time,
    tile_sizes,
    vector_time,
)
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


class _Stream:
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

    def fetched(self, time: float) -> None:
        """What is taken next was not asked for before; its first word comes at `time`."""
        self._time = max(self._time, time)

    def align(self) -> None:
        self.position += -self.position % self._per_word

    def free(self, time: float) -> None:
        """Everything taken so far may be overwritten from `time` on."""
        self._freed.append((self.position // self._per_word, time))


class _Program:
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


class _Machine:
    """words: length of the program."""

    def __init__(self, params: EngineParams, timing: Timing, words: int) -> None:
        self.params, self.timing = params, timing
        begin = timing.start + timing.dram_latency
        self.stream = _Stream(params, timing, begin)
        self.program = _Program()
        first = min(words + -words % params.program_parts, params.program_words)
        self.program.fill(first, begin)
        # The loader has its hands free when it has passed on the first fill.
        self.loader = self.stream.take(first // params.program_parts * params.stream_granules)
        self.stream.free(self.loader)
        self.now = begin
        self.drained = begin  # all results so far are in memory
        self.loaded = begin  # weights behind the last LOAD are there as well
        self.decoded = begin
        self.vector_end = begin
        self.store = StoreClock(params, timing, begin)
        self.stall_weights = self.stall_drain = 0.0
        self.paged = 0.0  # the words of a PAGE since the last CONV or VECTOR have been passed on
        # When the exit path took the parameters of the last groups: the loader reads those of a
        # group into the place of those that were given up PARAM_ENTRIES - 2 groups before.
        self.took: deque[float] = deque([begin] * (PARAM_ENTRIES - 2), PARAM_ENTRIES - 2)

    def decode(self, i: Instruction, words: int) -> None:
        """Header and tables, one word per cycle. A VECTOR's tables are single: they wait for the
        VECTOR before, and its parameters are ordered when it is decoded."""
        self.decoded = max(self.decoded, self.program.decode(words))
        words += self.timing.decode
        if isinstance(i, VectorInstruction):
            p = self.params
            load = record_words(p, p.param_granules(1)) + self.timing.param_load
            self.decoded = max(self.decoded, self.vector_end) + words
            self.decoded = max(self.decoded, self.paged) + load
        else:
            self.decoded += words

    def fetch(self, i: FetchInstruction) -> None:
        if i.region == Region.OUTPUT:  # all STOREs so far are in DRAM
            self.store.results_in(self.drained)
            self.store.finish(self.now)
            self.decoded = max(self.decoded, self.store.written + self.timing.end)
        self.stream.fetched(self.decoded + self.timing.dram_latency)

    def table(self, i: TableInstruction) -> None:
        """A word of entries takes two cycles."""
        self.decoded += i.entry_words + self.timing.table

    def page(self, i: PageInstruction) -> None:
        """The loader passes the words on when it is done with the instruction before."""
        self.decoded = max(self.decoded, self.loader)
        self.stream.align()
        arrived = self.stream.take(i.words * self.params.stream_granules)
        self.paged = max(self.decoded + i.words, arrived) + self.timing.page
        self.loader = self.paged
        self.stream.free(self.paged)
        self.program.fill(i.words * self.params.program_parts, self.decoded + self.timing.page)

    def _parameters(
        self, granules: int, loads: list[tuple[int, int]], groups: int, head: float
    ) -> None:
        """Wait for the parameters (granules) of an output-channel group. Behind a PAGE nothing of
        a CONV is there when the array is free, and parameters are read when they have a place:
        what is read from then on includes the first slot. loads: (number, granules) of the slots,
        over so many pixel groups each; head: cycles that it waits for the group's head."""
        p, timing = self.params, self.timing
        read = record_words(p, granules) + record_words(p, loads[0][1])
        if self.paged:
            self.now = max(self.now, self.paged + read + timing.first_slot)
            self.paged = 0.0
        self.now += param_time(p, timing, granules, loads, groups, head)
        self.now = max(self.now, self.took[0] + read + timing.param_place)

    def conv(self, i: ConvInstruction) -> None:
        p, timing = self.params, self.timing
        split = tile_sizes(i.n_tiles, i.tile_groups, i.long_tiles)
        sizes = [size for count, size in split for _ in range(count)]
        length = 0.0
        for group in range(i.n_groups):
            times = {size: slot_times(p, timing, i, group, size) for size in set(sizes)}
            loads = [(count, granules) for count, granules, _ in times[sizes[0]]]
            repeats = group_head(i, group).repeats
            params = p.some_param_granules(group_subgroups(i, p, group)) + head_granules(i)
            self.stream.take(params)
            self._parameters(params, loads, sizes[0], timing.head if i.list_words else 0.0)
            for index, size in enumerate(sizes):
                slots, first = times[size], self.now
                length = slots[-1][2]
                count = sum(n for n, _, _ in slots)
                mean = sum(n * cycles for n, _, cycles in slots) / count
                last = index == len(sizes) - 1
                repeated = repeats * length
                if index == 0:
                    begin = self._streamed(slots, last and not repeated) + repeated
                else:
                    whole = sum(n * cycles for n, _, cycles in slots)
                    begin = self.now + whole + repeated - length
                if last and (index or repeated):
                    self.stream.free(begin)
                start = self._tile(begin, length, size, i)
                if index == 0:
                    self.took.append(start)
                self.now += self.store.beside(first, self.now, mean, mean - size)
        self.loader = self.now - 2 * length  # it is two slots ahead

    def _streamed(self, slots: list[tuple[int, int, float]], release: bool) -> float:
        """Start of the last slot of a tile whose weights come straight from the stream."""
        now = self.now
        for count, granules, length in slots:
            for _ in range(count):
                ready = self.stream.take(granules)
                if ready > now:
                    self.stall_weights += ready - now
                    now = ready
                if release:
                    self.stream.free(now)
                now += length
        return now - slots[-1][2]

    def _tile(self, begin: float, length: float, size: int, walk: WalkInstruction) -> float:
        """Last slot of a tile at `begin` or later, and the tile's drain; when that starts."""
        timing, tail = self.timing, drain_tail(self.params, self.timing)
        free = self.drained - tail - drain_lead(self.params, timing)
        if free > begin:
            self.stall_drain += free - begin
            begin = free
        if begin > self.drained:
            self.store.results_in(self.drained)
        self.now = begin + length
        pool = isinstance(walk, PoolInstruction)
        steps = drain_time(self.params, walk.lanes, size, bool(walk.out16), pool)
        start = max(begin + array_latency(self.params, timing), self.drained - tail)
        self.drained = start + max(steps, size) + tail
        return start

    def pool(self, i: PoolInstruction) -> None:
        sizes = tile_sizes(i.n_tiles, i.tile_groups, i.long_tiles)
        for _ in range(i.n_groups):
            for count, size in sizes:
                length = max(size, self.params.slot_minimum)
                for _ in range(count):
                    first = self.now
                    begin = first + (i.slots - 1) * length
                    self._tile(begin, length, size, i)
                    self.now += self.store.beside(first, self.now, length, length - size)

    def vector(self, i: VectorInstruction) -> None:
        p, timing = self.params, self.timing
        ready = self.stream.take(p.param_granules(1))
        self.stall_weights += max(0.0, ready - self.now)
        self.now = max(self.now, ready)
        self.stream.free(self.now)
        self.loader, self.paged = self.now, 0.0
        self.took.append(self.now)
        first = reads = sum(1 + s.wide for s in i.sources)
        if i.function == VectorOp.MUL and i.sources[0].still:  # it is read once in a block
            reads = 1 + i.sources[1].wide
        if i.function == VectorOp.LINEAR:
            reads *= i.y_taps * i.x_taps
        per_step = max(reads, 2 if i.out16 else 1)
        steps = i.out_h * -(-i.out_w // (1 + i.pair))
        self.now += vector_time(timing, i.n_blocks, steps, first, per_step)
        self.vector_end = self.now
        # Its last results are on their way when the unit is free.
        self.drained = self.now + p.lookup_latency

    def await_store(self) -> None:
        """The store unit has read all its words."""
        self.store.results_in(self.drained)
        self.now = self.store.finish(self.now)

    def load(self, i: LoadInstruction) -> None:
        self.stream.align()
        for k in range(i.words):
            self.now += self.timing.load_word
            if i.packed and k % 4 == 3:
                continue  # it came with the three before
            ready = self.stream.take(self.params.stream_granules)
            self.now = max(self.now, ready)
            self.stream.free(self.now)
        self.drained = self.now + self.timing.load_idle
        self.loaded = self.now + self.timing.load_tail
        self.loader = self.now


def slot_times(
    params: EngineParams, timing: Timing, conv: ConvInstruction, group: int, size: int
) -> list[tuple[int, int, float]]:
    """(number, granules of each, cycles of each) of the slots of a CONV's output-channel group, in
    tiles of `size` pixel groups."""
    subgroups = group_subgroups(conv, params, group)
    out = []
    for half, count in slot_halves(group_head(conv, group)):
        granules = slot_run(params, subgroups, half).granules
        out.append((count, granules, slot_time(params, timing, granules, size)))
    return out


class _Run:
    """A program on its way through the machine, instruction by instruction."""

    def __init__(self, params: EngineParams, timing: Timing, words: int) -> None:
        self.params, self.timing = params, timing
        self.machine = _Machine(params, timing, words)
        self.spans: list[Span] = []

    def fork(self) -> _Run:
        """The same from here on, for another end."""
        known = {id(self.params): self.params, id(self.timing): self.timing}
        known[id(self.spans)] = list(self.spans)
        return deepcopy(self, known)

    def ended(self) -> ModelRun:
        """All of the program has been stepped through."""
        machine = self.machine
        cycles = round(max(machine.now, machine.store.written) + self.timing.end)
        return ModelRun(tuple(self.spans), cycles)

    def through(self, instructions: Sequence[Instruction], after: Instruction | None) -> _Run:
        """Steps through consecutive instructions; after: the one behind them."""
        for number, instruction in enumerate(instructions, 1):
            following = instructions[number] if number < len(instructions) else after
            self.spans.append(self._step(instruction, following))
        return self

    def _step(self, instruction: Instruction, after: Instruction | None) -> Span:
        machine, timing = self.machine, self.timing
        machine.decode(instruction, instruction.encoded_words)
        position = machine.stream.position
        if instruction.DECODED:
            match instruction:
                case FetchInstruction():
                    machine.fetch(instruction)
                case PageInstruction():
                    machine.page(instruction)
                case TableInstruction():
                    machine.table(instruction)
            at, taken = round(machine.now), machine.stream.position - position
            return Span(at, at, stream_granules=taken)
        free = machine.now
        machine.now = max(machine.now + timing.instruction, machine.decoded)
        if instruction.wait or instruction.ALONE:
            machine.now = max(machine.now, machine.drained + timing.wait_tail)
            if not isinstance(instruction, LoadInstruction):
                machine.now = max(machine.now, machine.loaded + timing.wait_tail)
            machine.store.results_in(machine.drained)
        machine.store.free(free, machine.now)
        if instruction.AFTER_STORE:
            machine.await_store()
        begin = machine.now
        machine.decoded = max(machine.decoded, machine.now)  # the next one is decoded meanwhile
        stalls = (machine.stall_weights, machine.stall_drain)
        written = self._execute(instruction, after)
        return Span(
            start=round(begin),
            end=round(machine.now),
            stall_weights=round(machine.stall_weights - stalls[0]),
            stall_drain=round(machine.stall_drain - stalls[1]),
            stream_granules=machine.stream.position - position,
            write_bytes=written,
        )

    def _execute(self, instruction: Instruction, after: Instruction | None) -> int:
        """Bytes written to DRAM."""
        machine = self.machine
        match instruction:
            case ConvInstruction():
                machine.conv(instruction)
            case PoolInstruction():
                machine.pool(instruction)
            case VectorInstruction():
                machine.vector(instruction)
            case LoadInstruction():
                machine.load(instruction)
            case StoreInstruction():
                written = instruction.words * self.params.in_channels
                machine.store.start(machine.now, written // BEAT_BYTES)
                if after is not None and after.AFTER_STORE:
                    machine.await_store()
                return written
        return 0


def run_model(
    instructions: Sequence[Instruction], params: EngineParams, timing: Timing
) -> ModelRun:
    """Start and end of every instruction, in clock cycles from the start command."""
    words = sum(i.encoded_words for i in instructions)
    return _Run(params, timing, words).through(instructions, None).ended()


def _alike(a: Instruction, b: Instruction) -> bool:
    """Whether two instructions are the same to the model; how much a FETCH reads is not."""
    if isinstance(a, FetchInstruction) and isinstance(b, FetchInstruction):
        return a.region == b.region
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
    start = _Run(params, timing, max(words)).through(programs[0][:shared], programs[0][shared])
    runs = [start.fork().through(program[shared:], None).ended() for program in programs]
    best = min(range(len(runs)), key=lambda n: runs[n].cycles)
    if words[best] == max(words):
        return best, runs[best]
    return best, run_model(programs[best], params, timing)
