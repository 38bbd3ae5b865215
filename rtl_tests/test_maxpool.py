"""MaxPoolUnit against numpy: signed maximum, random gaps, drain of every lane."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from amaranth.sim import Simulator

from fpga_gen.hardware.array.mac_array import MacArray
from fpga_gen.hardware.results.maxpool import MaxPoolUnit
from tests.engines import SMALL

WIDE = replace(SMALL, pixels=4)
ODD = replace(SMALL, pixels=3)


@pytest.mark.parametrize("gap", [0.0, 0.3])
@pytest.mark.parametrize("params", [SMALL, WIDE, ODD], ids=["two", "four", "three"])
def test_tiles(params, gap):
    rng = np.random.default_rng(3)
    p, depth = params, 12
    pool = MaxPoolUnit(p)
    expected, beats = [], []
    for taps in (9, 4, 1):
        acts = rng.integers(-128, 128, (taps, depth, p.pixels, p.in_channels))
        acts[rng.random(acts.shape) < 0.2] = -128
        expected.append(acts.max(axis=0))
        beats += [(acts[k, t], t, k == 0, k == taps - 1) for k in range(taps) for t in range(depth)]
        beats += [None] * (depth * p.pixels + 8)  # the drain ends before the next `last`
    order = [(tile, t) for tile in range(3) for t in range(depth)]
    wanted: list[tuple[int, int, int]] = []
    done = checked = 0

    async def drive(ctx):
        async def step(following, valid: int) -> None:
            """One cycle; the t of the beat that follows comes a cycle ahead of it."""
            ctx.set(pool.beat.valid, valid)
            ctx.set(pool.beat.t, following[1] if following else int(rng.integers(depth)))
            await ctx.tick()

        for beat, following in pairwise([None, *beats, None]):
            if beat:
                act, _, first, last = beat
                ctx.set(pool.beat.act, int.from_bytes(act.astype(np.int8).tobytes(), "little"))
                ctx.set(pool.beat.first, int(first))
                ctx.set(pool.beat.last, int(last))
            pause = following and rng.random() < gap
            await step(None if pause else following, int(beat is not None))
            while pause:
                pause = rng.random() < gap
                ctx.set(pool.beat.act, int(rng.integers(1 << 60)))
                await step(None if pause else following, 0)

    async def watch(ctx):
        nonlocal done, checked
        answers: list = [None] * pool.drain_latency
        while True:
            if ctx.get(pool.done.valid):
                tile, t = order[done]
                assert ctx.get(pool.done.t) == t
                wanted.extend((tile, t, lane) for lane in range(0, p.pixels, p.pool_pixels))
                done += 1
            request = wanted.pop(0) if wanted else None
            if request:
                ctx.set(pool.drain.t, request[1])
                ctx.set(pool.drain.lane, request[2])
            answers.append(request)
            answer = answers.pop(0)
            if answer:
                tile, t, lane = answer
                want = int.from_bytes(
                    expected[tile][t, lane : lane + p.pool_pixels].astype(np.int8).tobytes(),
                    "little",
                )
                assert ctx.get(pool.drain.data) == want, answer
                checked += p.pool_pixels
            await ctx.tick()

    sim = Simulator(pool)
    sim.add_clock(1e-6)
    sim.add_testbench(drive)
    sim.add_testbench(watch, background=True)
    sim.run()
    assert done == len(order)
    assert checked == len(order) * p.pixels


def test_drains_like_the_array():
    """The exit path reads both with one schedule."""
    assert MaxPoolUnit(SMALL).drain_latency == MacArray(SMALL).drain_latency
