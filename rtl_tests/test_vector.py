"""VectorUnit against numpy: every operation, byte width and format, several planes and blocks."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product

import numpy as np
import pytest

from fpga_gen.contract.address import unpack_address
from fpga_gen.contract.isa import (
    COLUMN,
    ENTRY,
    ENTRY_BITS,
    MAX_SKIP,
    MAX_SOURCES,
    SOURCE,
    Op,
    VectorOp,
)
from fpga_gen.contract.params import EngineParams
from fpga_gen.hardware.results.vector import VectorUnit
from rtl_tests.bench import simulate
from rtl_tests.word_memory import WordMemory, header
from tests.engines import SMALL
from tests.schedule.graphs import THREE_MODES

NARROW = replace(SMALL, dsp_columns=4, sp2_columns=2)  # too few columns for two pixels a step
WORDS = 4000
WEIGHTS = (("left", "right"), ("second_left", "second_right"))  # of the pixels of a step


@dataclass(frozen=True)
class Source:
    """Planes of `size` words at `base`; wide: low bytes `low` words further; still: the first word
    of a plane is that of all pixels."""

    base: int
    plane: int
    low: int
    wide: int
    zero: int
    factor: int
    still: int = 0


@dataclass(frozen=True, eq=False)
class Job:
    """One VECTOR instruction. y, x: (first-tap row or column, weights) tables when not direct:
    address (out, taps) and weight (out, taps)."""

    function: VectorOp
    direct: int
    out16: int
    blocks: int
    shape: tuple[int, int]
    sources: tuple[Source, ...]
    out: tuple[int, int, int]  # base, plane, low
    y: tuple[np.ndarray, np.ndarray] | None = None
    x: tuple[np.ndarray, np.ndarray] | None = None
    pair: int = 0


def random_job(
    rng: np.random.Generator, params: EngineParams, function: VectorOp, direct: int, count: int
) -> Job:
    """Two blocks of a small map; sources of both widths and signs, in distinct places."""
    pair = int(rng.integers(0, params.vector_pixels))
    shape = tuple(int(v) for v in rng.integers(1, 5, 2))
    planes = 16
    sources = []
    for k in range(count):
        base, plane = 700 * k + int(rng.integers(0, 50)), planes + int(rng.integers(0, 9))
        wide, zero = (int(v) for v in rng.integers(0, 2, 2))
        factor = int(rng.integers(-32768, 32768))
        sources.append(Source(base, plane, int(rng.integers(200, 300)), wide, zero, factor))
    y = x = None
    if not direct:
        taps = [int(v) for v in rng.integers(1, 4, 2)]
        y, x = (
            (rng.integers(0, 60, (n, t)), rng.integers(0, 256, (n, t)))
            for n, t in zip(shape, taps, strict=True)
        )
        near = min(params.vector_taps, taps[1])
        for first in range(0, taps[1], near):  # columns of a read lie side by side
            x[0][:, first : first + near] = x[0][:, first, None] + np.arange(taps[1] - first)[:near]
        if pair:  # the second pixel of a step reads near the first
            most = min(MAX_SKIP, params.vector_words - near)
            skips = rng.integers(0, most + 1, shape[1] // 2)
            x[0][1::2] = x[0][: shape[1] // 2 * 2 : 2] + skips[:, None]
    out = (int(rng.integers(0, 500)), int(rng.integers(20, 90)), int(rng.integers(300, 500)))
    blocks, out16 = int(rng.integers(1, 4)), int(rng.integers(0, 2))
    return Job(function, direct, out16, blocks, shape, tuple(sources), out, y, x, pair)


def expected(job: Job, memory: WordMemory) -> list[tuple[int, int, list[int]]]:
    """(output address, high flag, accumulators) of every result in order."""
    height, width = job.shape
    data = memory.data.astype(np.int64)

    def value(source: Source, block: int, offset: int) -> np.ndarray:
        at = source.base + block * source.plane + (0 if source.still else offset)
        if source.wide:
            return 256 * data[at] + data[at + source.low] + 128
        return data[at] + 128 * source.zero

    results = []
    for block in range(job.blocks):
        for pixel in range(height * width):
            acc = np.zeros(memory.params.in_channels, np.int64)
            if job.function == VectorOp.MUL:
                acc = value(job.sources[0], block, pixel) * value(job.sources[1], block, pixel)
            elif job.direct:
                for source in job.sources:
                    acc = acc + source.factor * value(source, block, pixel)
            else:
                row, column = divmod(pixel, width)
                for source in job.sources:
                    for ya, yw in zip(*(t[row] for t in job.y), strict=True):
                        for xa, xw in zip(*(t[column] for t in job.x), strict=True):
                            acc = acc + yw * xw * value(source, block, ya + xa)
            sums = [int(v) & 0xFFFFFFFF for v in acc]
            base, plane, low = job.out
            at = base + block * plane + pixel
            results.append((at, job.out16, sums))
            if job.out16:
                results.append((at + low, 0, sums))
    return results


def column_words(job: Job, memory: WordMemory) -> list[int]:
    """The x table: an entry per step and read."""
    taps, together = memory.params.vector_taps, 1 + job.pair
    words = []
    for first in range(0, job.shape[1], together):
        pixels = range(first, min(first + together, job.shape[1]))
        for tap in range(0, job.x[0].shape[1], taps):
            at = [int(job.x[0][pixel, tap]) for pixel in pixels]
            fields = {"address": memory.code(at[0]), "skip": at[-1] - at[0]}
            for pixel, names in zip(pixels, WEIGHTS, strict=False):
                weights = job.x[1][pixel, tap : tap + taps]
                fields |= {n: int(w) for n, w in zip(names, weights, strict=False)}
            words += COLUMN.encode(fields)
    return words


def row_words(job: Job, memory: WordMemory) -> list[int]:
    """The y table: two entries a word."""
    entries = [
        ENTRY.encode({"address": memory.code(a), "weight": int(w)})[0]
        for a, w in zip(*(t.reshape(-1) for t in job.y), strict=True)
    ]
    entries += [0] * (len(entries) % 2)
    return [a | b << ENTRY_BITS for a, b in zip(entries[::2], entries[1::2], strict=True)]


async def write_tables(ctx, dut: VectorUnit, job: Job, memory: WordMemory) -> None:
    """As the sequencer does it, one 64-bit word per cycle."""
    for index, source in enumerate(job.sources):
        fields = {
            **vars(source),
            "base": memory.code(source.base),
            "plane": memory.code(source.plane),
            "low": memory.code(source.low),
        }
        for k, word in enumerate(SOURCE.encode(fields)):
            ctx.set(dut.tables.source, index)
            ctx.set(dut.tables.part, k)
            ctx.set(dut.tables.word, word)
            ctx.set(dut.tables.source_write, 1)
            await ctx.tick()
    ctx.set(dut.tables.source_write, 0)
    if job.direct:
        return
    for words, write in (
        (row_words(job, memory), dut.tables.y_write),
        (column_words(job, memory), dut.tables.x_write),
    ):
        for pair, word in enumerate(words):
            ctx.set(dut.tables.pair, pair)
            ctx.set(dut.tables.word, word)
            ctx.set(write, 1)
            await ctx.tick()
        ctx.set(write, 0)


def run(params: EngineParams, jobs: list[Job], seed: int) -> None:
    dut = VectorUnit(params, expand=True)
    memory = WordMemory(params, WORDS, seed)
    results: list[tuple[int, int, list[int]]] = []

    async def collect(ctx) -> None:
        while True:
            *_, valid, both, sums, address, high = await ctx.tick().sample(
                dut.result.valid,
                dut.result.both,
                dut.result.sums,
                dut.result.address,
                dut.result.high,
            )
            for pixel in range(valid + (valid & both)):
                first = pixel * params.in_channels
                parts = [sums[first + k] for k in range(params.in_channels)]
                results.append((unpack_address(address[pixel], params.banks), high, parts))

    async def bench(ctx) -> None:
        for job in jobs:
            await write_tables(ctx, dut, job, memory)
            base, plane, low = (memory.code(v) for v in job.out)
            fields = {
                "function": int(job.function), "direct": job.direct, "out16": job.out16,
                "pair": job.pair,
                "n_blocks": job.blocks, "n_sources": len(job.sources),
                "out_h": job.shape[0], "out_w": job.shape[1],
                "out_base": base, "out_plane": plane, "out_low": low,
            }  # fmt: skip
            if job.y is not None:
                reads = -(-job.x[0].shape[1] // params.vector_taps)
                fields |= {"y_taps": job.y[0].shape[1], "x_reads": reads}
            ctx.set(dut.issue.header, header(Op.VECTOR, **fields))
            ctx.set(dut.issue.start, 1)
            await ctx.tick()
            ctx.set(dut.issue.start, 0)
            assert ctx.get(dut.busy)
            while ctx.get(dut.busy):
                await ctx.tick()
            want = expected(job, memory)
            assert sorted(results) == sorted(want)
            results.clear()

    simulate(dut, bench, background=[memory.reader(dut.read), collect])


CASES = [
    (VectorOp.LINEAR, 0, 1),
    (VectorOp.LINEAR, 0, 2),
    *((VectorOp.LINEAR, 1, n) for n in range(1, MAX_SOURCES + 1)),
    (VectorOp.MUL, 1, 2),
]


@pytest.mark.parametrize(
    "params", [SMALL, THREE_MODES, NARROW], ids=["two-modes", "three-modes", "narrow"]
)
def test_operations(params):
    """Every kind of VECTOR several times, one after the other on one unit."""
    rng = np.random.default_rng(3)
    jobs = [random_job(rng, params, *case) for case in CASES * 8]
    assert {j.pair for j in jobs} == set(range(params.vector_pixels))
    kinds = {(j.function, j.out16, tuple(s.wide for s in j.sources)) for j in jobs}
    for out16 in (0, 1):
        assert (VectorOp.LINEAR, out16, (1,)) in kinds
        assert (VectorOp.LINEAR, out16, (0,)) in kinds
    run(params, [jobs[i] for i in rng.permutation(len(jobs))], seed=4)


@pytest.mark.parametrize("wide", [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_products_of_all_widths(wide):
    rng = np.random.default_rng(5)
    for out16 in (0, 1):
        sources = tuple(
            Source(600 * k + 7, 31, 250, w, int(rng.integers(0, 2)), 0) for k, w in enumerate(wide)
        )
        out = (100, 40, 400)
        jobs = [Job(VectorOp.MUL, 1, out16, 2, (3, 3), sources, out, pair=pair) for pair in (0, 1)]
        run(SMALL, jobs, seed=6)


@pytest.mark.parametrize("wide", [(0, 0), (0, 1), (1, 0), (1, 1)])
@pytest.mark.parametrize("params", [SMALL, THREE_MODES, NARROW], ids=["two", "three", "narrow"])
def test_factors_of_one_pixel(params, wide):
    """Products with a first factor that is one word of each plane, and others between them."""
    rng = np.random.default_rng(8)
    jobs = []
    for shape in ((3, 3), (1, 1), (1, 2), (4, 6)):
        for pair, still, out16 in product(range(params.vector_pixels), (1, 0), (0, 1)):
            sources = tuple(
                Source(600 * k + 7, 31, 250, w, int(rng.integers(0, 2)), 0, still * (k == 0))
                for k, w in enumerate(wide)
            )
            out = (100, 40, 400)
            jobs.append(Job(VectorOp.MUL, 1, out16, 3, shape, sources, out, pair=pair))
    run(replace(params, activations=True), jobs, seed=9)


def test_square_and_extremes():
    """One map times itself; sums of the largest factors wrap as 32-bit accumulators do."""
    source = Source(0, 30, 250, 1, 0, -32768)
    square = Job(VectorOp.MUL, 1, 1, 1, (2, 3), (source, source), (100, 40, 400))
    total = Job(VectorOp.LINEAR, 1, 0, 1, (2, 3), (source,) * MAX_SOURCES, (100, 40, 400))
    run(SMALL, [square, total], seed=7)
