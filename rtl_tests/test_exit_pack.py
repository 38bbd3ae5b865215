"""ExitPack against bytes placed one by one: modes, offsets, byte planes, max-pool, LOAD words."""

from __future__ import annotations

import random
from collections import deque

import pytest

from fpga_gen.contract.address import ADDRESS_BITS, pack_address
from fpga_gen.contract.latencies import PACK_LATENCY
from fpga_gen.contract.params import EngineParams
from fpga_gen.hardware.results.exit_address import slot_source
from fpga_gen.hardware.results.exit_pack import EARLY, ExitPack
from rtl_tests.bench import simulate
from tests.engines import PAIRS, SMALL
from tests.schedule.graphs import DOUBLE_CLOCK, THREE_MODES

WIDE_PAIRS = EngineParams(exit_pixels=2)
LOAD_STAGES = 2  # from a LOAD word to its write


class Step:
    """Random results of one exit step, or a LOAD word, and the writes that they should be."""

    def __init__(self, params: EngineParams, rng: random.Random, facts: dict) -> None:
        p = self.params = params
        self.values = [rng.randrange(-32768, 32768) for _ in range(p.requant_lanes)]
        self.maxima = rng.getrandbits(p.pool_pixels * p.word_bits)
        self.result = {
            "valid": 1,
            "address": [rng.getrandbits(ADDRESS_BITS) for _ in range(p.write_slots)],
            "enable": sum(  # never of a slot that the mode does not use
                1 << slot
                for slot in range(p.write_slots)
                if slot_source(p, facts["mode"] + 1, slot) and rng.random() < 0.7
            ),
            "offset": rng.randrange(p.in_channels),
            "channels": rng.randint(1, p.group_channels(facts["mode"] + 1)),
            "high": facts["out16"] and rng.randrange(2),
        }
        if facts["pool"]:
            self.result |= {"offset": 0, "channels": p.pool_pixels // p.exit_pixels * p.in_channels}

    def writes(self, facts: dict) -> dict[int, tuple]:
        """{slot: (address, {byte: value})}."""
        p, out = self.params, {}
        for slot in range(p.write_slots):
            source = slot_source(p, facts["mode"] + 1, slot)
            if not self.result["enable"] >> slot & 1:
                continue
            assert source is not None
            group, word = source
            chosen = {}
            for byte in range(p.in_channels):
                channel = word * p.in_channels + byte - self.result["offset"]
                if 0 <= channel < self.result["channels"]:
                    chosen[byte] = self._byte(slot // p.row_slots, group, channel, facts)
            if chosen:
                out[slot] = self.result["address"][slot], chosen
        return out

    def _byte(self, row: int, group: int, channel: int, facts: dict) -> int:
        p = self.params
        if facts["pool"]:
            return self.maxima >> 8 * (row * p.in_channels + channel) & 255
        column = group * p.group_channels(facts["mode"] + 1) + channel
        value = self.values[row * p.row_lanes + column]
        if self.result["high"]:
            return value >> 8 & 255
        return (value & 255) ^ (128 if facts["out16"] else 0)


class Load:
    """A LOAD word."""

    def __init__(self, params: EngineParams, rng: random.Random) -> None:
        self.params = params
        self.pixel = rng.randrange(200)
        self.data = rng.getrandbits(params.stream_bits)

    def writes(self, bases: list[int]) -> dict[int, tuple]:
        p, mask = self.params, (1 << self.params.word_bits) - 1
        words = [self.data >> k * p.word_bits & mask for k in range(p.load_words)]
        return {
            p.load_slot(k): (
                pack_address(bases[k] + self.pixel, p.banks),
                {byte: word >> 8 * byte & 255 for byte in range(p.in_channels)},
            )
            for k, word in enumerate(words)
        }


def random_facts(params: EngineParams, rng: random.Random, kind: str) -> dict:
    bases = [rng.randrange(500) for _ in range(params.max_write_words)]
    mode = 0 if kind == "pool" else rng.choice(params.modes) - 1
    return {"mode": mode, "pool": int(kind == "pool"), "linear": bases,
            "out16": int(kind == "tile" and rng.randrange(2))}  # fmt: skip


@pytest.mark.parametrize("pace", [1.0, 0.5])
@pytest.mark.parametrize(
    "params",
    [SMALL, THREE_MODES, DOUBLE_CLOCK, PAIRS, WIDE_PAIRS],
    ids=["two-modes", "three-modes", "16 channels", "pairs", "wide-pairs"],
)
def test_steps(params: EngineParams, pace: float) -> None:
    rng = random.Random(f"{params} {pace}")
    dut = ExitPack(params)
    expected: deque[dict[int, tuple]] = deque()  # of the cycles to come
    checked = 0

    async def cycle(ctx, step: Step | Load | None, ahead: list[Step | Load | None]) -> None:
        """One cycle with `step`; ahead[k] comes k + 1 cycles later."""
        result = dict(step.result) if isinstance(step, Step) else {"valid": 0}
        for name in ("high", "offset", "channels"):
            coming = ahead[EARLY[name] - 1]
            noise = rng.randrange(4)
            result[name] = coming.result[name] if isinstance(coming, Step) else noise & 1
        ctx.set(dut.result, result)
        if isinstance(step, Step):
            ctx.set(dut.values, step.values)
            ctx.set(dut.maxima, step.maxima)
        ctx.set(dut.load_valid, int(isinstance(step, Load)))
        if isinstance(step, Load):
            ctx.set(dut.load_pixel, pack_address(step.pixel, params.banks))
            ctx.set(dut.load_data, step.data)
        await ctx.tick()

    async def check(ctx) -> None:
        nonlocal checked
        while True:
            want = expected.popleft() if expected else {}
            valid, write = ctx.get(dut.write.valid), dut.write
            assert valid == sum(1 << slot for slot in want)
            for slot, (address, chosen) in want.items():
                assert ctx.get(write.address[slot]) == address
                assert ctx.get(write.bytes[slot]) == sum(1 << byte for byte in chosen)
                data = ctx.get(write.data[slot])
                assert {byte: data >> 8 * byte & 255 for byte in chosen} == chosen
                checked += 1
            await ctx.tick()

    async def bench(ctx) -> None:
        for kind in ("tile", "load", "pool", "tile", "tile", "load", "tile") * 2:
            facts = random_facts(params, rng, kind)
            codes = [pack_address(base, params.banks) for base in facts["linear"]]
            named = {name: value for name, value in facts.items() if name != "linear"}
            ctx.set(dut.facts, {**named, "bases": codes})
            for _ in range(4):  # facts are there before the first step
                expected.append({})
                await cycle(ctx, None, [None, None])
            steps: list[Step | Load | None] = []
            for _ in range(12):
                while rng.random() > pace:
                    steps.append(None)
                new = Load(params, rng) if kind == "load" else Step(params, rng, facts)
                steps.append(new)
            stages = LOAD_STAGES if kind == "load" else PACK_LATENCY
            coming: deque[dict[int, tuple]] = deque([{}] * (stages - 1))
            padded = [None, None, *steps, *[None] * 8]
            for n, step in enumerate(padded):
                want = {}
                if isinstance(step, Step):
                    want = step.writes(facts)
                elif isinstance(step, Load):
                    want = step.writes(facts["linear"])
                coming.append(want)
                expected.append(coming.popleft())
                await cycle(ctx, step, [*padded[n + 1 : n + 3], None, None])

    # A write is seen after the edge that ends its cycle: one cycle is in `expected` itself.
    expected.append({})
    simulate(dut, bench, background=[check])
    assert checked > 150
