"""Amaranth-simulator helpers: a cycle limit, streams with random gaps."""

from __future__ import annotations

import random

from amaranth.sim import Simulator

CYCLE_LIMIT = 20_000


def simulate(dut, *testbenches, background=(), limit: int = CYCLE_LIMIT) -> None:
    """Run until every testbench ends; AssertionError if that takes more than `limit` cycles."""
    sim = Simulator(dut)
    sim.add_clock(1e-6)
    for bench in background:  # first: their models are up to date when a bench looks
        sim.add_testbench(bench, background=True)
    for bench in testbenches:
        sim.add_testbench(bench)

    async def watchdog(ctx):
        for _ in range(limit):  # a pending repeat() cannot be closed
            await ctx.tick()
        raise AssertionError(f"no end after {limit} cycles")

    sim.add_testbench(watchdog, background=True)
    sim.run()


async def send(ctx, stream, values, rng: random.Random, gap: float = 0.3) -> None:
    """Offer `values` one after the other, each after a random pause."""
    for value in values:
        while rng.random() < gap:
            await ctx.tick()
        ctx.set(stream.payload, value)
        ctx.set(stream.valid, 1)
        ready = 0
        while not ready:
            *_, ready = await ctx.tick().sample(stream.ready)
        ctx.set(stream.valid, 0)


async def receive(ctx, stream, count: int, rng: random.Random, gap: float = 0.3) -> list[int]:
    """The next `count` payloads as integers, ready falling at random."""
    out = []
    while len(out) < count:
        ready = rng.random() >= gap
        ctx.set(stream.ready, ready)
        *_, valid, payload = await ctx.tick().sample(stream.valid, stream.payload)
        if valid and ready:
            out.append(payload)
    ctx.set(stream.ready, 0)
    return out


def collector(stream, got: list, rng: random.Random, gap: float = 0.3):
    """Testbench: every payload into `got`, ready falling at random."""

    async def run(ctx) -> None:
        while True:
            got.extend(await receive(ctx, stream, 1, rng, gap))

    return run
