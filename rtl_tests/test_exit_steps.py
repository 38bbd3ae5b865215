"""ExitSteps against loops over tiles: steps, facts, parameters, LOAD words, who may come when."""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace

import pytest

from fpga_gen.contract.address import pack_address, unpack_address
from fpga_gen.contract.isa import Op
from fpga_gen.contract.params import PARAM_ENTRIES, SAFE_STEPS, EngineParams
from fpga_gen.hardware.common.joints import TOKEN
from fpga_gen.hardware.results.exit_steps import ExitSteps
from rtl_tests.bench import simulate
from rtl_tests.word_memory import header
from tests.engines import PAIRS, SMALL
from tests.schedule.graphs import THREE_MODES

ODD = replace(SMALL, pixels=3)
FLIGHT = 9  # cycles that a result takes to the memory in this test


@dataclass(frozen=True)
class Step:
    t: int
    lane: int
    low_pass: int
    pixel: int
    index: int
    pair: int


@dataclass
class Instruction:
    """A CONV or POOL: header fields with linear addresses, its tiles group by group."""

    params: EngineParams
    fields: dict[str, int]
    pool: bool
    groups: list[dict[str, int]]  # base, byte_offset, channels
    tiles: list[int]  # pixel groups

    @property
    def used(self) -> int:
        return min(self.fields["lanes"], self.params.pixels)

    def header(self):
        banks = self.params.banks
        names = ("out_step", "out_row_step", "out_plane", "out_low")
        codes = {name: pack_address(self.fields[name], banks) for name in names}
        return header(Op.POOL if self.pool else Op.CONV, **{**self.fields, **codes})

    def steps(self) -> list[list[Step]]:
        """The steps of every tile of one output group."""
        f, out = self.fields, []
        pixel = index = column = 0
        together = self.params.pool_pixels if self.pool else self.params.exit_pixels
        lanes = list(range(0, self.used, together))
        for groups in self.tiles:
            tile = []
            for t in range(groups):
                for lane in lanes:
                    alone = together == 1 or (lane == lanes[-1] and self.used % 2)
                    pair = int(not alone) if together == 2 else None
                    for low in range(2 if f["out16"] else 1):
                        tile.append(Step(t, lane, low, pixel, index, pair))
                column += 1
                if f["row_mode"] and column == f["groups_per_row"]:
                    column = index = 0
                    pixel += f["out_row_step"]
                else:
                    index += f["lanes"]
                    pixel += f["out_step"]
            out.append(tile)
        return out

    def facts(self, group: dict[str, int]) -> dict:
        f = self.fields
        bases = [group["base"] + k * f["out_plane"] for k in range(self.params.max_write_words)]
        shift = 128 if f["zero"] else 0
        return {
            "mode": f["mode"], "pool": int(self.pool), "vector": 0, "zero": f["zero"],
            "out16": f["out16"], "lo": f["lo"] + shift, "hi": f["hi"] + shift,
            "out_low": f["out_low"], "limit": f["row_width" if f["row_mode"] else "pixels"],
            "bases": bases, "byte_offset": group["byte_offset"], "channels": group["channels"],
        }  # fmt: skip


def random_instruction(rng: random.Random, params: EngineParams) -> Instruction:
    pool = rng.random() < 0.3
    mode = 1 if pool else rng.choice(params.modes)
    row_mode = rng.randrange(2)
    narrow = row_mode and not pool and mode == 1 and rng.random() < 0.4
    zero = int(not pool and rng.random() < 0.4)
    out16 = int(not pool and not zero and rng.random() < 0.4)
    fields = {
        "mode": mode - 1, "row_mode": row_mode, "out16": out16, "zero": zero,
        "lanes": rng.randint(1, params.pixels) if narrow else params.pixels * mode,
        "groups_per_row": rng.randint(1, 4), "row_width": rng.randrange(1, 200),
        "pixels": rng.randrange(1, 5000), "out_step": rng.randrange(40),
        "out_row_step": rng.randrange(-30, 90), "out_plane": rng.randrange(1, 200),
        "out_low": rng.randrange(500), "lo": rng.randrange(-128, 0), "hi": rng.randrange(128),
    }  # fmt: skip
    groups = [
        {"base": rng.randrange(900), "byte_offset": rng.randrange(params.in_channels),
         "channels": rng.randint(1, params.group_channels(mode))}
        for _ in range(rng.randint(1, 3))
    ]  # fmt: skip
    tiles = [rng.randint(1, 5) for _ in range(rng.randint(1, 3))]
    return Instruction(params, fields, pool, groups, tiles)


