"""The clocks of the cycle model, and what each kind of instruction does to them.

Four clocks run against each other: the array (reads and multiplies), the exit path (drains the
tile before), the weight stream (arrives at the DRAM rate, runs ahead as far as the weight
buffer holds), and the store unit (see store_model).
"""

from __future__ import annotations

from collections import deque

from fpga_gen.contract.isa import (
    ConvInstruction,
    FetchInstruction,
    Instruction,
    LoadInstruction,
    PageInstruction,
    PoolInstruction,
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
from fpga_gen.schedule.cycles.streams import ProgramClock, StreamClock
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


class EngineClocks:
    """Times in cycles from the start command. words: length of the program."""

    def __init__(self, params: EngineParams, timing: Timing, words: int) -> None:
        self.params, self.timing = params, timing
        begin = timing.start + timing.dram_latency
        self.stream = StreamClock(params, timing, begin)
        self.program = ProgramClock()
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
        if i.wait:  # for all STOREs so far to be in DRAM
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
                # Of weights that travel for longer than the array has work with them.
                least = max(size, p.slot_minimum)
                self.stall_weights += sum(n * (cycles - least) for n, _, cycles in slots)
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
        end, self.stall_weights = self.stream.run(slots, self.now, self.stall_weights, release)
        return end - slots[-1][2]

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
            reads *= i.y_taps * i.x_reads
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
        begin = self.now
        for k in range(i.words):
            self.now += self.timing.load_word
            if i.packed and k % 4 == 3:
                continue  # it came with the three before
            ready = self.stream.take(self.params.stream_granules)
            self.now = max(self.now, ready)
            self.stream.free(self.now)
        self.store.free(begin, self.now)
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
