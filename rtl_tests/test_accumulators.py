"""Accumulators against numpy: shift8, wrap, gaps, the exact cycles of the contract."""

from __future__ import annotations

import numpy as np
import pytest
from amaranth.sim import Simulator

from fpga_gen.hardware.array.accumulators import Accumulators

COLUMNS, DEPTH = 3, 16


def pack(values, bits: int) -> int:
    return sum((int(v) & ((1 << bits) - 1)) << (bits * n) for n, v in enumerate(values))


def run(beats: list[dict | None], requests: dict[int, int]) -> dict[int, list[int]]:
    """beats[n]: the beat of cycle n or a gap; requests {cycle: t} -> {cycle: drained sums}."""
    dut = Accumulators(COLUMNS, DEPTH)
    out = {}
    rng = np.random.default_rng(0)

    async def bench(ctx):
        length = max(len(beats), max(requests, default=0)) + 8
        for cycle in range(length):
            beat = beats[cycle] if cycle < len(beats) else None
            ctx.set(dut.valid, int(beat is not None))
            for name in ("t", "first", "shift8", "last"):
                # a gap carries noise: only `valid` may matter
                value = beat[name] if beat else int(rng.integers(16 if name == "t" else 2))
                ctx.set(getattr(dut, name), value)
            lead = cycle - dut.control_lead
            dots = beats[lead]["dots"] if 0 <= lead < len(beats) and beats[lead] else [99] * COLUMNS
            ctx.set(dut.dots, pack(dots, 20))
            ctx.set(dut.drain_en, int(cycle in requests))
            ctx.set(dut.drain_t, requests.get(cycle, int(rng.integers(DEPTH))))
            if cycle - dut.read_latency in requests:
                word = ctx.get(dut.drain)
                out[cycle - dut.read_latency] = [
                    (word >> (32 * c)) & 0xFFFFFFFF for c in range(COLUMNS)
                ]
            await ctx.tick()

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(bench)
    sim.run()
    return out


def beat(t, dots, first=0, shift8=0, last=0) -> dict:
    return {"t": t, "dots": dots, "first": first, "shift8": shift8, "last": last}


@pytest.mark.parametrize("gap", [0.0, 0.4])
def test_random_tiles(gap):
    rng = np.random.default_rng(7)
    beats: list[dict | None] = []
    sums = np.zeros((DEPTH, COLUMNS), np.int64)
    rounds, depth = 6, 9
    for k in range(rounds):
        for t in range(depth):
            while rng.random() < gap:
                beats.append(None)
            dots = rng.integers(-(2**19), 2**19, COLUMNS)
            shift8 = int(rng.random() < 0.5)
            kept = np.zeros(COLUMNS, np.int64) if k == 0 else sums[t] << (8 * shift8)
            sums[t] = (kept + dots + 2**31) % 2**32 - 2**31
            beats.append(beat(t, dots, int(k == 0), shift8, int(k == rounds - 1)))
    start = len(beats) + 5
    out = run(beats, {start + t: t for t in range(depth)})
    for t in range(depth):
        assert out[start + t] == (sums[t] & 0xFFFFFFFF).tolist(), t


def test_recurrence_write_latency_and_overwrite():
    """One t every `recurrence` cycles; a request is old one cycle before the promised one."""
    gap = [None] * (Accumulators.recurrence - 1)
    beats = [beat(5, [1, 2, 3], first=1), *gap, beat(5, [10, 20, 30]), *gap]
    beats += [beat(5, [100, 200, 300], last=1), *gap, *[None] * 4]
    done = 2 * Accumulators.recurrence + Accumulators.control_lead + Accumulators.write_latency
    later = len(beats)
    beats += [beat(5, [7, 7, 7], first=1, last=1)]
    renewed = later + Accumulators.control_lead + Accumulators.write_latency
    out = run(beats, {done: 5, renewed - 1: 5, renewed: 5})
    assert out[done] == [111, 222, 333]
    assert out[renewed - 1] == [111, 222, 333]
    assert out[renewed] == [7, 7, 7]


def test_without_last_nothing_reaches_the_drain():
    beats = [beat(1, [4, 5, 6], first=1, last=1), *[None] * 4, beat(1, [9, 9, 9], first=1)]
    assert run(beats, {12: 1})[12] == [4, 5, 6]
