"""StoreUnit against the words it should send: order, beats, back-pressure, several STOREs."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from fpga_gen.hardware.params import PORT_BITS, SMALL
from fpga_gen.hardware.store import FIFO_DEPTH, StoreUnit
from fpga_gen.isa import Op
from rtl_tests.axi_bench import simulate
from rtl_tests.word_memory import WordMemory, header
from tests.schedule.graphs import THREE_MODES

READ_LATENCY = 4
SIXTEEN = replace(SMALL, in_channels=16)  # one memory word is one beat


def sink(dut, kind: str, fields: tuple[str, ...], rng: random.Random, gap: float, out: list):
    """Takes <kind>_valid/_ready transfers at random moments into `out`."""
    valid, ready = getattr(dut, f"{kind}_valid"), getattr(dut, f"{kind}_ready")
    payload = [getattr(dut, name) for name in fields]

    async def run(ctx) -> None:
        while True:
            offer = rng.random() >= gap
            ctx.set(ready, offer)
            _, _, there, *values = await ctx.tick().sample(valid, *payload)
            if there and offer:
                out.append(tuple(values))

    return run


@pytest.mark.parametrize("gap", [0.0, 0.4, 0.9])
@pytest.mark.parametrize("params", [SMALL, THREE_MODES, SIXTEEN], ids=["4", "8", "16"])
def test_stores(params, gap):
    rng = random.Random(f"{params} {gap}")
    dut = StoreUnit(params, read_latency=READ_LATENCY)
    memory = WordMemory(params, 600, seed=1)
    per_beat = PORT_BITS // params.word_bits
    beats: list[tuple[int]] = []
    commands: list[tuple[int, int]] = []
    # One beat, fewer and more than the FIFO holds.
    lengths = [per_beat, 3 * per_beat, per_beat * (FIFO_DEPTH + 9), 2 * per_beat]
    stores = [(rng.randrange(600 - n), n, rng.randrange(1 << 32)) for n in lengths]

    async def bench(ctx):
        for base, words, offset in stores:
            fields = {"words": words, "base": memory.code(base), "offset": offset}
            ctx.set(dut.header, header(Op.STORE, **fields))
            ctx.set(dut.start, 1)
            await ctx.tick()
            ctx.set(dut.start, 0)
            assert ctx.get(dut.busy)
            while ctx.get(dut.busy):
                await ctx.tick()
            # Not busy: the last beat has been taken.
            assert len(beats) == sum(n for _, n, _ in stores[: len(commands)]) // per_beat

    background = [
        memory.reader(dut, READ_LATENCY),
        sink(dut, "command", ("command_offset", "command_beats"), rng, gap, commands),
        sink(dut, "data", ("data",), rng, gap, beats),
    ]
    simulate(dut, bench, background=background)
    assert commands == [(offset, words // per_beat) for _, words, offset in stores]
    expected = b"".join(memory.data[base : base + words].tobytes() for base, words, _ in stores)
    assert b"".join(beat.to_bytes(16, "little") for (beat,) in beats) == expected


def test_one_word_per_cycle():
    """While the write port keeps up, a STORE takes a cycle per word and a few more."""
    dut = StoreUnit(SMALL, read_latency=READ_LATENCY)
    memory = WordMemory(SMALL, 600, seed=2)
    rng, words, taken, beats = random.Random(1), 400, [], []

    async def bench(ctx):
        ctx.set(dut.header, header(Op.STORE, words=words, base=0, offset=0))
        ctx.set(dut.start, 1)
        await ctx.tick()
        ctx.set(dut.start, 0)
        cycles = 0
        while ctx.get(dut.busy):
            await ctx.tick()
            cycles += 1
        assert words <= cycles <= words + READ_LATENCY + 8

    simulate(
        dut,
        bench,
        background=[
            memory.reader(dut, READ_LATENCY),
            sink(dut, "command", ("command_beats",), rng, 0.0, taken),
            sink(dut, "data", ("data",), rng, 0.0, beats),
        ],
    )
    assert taken == [(words // 4,)]
    assert len(beats) == words // 4
