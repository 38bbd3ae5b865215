"""Program memory: a ring against a plain list, at any patience of both sides; what does not fit."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from fpga_gen.contract.params import EngineParams
from fpga_gen.hardware.control.program_memory import ProgramMemory
from rtl_tests.bench import simulate
from tests.engines import SMALL

WORDS = 64
SHAPES = [replace(SMALL, program_words=WORDS), EngineParams(program_words=WORDS)]


class Bench:
    """Fills of random sizes whenever there is room for them, and a reader that checks every word.

    fill, read: probability of a word in and out in a cycle.
    """

    def __init__(self, params: EngineParams, seed: int, fill: float, read: float) -> None:
        self.rng = random.Random(seed)
        self.dut = ProgramMemory(params, expand=True)
        self.per_word = params.program_parts
        self.fill, self.read = fill, read
        self.words = [self.rng.getrandbits(64) for _ in range(10 * WORDS)]
        self.loaded = self.taken = 0  # words ordered, words read
        self.written = 0  # words given
        self.overflows = 0
        self.settled = 0  # cycles since nothing is to be read or to come
        self.since_page = 9

    async def filler(self, ctx) -> None:
        """The stream; words are offered whether or not they are the program's."""
        dut = self.dut
        while True:
            at = self.written % len(self.words)
            offered = self.rng.random() < self.fill
            row = self.words[at : at + self.per_word]
            ctx.set(dut.fill.word, sum(w << 64 * k for k, w in enumerate(row)))
            ctx.set(dut.fill.valid, offered)
            *_, filling, overflow = await ctx.tick().sample(dut.fill.filling, dut.overflow)
            self.overflows += overflow
            if offered and filling:
                self.written += self.per_word

    async def reader(self, ctx) -> None:
        dut = self.dut
        while True:
            present = ctx.get(dut.read.present)
            want = self.rng.random() < self.read
            take = want and bool(present)
            if present:
                assert self.taken < self.written, "a word before it came"
                assert ctx.get(dut.read.word) == self.words[self.taken % len(self.words)]
            ctx.set(dut.read.want, want)
            await ctx.tick()
            self.taken += take
            self.settled = 0 if self.taken < self.loaded else self.settled + 1
            self.since_page += 1
            if self.since_page > 2 and not self.settled:
                assert not ctx.get(dut.read.exhausted), "there were words to come"
            if self.settled > 3:
                assert ctx.get(dut.read.exhausted)

    async def first(self, ctx, words: int) -> None:
        """Order and first fill of so many program words."""
        dut = self.dut
        ctx.set(dut.program_words, words // self.per_word)
        ctx.set(dut.start, 1)
        self.loaded = words
        await ctx.tick()
        ctx.set(dut.start, 0)
        await ctx.tick().repeat(self.rng.randint(1, 9))
        ctx.set(dut.order_ready, 1)
        await ctx.tick().until(dut.order_valid)
        ctx.set(dut.order_ready, 0)

    async def page(self, ctx, words: int) -> None:
        """A page, once the fill before it is done."""
        dut = self.dut
        while ctx.get(dut.fill.filling):
            await ctx.tick()
        ctx.set(dut.read.page_words, words // self.per_word)
        ctx.set(dut.read.page, 1)
        self.loaded, self.since_page = self.loaded + words, 0
        await ctx.tick()
        ctx.set(dut.read.page, 0)

    def run(self, bench) -> None:
        simulate(self.dut, bench, background=[self.filler, self.reader], limit=40_000)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("params", SHAPES, ids=["one-port", "four-ports"])
def test_ring(params, seed):
    """Twenty times the memory, to the last word of room."""
    patience = [(1.0, 1.0), (1.0, 0.3), (0.1, 1.0)][seed % 3]
    bench = Bench(params, seed, *patience)

    async def pages(ctx) -> None:
        rng, per_word = bench.rng, bench.per_word
        await bench.first(ctx, per_word * rng.randint(1, WORDS // per_word))
        while bench.loaded < 20 * WORDS:
            room = (WORDS - (bench.loaded - bench.taken)) // per_word
            if room and rng.random() < 0.3:
                await bench.page(ctx, per_word * rng.choice([1, room, rng.randint(1, room)]))
            await ctx.tick()
        while bench.settled < 10:
            await ctx.tick()

    bench.run(pages)
    assert bench.taken == bench.loaded
    assert not bench.overflows


@pytest.mark.parametrize("params", SHAPES, ids=["one-port", "four-ports"])
def test_page_without_room(params):
    """It is cut off where it would overwrite; the words before are still read."""
    bench = Bench(params, 3, 1.0, 0.0)

    async def too_much(ctx) -> None:
        await bench.first(ctx, WORDS)
        await bench.page(ctx, 2 * bench.per_word)
        await ctx.tick().repeat(40)
        assert bench.overflows == 1
        bench.loaded = WORDS  # nothing more comes
        bench.read = 1.0
        while bench.taken < WORDS:
            await ctx.tick()
            assert not ctx.get(bench.dut.read.exhausted)  # one error is enough
            bench.settled = 0

    bench.run(too_much)


@pytest.mark.parametrize("params", SHAPES, ids=["one-port", "four-ports"])
def test_first_fill_without_room(params):
    """Refused before a word is taken."""
    bench = Bench(params, 4, 1.0, 1.0)

    async def too_much(ctx) -> None:
        dut = bench.dut
        ctx.set(dut.program_words, WORDS // bench.per_word + 1)
        ctx.set(dut.order_ready, 1)
        ctx.set(dut.start, 1)
        await ctx.tick()
        ctx.set(dut.start, 0)
        for _ in range(100):
            await ctx.tick()
            bench.settled = 0
            assert not ctx.get(dut.order_valid)
            assert not ctx.get(dut.read.exhausted)

    bench.run(too_much)
    assert bench.overflows == 1
    assert not bench.written
