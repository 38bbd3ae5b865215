"""StreamDma: ports in lock-step against independent memories."""

from __future__ import annotations

import random
from types import SimpleNamespace

import pytest

from fpga_gen.hardware.shell.axi_names import READ
from fpga_gen.hardware.shell.stream_dma import StreamDma
from rtl_tests.axi_bench import BYTES, ReadMemory, beat_value, open_windows
from rtl_tests.bench import receive, send, simulate

WINDOW = (0x10_0000, 0x40_0000)


def pins(dut, port: int) -> SimpleNamespace:
    return SimpleNamespace(**{name: getattr(dut, f"m_axi_{port}_{name}") for name in READ})


def region(address: int, words: int) -> dict[str, int]:
    return {"address": address // BYTES, "beats": words}


def expected(descriptors, ports: int) -> list[int]:
    return [
        sum(
            beat_value((d["address"] + k * d["beats"] + i) * BYTES) << 128 * k for k in range(ports)
        )
        for d in descriptors
        for i in range(d["beats"])
    ]


@pytest.mark.parametrize("ports", [1, 2, 4])
def test_words_of_all_ports(ports):
    rng = random.Random(ports)
    dut = StreamDma(ports=ports, depth=128)
    memories = [ReadMemory(pins(dut, k), rng, gap=0.1 + 0.1 * k) for k in range(ports)]
    descriptors = [
        region(WINDOW[0] + BYTES * rng.randrange(9000), rng.choice([0, 1, 3, 8, 64, 130]))
        for _ in range(40)  # more than the queue holds
    ]
    want = expected(descriptors, ports)

    async def produce(ctx):
        open_windows(ctx, dut.windows, WINDOW)
        await send(ctx, dut.descriptor, descriptors, rng, gap=0)

    async def consume(ctx):
        assert await receive(ctx, dut.words, len(want), rng) == want
        await ctx.tick().repeat(5)
        assert ctx.get(dut.idle)
        assert ctx.get(dut.violation) == 0

    simulate(dut, produce, consume, background=[m.run for m in memories])


def test_no_bubbles_between_descriptors():
    rng = random.Random(9)
    dut = StreamDma(ports=4)
    memories = [ReadMemory(pins(dut, k), rng, gap=0.0, latency=0) for k in range(4)]
    descriptors = [region(WINDOW[0] + 0x1000 * i, 16) for i in range(20)]

    async def bench(ctx):
        open_windows(ctx, dut.windows, WINDOW)
        await send(ctx, dut.descriptor, descriptors, rng, gap=0)
        ctx.set(dut.words.ready, 1)
        valid = 0
        while not valid:
            *_, valid = await ctx.tick().sample(dut.words.valid)
        for _ in range(20 * 16 - 1):
            *_, valid = await ctx.tick().sample(dut.words.valid)
            assert valid, "a bubble"

    simulate(dut, bench, background=[m.run for m in memories])


def test_errors_name_the_port():
    rng = random.Random(3)
    dut = StreamDma(ports=2, depth=128)
    bad = WINDOW[0] + 12 * BYTES  # beat 2 of port 1
    memories = [ReadMemory(pins(dut, k), rng, bad=range(bad, bad + 1)) for k in range(2)]

    async def bench(ctx):
        open_windows(ctx, dut.windows, WINDOW)
        await send(ctx, dut.descriptor, [region(WINDOW[0], 10)], rng)
        await receive(ctx, dut.words, 10, rng)
        assert ctx.get(dut.failed) == 0b10
        assert ctx.get(dut.failed_response) == 0b1000
        # port 1 alone leaves the window: 100 words from 150 beats below its end
        await send(ctx, dut.descriptor, [region(WINDOW[1] - 150 * BYTES, 100)], rng)
        await ctx.tick().repeat(40)
        assert ctx.get(dut.violation) == 0b10
        assert len(memories[1].bursts) == 1

    simulate(dut, bench, background=[m.run for m in memories])


@pytest.mark.parametrize("wait", [1, 4, 10, 60])
def test_flush_empties_everything(wait):
    rng = random.Random(wait)
    dut = StreamDma(ports=2, depth=128)
    memories = [ReadMemory(pins(dut, k), rng, latency=60) for k in range(2)]

    async def bench(ctx):
        open_windows(ctx, dut.windows, WINDOW)
        old = [region(WINDOW[0] + 0x1000 * i, 40) for i in range(10)]
        await send(ctx, dut.descriptor, old, rng, gap=0)
        await ctx.tick().repeat(wait)
        ctx.set(dut.flush, 1)
        await ctx.tick().repeat(4)
        while not ctx.get(dut.idle):
            await ctx.tick()
        assert [m.outstanding for m in memories] == [0, 0]
        ctx.set(dut.flush, 0)
        good = [region(WINDOW[0] + 0x20000, 33)]
        await send(ctx, dut.descriptor, good, rng)
        assert await receive(ctx, dut.words, 33, rng) == expected(good, 2)

    simulate(dut, bench, background=[m.run for m in memories])