@dataclass
class Bench:
    """One ExitSteps with what was seen of it."""

    params: EngineParams
    seed: str
    pace: float
    want: list[tuple[Step, dict, int]] = field(default_factory=list)  # step, facts, parameters
    seen: int = 0
    last: list[int] = field(default_factory=list)  # steps after which a tile is done
    loads: list[tuple[int, list[int]]] = field(default_factory=list)  # (pixel, bases) to come
    taken: int = 0  # groups whose parameters were taken
    released: int = 0

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)
        self.dut = ExitSteps(self.params)

    def linear(self, facts) -> dict:
        values = {name: facts[name] for name in facts.shape().members if name != "bases"}
        banks = self.params.banks
        values["out_low"] = unpack_address(values["out_low"], banks)
        values["bases"] = [
            unpack_address(facts.bases[k], banks) for k in range(self.params.max_write_words)
        ]
        return values

    async def watch(self, ctx) -> None:
        """Steps in order; drains are safe to overtake; `busy` as long as results are on their
        way."""
        dut, flight = self.dut, 0
        while True:
            ctx.set(dut.busy, int(flight > 0))
            *_, step, at, facts, free, token, loaded, ready, release = await ctx.tick().sample(
                dut.step, dut.at, dut.facts, dut.tiles.drain_free, dut.tiles.token.valid,
                dut.load_valid, dut.load_ready, dut.param_release,
            )  # fmt: skip
            self.released += release
            flight = FLIGHT if step or (loaded and ready) else max(0, flight - 1)
            if step:
                want, wanted_facts, params = self.want[self.seen]
                left = next(n for n in self.last if n > self.seen) - self.seen
                got = {name: at[name] for name in vars(want)}
                got["pixel"] = unpack_address(got["pixel"], self.params.banks)
                expected = {k: v for k, v in vars(want).items() if v is not None}
                assert {k: got[k] for k in expected} == expected, f"step {self.seen}"
                assert self.linear(facts) == wanted_facts
                if params:
                    assert at.param == (params - 1) % PARAM_ENTRIES
                assert not free or left <= SAFE_STEPS, "the drain memory is free too early"
                self.seen += 1
            elif token:
                assert not free, "free with a tile that waits"
            if loaded and ready:
                pixel, bases = self.loads.pop(0)
                assert unpack_address(at.pixel, self.params.banks) == pixel
                assert self.linear(facts)["bases"] == bases

    async def pause(self, ctx) -> None:
        while self.rng.random() > self.pace:
            await ctx.tick()

    async def idle(self, ctx) -> None:
        while not ctx.get(self.dut.idle):
            await ctx.tick()
        assert self.seen == len(self.want)

    async def walk(self, ctx) -> None:
        """An instruction's tiles, each as soon as the one before is taken."""
        dut, instruction = self.dut, random_instruction(self.rng, self.params)
        code = instruction.header()
        for g, group in enumerate(instruction.groups):
            self.taken += not instruction.pool
            facts = instruction.facts(group)
            for n, steps in enumerate(instruction.steps()):
                self.want += [(s, facts, 0 if instruction.pool else self.taken) for s in steps]
                self.last.append(len(self.want))
                tile = {
                    **group, "base": pack_address(group["base"], self.params.banks),
                    "groups": instruction.tiles[n], "new_instruction": int(g == 0 and n == 0),
                    "new_group": int(n == 0),
                }  # fmt: skip
                await self.pause(ctx)
                token = TOKEN.const({"header": code, "tile": tile, "pool": int(instruction.pool)})
                ctx.set(dut.tiles.token.payload, token)
                ctx.set(dut.tiles.token.valid, 1)
                await self.pause(ctx)
                ctx.set(dut.tile_done, 1)
                *_, ready = await ctx.tick().sample(dut.tiles.token.ready)
                ctx.set(dut.tile_done, 0)
                while not ready:
                    *_, ready = await ctx.tick().sample(dut.tiles.token.ready)
                ctx.set(dut.tiles.token.valid, 0)
                await ctx.tick().repeat(4)  # the header stands for some cycles

    async def vector(self, ctx) -> None:
        """Only its facts and parameters."""
        dut, rng = self.dut, self.rng
        await self.idle(ctx)
        fields = {"zero": rng.randrange(2), "lo": -rng.randrange(100), "hi": rng.randrange(100),
                  "out16": 0}  # fmt: skip
        ctx.set(dut.vector_issue.header, header(Op.VECTOR, **fields))
        ctx.set(dut.vector_issue.start, 1)
        await ctx.tick()
        ctx.set(dut.vector_issue.start, 0)
        self.taken += 1
        await ctx.tick()
        facts, shift = ctx.get(dut.facts), 128 * fields["zero"]
        assert (facts.vector, facts.pool, facts.mode) == (1, 0, 0)
        assert (facts.lo, facts.hi) == (fields["lo"] + shift, fields["hi"] + shift)
        assert ctx.get(dut.at.param) == (self.taken - 1) % PARAM_ENTRIES

    async def load(self, ctx) -> None:
        dut, rng, p = self.dut, self.rng, self.params
        await self.idle(ctx)
        words, base, stride = rng.randint(1, 9), rng.randrange(300), rng.randrange(1, 200)
        fields = {"words": words, "base": pack_address(base, p.banks),
                  "stride": pack_address(stride, p.banks)}  # fmt: skip
        beat = p.beat_words  # whose words follow each other; `stride` leads to the next beat's
        bases = [
            base + k % beat + k // beat * (stride + beat - 1) for k in range(p.max_write_words)
        ]
        self.loads += [(k * beat, bases) for k in range(words)]
        ctx.set(dut.load_issue.header, header(Op.LOAD, **fields))
        ctx.set(dut.load_issue.start, 1)
        await ctx.tick()
        ctx.set(dut.load_issue.start, 0)
        while self.loads:
            assert ctx.get(dut.load_busy)
            ctx.set(dut.load_valid, int(rng.random() < self.pace))
            await ctx.tick()
        ctx.set(dut.load_valid, 0)
        assert not ctx.get(dut.load_busy)

    async def run(self, ctx) -> None:
        for _ in range(18):
            await self.rng.choice([self.walk, self.walk, self.walk, self.vector, self.load])(ctx)
        await self.idle(ctx)
        assert not self.loads
        assert self.released == self.taken - 1
        assert ctx.get(self.dut.param_held)


@pytest.mark.parametrize("pace", [1.0, 0.3])
@pytest.mark.parametrize(
    "params", [SMALL, THREE_MODES, ODD, PAIRS], ids=["two", "three", "odd", "pairs"]
)
def test_programs(params: EngineParams, pace: float) -> None:
    bench = Bench(params, f"{params} {pace}", pace)
    simulate(bench.dut, bench.run, background=[bench.watch])
    assert bench.seen > 100
