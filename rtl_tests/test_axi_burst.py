"""BurstPlanner: exact coverage of a transfer, boundaries and the window check at its edges."""

from __future__ import annotations

import random

import pytest

from fpga_gen.hardware.shell.axi_burst import BurstPlanner
from rtl_tests.bench import simulate

TOP = (1 << 36) - 1


def plan(transfers, windows, seed=0, cycles=None):
    """([(address, beats)], violation) for transfers in beats."""
    rng = random.Random(seed)
    dut = BurstPlanner(windows=2)
    bursts: list[tuple[int, int]] = []
    wanted = sum(beats for _, beats in transfers)
    result = []

    async def give(ctx):
        for k, (base, limit) in enumerate(windows):
            ctx.set(dut.windows[k].base, base)
            ctx.set(dut.windows[k].limit, limit)
        for address, beats in transfers:
            ctx.set(dut.transfer.payload, {"address": address, "beats": beats})
            ctx.set(dut.transfer.valid, 1)
            ready = 0
            while not ready:
                *_, ready = await ctx.tick().sample(dut.transfer.ready)
            ctx.set(dut.transfer.valid, 0)

    async def take(ctx):
        for _ in range(cycles or 5000):
            ready = rng.random() < 0.7
            ctx.set(dut.burst.ready, ready)
            *_, valid, address, beats = await ctx.tick().sample(
                dut.burst.valid, dut.burst.p.address, dut.burst.p.beats
            )
            if valid and ready:
                bursts.append((address, beats))
            if not cycles and sum(n for _, n in bursts) >= wanted:
                break
        await ctx.tick().repeat(8)
        result.append(ctx.get(dut.violation))
        assert ctx.get(dut.busy) == ctx.get(dut.violation)

    simulate(dut, give, take)
    return bursts, result[0]


@pytest.mark.parametrize("seed", range(5))
def test_bursts_cover_the_transfer(seed):
    rng = random.Random(seed)
    transfers = [(rng.randrange(10_000), rng.choice([0, 1, 63, 64, 65, 1000])) for _ in range(6)]
    bursts, violation = plan(transfers, [(0, 20_000)], seed)
    assert not violation
    covered = [a + i for a, n in bursts for i in range(n)]
    assert covered == [a + i for a, beats in transfers for i in range(beats)]
    for address, beats in bursts:
        assert 1 <= beats <= 64
        assert address // 256 == (address + beats - 1) // 256  # 256 beats are 4 KB


@pytest.mark.parametrize(
    ("address", "beats", "legal"),
    [
        (100, 1, True),
        (100, 100, True),
        (199, 1, True),
        (99, 1, False),
        (100, 101, False),
        (200, 1, False),
        (500, 20, True),
        (500, 21, False),
        (150, 370, False),  # begins in one window and ends in the other
        (TOP, 2, False),  # wraps around
        (TOP, 0xFFFFFF, False),
    ],
)
def test_window_edges(address, beats, legal):
    bursts, violation = plan([(address, beats)], [(100, 200), (500, 520)], cycles=60)
    assert violation == (not legal)
    assert sum(n for _, n in bursts) == (beats if legal else 0)


def test_windows_are_closed_after_reset():
    bursts, violation = plan([(0, 1)], [], cycles=30)
    assert violation
    assert bursts == []
