"""ExitPath against a numpy memory: tiles of every mode and format, vector results, LOAD words.

The bench is array, loader and vector unit at once. It overwrites the drain memory as early as
`drain_free` allows, so that a request that comes too late reads another tile's sums.
"""

from __future__ import annotations

import random
from collections import defaultdict, deque
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from amaranth.lib import data

from fpga_gen.contract.address import ADDRESS_BITS
from fpga_gen.contract.epilogue import Epilogue, finish
from fpga_gen.contract.isa import ConvInstruction, Op
from fpga_gen.contract.latencies import DRAIN_LATENCY
from fpga_gen.contract.numerics import ACC_BITS, split16
from fpga_gen.contract.params import PARAM_ENTRIES, EngineParams
from fpga_gen.hardware.common.joints import TOKEN
from fpga_gen.hardware.results import exit_steps
from fpga_gen.hardware.results.exit_path import MERGE_LATENCY, ExitPath
from rtl_tests.bench import simulate
from rtl_tests.word_memory import WordMemory, header
from tests.engines import PAIRS, SMALL
from tests.schedule.graphs import THREE_MODES, THREE_PAIRS

REQUEST_LAG = MERGE_LATENCY - DRAIN_LATENCY  # from a step to its drain request
NARROW = replace(SMALL, dsp_columns=4, sp2_columns=2)  # one vector pixel, two of max-pooling
FEW_PAIRS = replace(PAIRS, in_channels=16, dsp_columns=4)  # fewer columns than channels of a word
PORT_PAIRS = replace(THREE_PAIRS, ports=2)  # a stream word: two beats of two
VECTOR_LATENCY = 12  # the vector unit's first result comes at least so long after its start
WORDS = 2400


@dataclass(frozen=True, eq=False)
class Group:
    """Parameters of one output-channel group, int64 (CO,)."""

    bias: np.ndarray
    mult: np.ndarray
    shift: np.ndarray

    def records(self) -> list[dict[str, int]]:
        rows = zip(self.bias.tolist(), self.mult.tolist(), self.shift.tolist(), strict=True)
        return [{"bias": bias, "mult": mult, "shift": shift} for bias, mult, shift in rows]


@dataclass(frozen=True, eq=False)
class Tile:
    """Token fields; drained: (pixel groups, P, columns) sums or (..., CI) maxima."""

    token: dict[str, int]
    drained: np.ndarray
    params: Group | None


def random_group(rng: np.random.Generator, count: int, out16: int) -> Group:
    """Scales that spread sums of 28 bits over the output format."""
    shift = rng.integers(27, 31, count) if out16 else rng.integers(35, 39, count)
    bias = rng.integers(-(2**24), 2**24, count)
    return Group(bias, rng.integers(1 << 14, 1 << 16, count), shift)


def random_format(rng: np.random.Generator) -> dict[str, int]:
    """zero, out16, lo, hi of an instruction."""
    if rng.random() < 0.4:
        return {"zero": 0, "out16": 1, "lo": -32768, "hi": int(rng.integers(9000, 32768))}
    zero = int(rng.integers(0, 2))
    return {"zero": zero, "out16": 0, "lo": -128, "hi": int(rng.integers(60, 128))}


def stored(acc: np.ndarray, group: Group, fmt: dict[str, int]) -> list[np.ndarray]:
    """Byte planes, high first, of accumulators (..., channels)."""
    n = acc.shape[-1]
    scale = (group.bias[:n], group.mult[:n], group.shift[:n])
    value = finish(acc, Epilogue.of(ConvInstruction(**fmt)), *scale)
    return list(split16(value)) if fmt["out16"] else [value.astype(np.int8)]


