"""Beats against the inner loop of isa.py: records given one by one, every reason to wait."""

from __future__ import annotations

import random

import pytest

from fpga_gen.contract.address import pack_address, unpack_address
from fpga_gen.contract.isa import Op
from fpga_gen.contract.params import EngineParams
from fpga_gen.hardware.walk.beats import Beats
from rtl_tests.bench import simulate
from rtl_tests.walks import Beat, Slot, Walk, beats_of, random_walk, slots_of
from tests.engines import SMALL
from tests.schedule.graphs import THREE_MODES

FLAGS = ("first", "shift", "last", "switch", "pad", "pool", "mode", "double")
AGE = 2  # cycles from the start of a slot to its first beat being seen


def record(slot: Slot, banks: int) -> dict:
    tile = {name: value for name, value in vars(slot.tile).items() if name != "pool"}
    return {
        "slot": {
            "address": pack_address(slot.address, banks),
            "dy": slot.dy,
            "dx": slot.dx,
            **slot.flags,
        },
        "final": slot.tile.groups - 1,
        "single": int(slot.tile.groups == 1),
        "tile": {**tile, "base": pack_address(tile["base"], banks)},
    }


class Watcher:
    """Beats as they come out, and the rules of a slot's start."""

    def __init__(self, dut: Beats) -> None:
        self.dut = dut
        self.beats: list[Beat] = []
        self.pushes = self.staged = self.begun = 0
        self.stalls = {"weights": 0, "drain": 0}
        self.position = self.tile_start = 0

    async def run(self, ctx) -> None:
        dut, beat, motion = self.dut, self.dut.beat, self.dut.motion
        now, since = (0, 0, 0), dut.params.slot_minimum
        while True:
            sampled = await ctx.tick().sample(
                beat.valid, beat.t, beat.address, motion.dy, motion.dx, motion.advance,
                motion.restore, motion.commit, motion.reinit, dut.push, dut.records.ready,
                dut.stall_weights, dut.stall_drain, *(getattr(beat, name) for name in FLAGS),
            )  # fmt: skip
            valid, t, address, dy, dx, advance, restore, commit, reinit, push, taken = sampled[2:13]
            weights, drain, *flags = sampled[13:]
            since += 1
            self.stalls["weights"] += weights
            self.stalls["drain"] += drain
            self.pushes += push
            if taken:
                assert since >= dut.params.slot_minimum, "a slot was too short"
                since = 0
            if valid:
                values = dict(zip(FLAGS, flags, strict=True))
                linear = unpack_address(address, dut.params.banks)
                self.beats.append(Beat(linear, *now, t, values))
            now = (dy, dx, self.position)
            assert advance + restore + commit + reinit <= 1
            if restore:
                self.position = self.tile_start
            elif reinit:
                self.position = self.tile_start = 0
            elif advance or commit:
                self.position += 1
                if commit:
                    self.tile_start = self.position


