"""StoreUnit against the words it should send: order, beats, room, reads only when they are granted,
several STOREs."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from fpga_gen.contract.isa import Op
from fpga_gen.contract.latencies import READ_LATENCY
from fpga_gen.contract.params import PORT_BITS, WRITE_ROOM
from fpga_gen.hardware.memory.store import StoreUnit
from rtl_tests.bench import simulate
from rtl_tests.word_memory import WordMemory, header
from tests.engines import SMALL
from tests.schedule.graphs import THREE_MODES

SIXTEEN = replace(SMALL, in_channels=16)  # four words, four beats an access
SHAPES = {"4": SMALL, "8": THREE_MODES, "16": SIXTEEN}
LENGTHS = (1, 3, 60, 2, 17)  # beats


class Surroundings:
    """Memory, array, exit path and write port of a store unit, each with its own mood: the
    probability `gap` that it refuses in a cycle."""

    def __init__(self, params, seed: str, gap: float) -> None:
        self.rng = random.Random(seed)
        self.gap = gap
        self.dut = StoreUnit(params)
        self.memory = WordMemory(params, 600, seed=1)
        self.per_beat = PORT_BITS // params.word_bits
        self.beats: list[int] = []
        self.commands: list[tuple[int, int]] = []
        self.results_in = False
        self.requests = self.reads = 0

    def _free(self) -> bool:
        return self.rng.random() >= self.gap

    async def watch(self, ctx) -> None:
        dut, late, room = self.dut, 0, True
        while True:
            granted, ready, done = self._free(), self._free(), self._free()
            room = self._free() if self.rng.random() < 0.2 else room
            ctx.set(dut.granted, granted)
            ctx.set(dut.command.ready, ready)
            ctx.set(dut.results_in, done)
            ctx.set(dut.beats.room, room)
            sampled = await ctx.tick().sample(
                dut.read.valid, dut.command.valid, dut.command.payload, dut.beats.valid,
                dut.beats.data, dut.request, dut.issue.start,
            )  # fmt: skip
            read, command, transfer, valid, data, request, start = sampled[2:]
            self.results_in = (self.results_in or done) and not start
            if read:
                assert granted, "read without leave"
                assert self.results_in, "read before the results were in memory"
            if command and ready:
                self.commands.append((transfer.offset, transfer.beats))
            if valid:
                self.beats.append(data)
            late = 0 if room else late + valid
            assert late <= WRITE_ROOM, "more beats than the port takes"
            self.requests += request
            self.reads += read

    async def store(self, ctx, base: int, words: int, offset: int) -> int:
        """Run one STORE; cycles from its start."""
        dut = self.dut
        fields = {"words": words, "base": self.memory.code(base), "offset": offset}
        ctx.set(dut.issue.header, header(Op.STORE, **fields))
        ctx.set(dut.issue.start, 1)
        await ctx.tick()
        ctx.set(dut.issue.start, 0)
        assert ctx.get(dut.busy)
        await ctx.tick()
        ctx.set(dut.issue.header, header(Op.STORE, words=9999))  # of the next instruction
        cycles = 1
        while ctx.get(dut.busy):
            await ctx.tick()
            cycles += 1
        return cycles

    def simulate(self, bench) -> None:
        background = [self.memory.reader(self.dut.read), self.watch]
        simulate(self.dut, bench, background=background)


@pytest.mark.parametrize("gap", [0.0, 0.4, 0.9])
@pytest.mark.parametrize("name", SHAPES)
def test_stores(name, gap):
    around = Surroundings(SHAPES[name], f"{name} {gap}", gap)
    memory, rng = around.memory, around.rng
    stores = []
    for beats in LENGTHS:
        words = beats * around.per_beat
        stores.append((rng.randrange(600 - words - 16), words, rng.randrange(1 << 32)))

    async def bench(ctx):
        sent = 0
        for base, words, offset in stores:
            await around.store(ctx, base, words, offset)
            sent += words // around.per_beat
            assert len(around.beats) == sent  # not busy: the last beat has been sent

    around.simulate(bench)
    assert around.commands == [(offset, n // around.per_beat) for _, n, offset in stores]
    expected = b"".join(memory.data[base : base + n].tobytes() for base, n, _ in stores)
    assert b"".join(beat.to_bytes(16, "little") for beat in around.beats) == expected
    assert (around.requests > 0) == (gap > 0)
    assert around.requests <= around.reads * (1 if gap == 0 else 9)


@pytest.mark.parametrize("name", ["4", "8", "16"])
def test_one_beat_per_cycle(name):
    """Alone, a STORE takes a cycle per beat and a few more."""
    around = Surroundings(SHAPES[name], name, 0.0)

    async def bench(ctx):
        cycles = await around.store(ctx, 0, 100 * around.per_beat, 0)
        assert 100 <= cycles <= 100 + READ_LATENCY + 16

    around.simulate(bench)
    assert len(around.beats) == 100


def test_asks_for_cycles():
    """Where every cycle is taken, each access asks once, and reads in the cycle it gets."""
    around = Surroundings(SIXTEEN, "ask", 0.0)
    dut = around.dut
    given = 0

    async def busy_array(ctx):
        nonlocal given
        while True:
            *_, request = await ctx.tick().sample(dut.request)
            ctx.set(dut.granted, 0)
            if request:
                await ctx.tick().repeat(5)
                ctx.set(dut.granted, 1)
                given += 1

    async def bench(ctx):
        for port in (dut.beats.room, dut.results_in, dut.command.ready):
            ctx.set(port, 1)
        await around.store(ctx, 0, 80, 0)
        assert given == 20

    simulate(dut, bench, background=[around.memory.reader(dut.read), busy_array])