@dataclass
class Bench:
    """Drives one ExitPath; `memory` gets its writes, `want` what they should be."""

    params: EngineParams
    safe_steps: int
    seed: int
    pace: float
    cycle: int = 0
    group_count: int = 0
    released: int = 0
    entries: list[list] = field(default_factory=lambda: [[] for _ in range(PARAM_ENTRIES)])
    # Drain memories: pixel group -> (cycle from which it holds, (P, ...) values), oldest first.
    sums: dict[int, list] = field(default_factory=lambda: defaultdict(list))
    maxima: dict[int, list] = field(default_factory=lambda: defaultdict(list))

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng(self.seed)
        self.dice = random.Random(self.seed)
        self.dut = ExitPath(self.params, expand=True)
        self.memory = WordMemory(self.params, WORDS, self.seed)
        self.want = self.memory.data.copy()

    # --- models around the unit --------------------------------------------------------------
    async def drain_memory(self, ctx) -> None:
        """Answers drain requests; counts cycles and freed parameters; parameters a cycle later."""
        dut = self.dut
        waiting: deque = deque([(0, 0)] * (DRAIN_LATENCY - 1))
        while True:
            *_, t, lane, index, release = await ctx.tick().sample(
                dut.sums.t, dut.sums.lane, dut.parameters.index, dut.parameters.release
            )
            waiting.append(
                (
                    self._pack(self._sums(t, lane), ACC_BITS),
                    self._pack(self._maxima(t, lane), 8),
                )
            )
            sums, maxima = waiting.popleft()
            ctx.set(dut.sums.data, sums)
            ctx.set(dut.maxima.data, maxima)
            ctx.set(dut.parameters.data, self.entries[index])
            self.released += release
            self.cycle += 1

    def _at(self, versions: dict[int, list], t: int, lane: int, width: int) -> np.ndarray:
        """What a request in this cycle reads; noise before the first write."""
        held = [values for since, values in versions[t] if since <= self.cycle]
        noise = self.rng.integers(-128, 128, width)
        return held[-1][lane] if held and lane < self.params.pixels else noise

    def _sums(self, t: int, lane: int) -> np.ndarray:
        """The lanes of one step from `lane` on."""
        p = self.params
        lanes = range(lane, lane + p.exit_pixels)
        return np.concatenate([self._at(self.sums, t, k, p.columns) for k in lanes])

    def _maxima(self, t: int, lane: int) -> np.ndarray:
        """The lanes of one max-pool step from `lane` on."""
        p = self.params
        lanes = range(lane, lane + p.pool_pixels)
        return np.concatenate([self._at(self.maxima, t, k, p.in_channels) for k in lanes])

    @staticmethod
    def _pack(values: np.ndarray, bits: int) -> int:
        mask = (1 << bits) - 1
        return sum((int(v) & mask) << bits * k for k, v in enumerate(values))

    async def idle(self, ctx) -> None:
        """Wait for `idle`; then the memory is right."""
        while not ctx.get(self.dut.idle):
            await ctx.tick()
        wrong = np.argwhere(self.memory.data != self.want)
        assert not len(wrong), f"{len(wrong)} bytes differ, first (word, byte) {wrong[0]}"

    def take_group(self, group: Group) -> None:
        """The loader's next parameter entry."""
        self.entries[self.group_count % PARAM_ENTRIES] = group.records()
        self.group_count += 1

    # --- tiles -------------------------------------------------------------------------------
    async def tile(self, ctx, tile: Tile, code: data.Const) -> None:
        """Offer one tile as soon as the drain memory may be written."""
        dut = self.dut
        while not (ctx.get(dut.tiles.drain_free) and not ctx.get(dut.tiles.token.valid)):
            await self._taken(ctx)
        while self.dice.random() > self.pace:
            await self._taken(ctx)
            if not ctx.get(dut.tiles.drain_free):
                return await self.tile(ctx, tile, code)
        written = self.cycle + self.safe_steps + REQUEST_LAG
        drained = self.maxima if tile.token["pool"] else self.sums
        for t, values in enumerate(tile.drained):
            drained[t] = [*drained[t][-1:], (written + t, values)]
        if tile.params is not None:
            self.take_group(tile.params)
        await self._taken(ctx)
        facts = {name: value for name, value in tile.token.items() if name != "pool"}
        token = TOKEN.const({"header": code, "tile": facts, "pool": tile.token["pool"]})
        ctx.set(dut.tiles.token.payload, token)
        ctx.set(dut.tiles.token.valid, 1)
        while self.cycle < written:
            await self._taken(ctx)
        done = dut.pool_done if tile.token["pool"] else dut.array_done
        for t in range(2):  # the first pixel group's tells
            ctx.set(done.valid, 1)
            ctx.set(done.t, t)
            await self._taken(ctx)
        ctx.set(done.valid, 0)
        return None

    async def _taken(self, ctx) -> None:
        """One cycle; a token that is taken goes away."""
        *_, valid, ready = await ctx.tick().sample(
            self.dut.tiles.token.valid, self.dut.tiles.token.ready
        )
        if valid and ready:
            ctx.set(self.dut.tiles.token.valid, 0)

    async def walk(self, ctx, op: Op) -> None:
        """A random CONV or POOL, all its tiles."""
        p, rng = self.params, self.rng
        pool = op == Op.POOL
        mode = 1 if pool else int(rng.choice(p.modes))
        row_mode = int(rng.integers(0, 2))
        narrow = row_mode and mode == 1 and not pool and rng.random() < 0.4
        lanes = int(rng.integers(1, p.pixels + 1)) if narrow else p.pixels * mode
        tiles, tile_groups = int(rng.integers(1, 4)), int(rng.integers(1, 6))
        long_tiles = int(rng.integers(1, tiles + 1)) if tile_groups > 1 else tiles
        sizes = [tile_groups - (k >= long_tiles) for k in range(tiles)]
        count = sum(sizes)
        if row_mode:
            per_row = int(rng.integers(1, 5))
            width = int(rng.integers((per_row - 1) * lanes + 1, per_row * lanes + 1))
            pitch = width + int(rng.integers(0, 4))
            rows, columns = np.divmod(np.arange(count), per_row)
            starts, pixels = rows * pitch + columns * lanes, 0
            index = columns * lanes
            limit = width
        else:
            per_row, width, pitch = 1, 0, 0
            pixels = limit = int(rng.integers((count - 1) * lanes + 1, count * lanes + 1))
            starts = index = np.arange(count) * lanes
        per_group = p.in_channels if pool else p.group_channels(mode)
        n_groups = int(rng.integers(1, 4))
        channels = (n_groups - 1) * per_group + (
            per_group if pool else int(rng.integers(1, per_group + 1))
        )
        first = 0 if pool else int(rng.integers(0, p.in_channels))
        fmt = {"zero": 0, "out16": 0, "lo": -128, "hi": 127} if pool else random_format(rng)
        plane = p.plane_words(int(starts[-1]) + p.lanes + pitch)
        planes = -(-(first + channels) // p.in_channels)
        low = planes * plane + int(rng.integers(0, 9))
        base = int(rng.integers(0, WORDS - 2 * low))
        code = header(
            op, mode=mode - 1, row_mode=row_mode, lanes=lanes, pixels=pixels, row_width=width,
            groups_per_row=per_row, out_step=self.memory.code(lanes),
            out_row_step=self.memory.code(pitch - (per_row - 1) * lanes),
            out_plane=self.memory.code(plane), out_low=self.memory.code(low), **fmt,
        )  # fmt: skip
        for g in range(n_groups):
            byte = first + g * per_group
            size = min(per_group, channels - g * per_group)
            group = None if pool else random_group(rng, p.columns, fmt["out16"])
            start = 0
            for k, tile_size in enumerate(sizes):
                shape = (tile_size, p.pixels, p.in_channels if pool else p.columns)
                top = 128 if pool else 2**28
                drained = rng.integers(-top, top, shape)
                token = {
                    "groups": tile_size, "new_instruction": int(g == 0 and k == 0),
                    "new_group": int(k == 0), "channels": size, "pool": int(pool),
                    "base": self.memory.code(base + byte // p.in_channels * plane),
                    "byte_offset": byte % p.in_channels,
                }  # fmt: skip
                await self.tile(ctx, Tile(token, drained, group if k == 0 else None), code)
                for t in range(tile_size):
                    for lane in range(min(p.pixels, lanes)):
                        for part in range(mode):
                            offset = lane + part * p.pixels
                            if index[start + t] + offset >= limit:
                                continue
                            at = base + int(starts[start + t]) + offset
                            if pool:
                                parts = [drained[t, lane]]
                            else:
                                columns = slice(part * per_group, (part + 1) * per_group)
                                parts = stored(drained[t, lane, columns], group, fmt)
                            for shift, values in zip((0, low), parts, strict=False):
                                for c in range(size):
                                    word, at_byte = divmod(byte + c, p.in_channels)
                                    self.want[at + shift + word * plane, at_byte] = values[c]
                start += tile_size

    # --- the other sources -------------------------------------------------------------------
    async def vector(self, ctx) -> None:
        """Results of one VECTOR at random moments."""
        dut, p, rng = self.dut, self.params, self.rng
        fmt = random_format(rng)
        group = random_group(rng, p.columns, fmt["out16"])
        self.take_group(group)
        lanes = np.arange(p.row_lanes)
        own = np.where(lanes < p.columns, lanes, 0)  # lanes without a column take the first one's
        group = Group(group.bias[own], group.mult[own], group.shift[own])
        ctx.set(dut.vector_issue.header, header(Op.VECTOR, **fmt))
        ctx.set(dut.vector_issue.start, 1)
        await ctx.tick()
        ctx.set(dut.vector_issue.start, 0)
        await ctx.tick().repeat(VECTOR_LATENCY)
        together = p.vector_pixels
        for _ in range(12):
            acc = rng.integers(-(2**28), 2**28, together * p.in_channels)
            at, low = (int(v) for v in rng.integers(0, WORDS // 2 - 1, 2))
            pixels = int(rng.integers(1, together + 1))
            rows = acc.reshape(p.exit_pixels, -1)  # a row of lanes for each
            planes = zip((0, low), stored(rows, group, fmt), strict=False)
            for plane, (shift, values) in enumerate(planes):
                codes = [self.memory.code(at + shift + k) for k in range(together)]
                ctx.set(dut.vector.sums.as_value(), self._pack(acc, ACC_BITS))
                ctx.set(dut.vector.address.as_value(), self._pack(codes, ADDRESS_BITS))
                ctx.set(dut.vector.both, pixels - 1)
                ctx.set(dut.vector.high, int(fmt["out16"] and plane == 0))
                ctx.set(dut.vector.valid, 1)
                for k in range(pixels):
                    self.want[at + shift + k] = values.reshape(together, p.in_channels)[k]
                await ctx.tick()
            ctx.set(dut.vector.valid, 0)
            while self.dice.random() > self.pace:
                await ctx.tick()

    async def load(self, ctx) -> None:
        """A LOAD whose words come at random moments."""
        dut, p, rng = self.dut, self.params, self.rng
        words = int(rng.integers(1, 20))
        stride = p.load_stride(p.load_part((words + int(rng.integers(0, 9))) * p.load_words))
        offsets = p.load_offsets(stride)
        base = int(rng.integers(0, WORDS - offsets[-1] - words * p.beat_words))
        code = self.memory.code
        fields = {"words": words, "base": code(base), "stride": code(stride)}
        ctx.set(dut.load_issue.header, header(Op.LOAD, **fields))
        ctx.set(dut.load_issue.start, 1)
        await ctx.tick()
        ctx.set(dut.load_issue.start, 0)
        assert ctx.get(dut.load_busy)
        for i in range(words):
            data = rng.integers(-128, 128, (p.load_words, p.in_channels)).astype(np.int8)
            for k, offset in enumerate(offsets):
                self.want[base + offset + i * p.beat_words] = data[k]
            while self.dice.random() > self.pace or not ctx.get(dut.words.ready):
                await ctx.tick()
            ctx.set(dut.words.payload, int.from_bytes(data.tobytes(), "little"))
            ctx.set(dut.words.valid, 1)
            await ctx.tick()
            ctx.set(dut.words.valid, 0)
        assert not ctx.get(dut.load_busy)

    async def run(self, ctx) -> None:
        """A random program; VECTOR and LOAD start only when idle, as the sequencer has it."""
        for index in range(24):
            op = self.dice.choice([Op.CONV, Op.CONV, Op.CONV, Op.POOL, Op.VECTOR, Op.LOAD])
            if op in (Op.VECTOR, Op.LOAD):
                while ctx.get(self.dut.tiles.token.valid):
                    await self._taken(ctx)
                await self.idle(ctx)
                await (self.vector(ctx) if op == Op.VECTOR else self.load(ctx))
                await ctx.tick()
                await self.idle(ctx)
            else:
                await self.walk(ctx, op)
            if index % 5 == 4:
                while ctx.get(self.dut.tiles.token.valid):
                    await self._taken(ctx)
                await self.idle(ctx)
        while ctx.get(self.dut.tiles.token.valid):
            await self._taken(ctx)
        await self.idle(ctx)
        assert self.memory.writes > 200
        assert self.released == self.group_count - 1
        assert ctx.get(self.dut.parameters.held)


@pytest.mark.parametrize("safe_steps", [0, 4, 7])
@pytest.mark.parametrize("pace", [1.0, 0.3])
@pytest.mark.parametrize(
    "params",
    [SMALL, THREE_MODES, NARROW, PAIRS, PORT_PAIRS, FEW_PAIRS],
    ids=["two-modes", "three-modes", "narrow", "pairs", "port-pairs", "few-pairs"],
)
def test_programs(params, pace, safe_steps, monkeypatch):
    monkeypatch.setattr(exit_steps, "SAFE_STEPS", safe_steps)
    bench = Bench(params, safe_steps, seed=17 + safe_steps, pace=pace)
    background = [bench.drain_memory, bench.memory.writer(bench.dut.write)]
    simulate(bench.dut, bench.run, background=background, limit=30_000)