@pytest.mark.parametrize("mood", ["prompt", "records", "weights", "drain", "lanes"])
@pytest.mark.parametrize("params", [SMALL, THREE_MODES], ids=["two-modes", "three-modes"])
def test_beats_of_walks(params: EngineParams, mood: str) -> None:
    """mood: what comes slowly."""
    rng = random.Random(f"{params.lanes} {mood}")
    dut = Beats(params)
    watch = Watcher(dut)
    walks = [random_walk(rng, params) for _ in range(5)]
    credit = [0]

    def slow(name: str) -> bool:
        # A slot lasts many cycles, so weights must be slower than one every few to be waited for.
        return mood == name and rng.random() < (0.99 if name == "weights" else 0.7)

    async def surroundings(ctx) -> None:
        """Weights, lanes and drain at random moments; starts that they forbid are errors."""
        token_age = 9
        while True:
            give = int(credit[0] < 3 and not slow("weights"))
            token = int(slow("drain"))
            ctx.set(dut.credit_add, give)
            ctx.set(dut.motion.ready, int(not slow("lanes")))
            ctx.set(dut.token_valid, token)
            ctx.set(dut.drain_free, int(not slow("drain")))
            *_, taken, last, ready = await ctx.tick().sample(
                dut.records.ready, dut.records.payload.slot.last, dut.motion.ready
            )
            if taken:
                assert ready, "a slot began while the lanes were not ready"
                if last:
                    assert token_age, "a tile's last slot began while a token was waiting"
                if not is_pool[0]:
                    assert credit[0] > 0, "a slot began without its weights"
            token_age = 0 if token else token_age + 1
            credit[0] += give - (taken and not is_pool[0])

    is_pool = [False]

    async def one(ctx, walk: Walk) -> None:
        slots = slots_of(walk, params)
        is_pool[0] = walk.op == Op.POOL
        ctx.set(dut.issue.header, walk.header(params.banks))
        ctx.set(dut.issue.start, 1)
        await ctx.tick()
        ctx.set(dut.issue.start, 0)
        assert ctx.get(dut.busy)
        await ctx.tick().repeat(2)  # the least until the first record
        for slot in slots:
            while slow("records"):
                await ctx.tick()
            ctx.set(dut.records.payload, record(slot, params.banks))
            ctx.set(dut.records.valid, 1)
            taken = 0
            while not taken:
                assert ctx.get(dut.busy)
                *_, taken = await ctx.tick().sample(dut.records.ready)
            ctx.set(dut.records.valid, 0)
        while ctx.get(dut.busy):
            await ctx.tick()
        await ctx.tick().repeat(2)
        want = [beat for slot in slots for beat in beats_of(walk, slot)]
        assert watch.beats == want
        assert watch.pushes == sum(slot.flags["last"] for slot in slots)
        assert (watch.position, watch.tile_start) == (0, 0)
        watch.beats.clear()
        watch.pushes = 0

    async def bench(ctx) -> None:
        for walk in walks:
            await one(ctx, walk)
        for name, cycles in watch.stalls.items():
            assert (cycles > 50) == (mood == name)

    simulate(dut, bench, background=[surroundings, watch.run], limit=40_000)


@pytest.mark.parametrize("asked", [False, True])
def test_a_cycle_is_given_once_for_each_pulse(asked: bool) -> None:
    """Between slots that follow each other without a gap."""
    params = SMALL
    dut = Beats(params)
    rng = random.Random(5)
    walk = next(w for w in iter(lambda: random_walk(rng, params), None) if w.op == Op.CONV)
    slot = slots_of(walk, params)[0]
    groups = params.slot_minimum + 2
    repeated = {**record(slot, params.banks), "final": groups - 1, "single": 0}
    repeated["slot"] |= {"last": 0, "group_end": 0, "end": 0}
    pattern: list[int] = []

    async def monitor(ctx) -> None:
        while True:
            *_, valid = await ctx.tick().sample(dut.beat.valid)
            pattern.append(valid)

    async def bench(ctx) -> None:
        ctx.set(dut.issue.header, walk.header(params.banks))
        for port in (dut.motion.ready, dut.drain_free, dut.credit_add, dut.issue.start):
            ctx.set(port, 1)
        await ctx.tick()
        ctx.set(dut.issue.start, 0)
        ctx.set(dut.records.payload, repeated)
        ctx.set(dut.records.valid, 1)
        await ctx.tick().repeat(2)
        ctx.set(dut.credit_add, 0)
        for n in range(4):
            ctx.set(dut.give_way, int(asked and n == 1))
            ctx.set(dut.credit_add, 1)
            await ctx.tick()
            ctx.set(dut.give_way, 0)
            ctx.set(dut.credit_add, 0)
            await ctx.tick().repeat(groups - 1)

    simulate(dut, bench, background=[monitor])
    text = "".join(map(str, pattern)).strip("0")
    gaps = [len(gap) for gap in text.split("1") if gap]
    assert gaps == ([1] if asked else [])
