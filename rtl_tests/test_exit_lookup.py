"""Tables of the exit path: values through random tables, filled while others are in use."""

from __future__ import annotations

import random

import pytest

from fpga_gen.contract.isa import MAX_LOOKUP, TABLE_ENTRIES
from fpga_gen.contract.latencies import LOOKUP_LATENCY
from fpga_gen.contract.params import EngineParams
from fpga_gen.hardware.common.joints import LOOKUP_BITS, LOOKUP_WORDS
from fpga_gen.hardware.results.exit_lookup import ExitLookup
from rtl_tests.bench import simulate
from tests.engines import TABLES

SETTLE = 8  # cycles between instructions, and from a table's last word to its first use


@pytest.mark.parametrize("params", [TABLES, EngineParams(activations=True)], ids=["8", "42"])
def test_values(params: EngineParams) -> None:
    dut = ExitLookup(params, expand=True)
    rng = random.Random(params.columns)
    tables = [[rng.randrange(256) for _ in range(TABLE_ENTRIES)] for _ in range(MAX_LOOKUP + 1)]

    async def fill(ctx, number: int) -> None:
        for word in range(LOOKUP_WORDS):
            size = LOOKUP_BITS // 8
            entries = tables[number][word * size : (word + 1) * size]
            for port, value in (
                (dut.write.valid, 1), (dut.write.lookup, number), (dut.write.word, word),
                (dut.write.data, int.from_bytes(bytes(entries), "little")),
            ):  # fmt: skip
                ctx.set(port, value)
            await ctx.tick()
            ctx.set(dut.write.valid, 0)
            for port in (dut.write.lookup, dut.write.word, dut.write.data):
                ctx.set(port, rng.getrandbits(32) % (1 << len(port)))
            if rng.random() < 0.2:
                await ctx.tick()

    async def use(ctx, number: int, steps: int) -> None:
        """Results of one instruction."""
        ctx.set(dut.lookup, number)
        await ctx.tick().repeat(SETTLE)
        sent: list[list[int]] = []
        for step in range(steps + LOOKUP_LATENCY):
            top = 1 << 15 if number == 0 else 1 << 7
            values = [rng.randrange(-top, top) for _ in range(params.requant_lanes)]
            sent.append(values)
            for lane, value in enumerate(values):
                ctx.set(dut.values[lane], value)
            await ctx.tick()
            if step >= LOOKUP_LATENCY - 1:
                want = sent[step - LOOKUP_LATENCY + 1]
                if number:
                    want = [tables[number][v % 256] for v in want]
                    want = [v - 256 if v > 127 else v for v in want]
                assert [ctx.get(dut.results[k]) for k in range(len(want))] == want

    async def filling(ctx) -> None:
        for number in range(1, MAX_LOOKUP + 1):
            await fill(ctx, number)

    async def using(ctx) -> None:
        await use(ctx, 0, 5)
        await ctx.tick().repeat(2 * LOOKUP_WORDS)
        for number in (1, 2, 1, 0, 3):  # while the ones behind are being filled
            await use(ctx, number, 40)
        await ctx.tick().repeat(2 * MAX_LOOKUP * LOOKUP_WORDS)
        for number in (7, 0, 4, 5, 6, 7):
            await use(ctx, number, 40)

    simulate(dut, filling, using)
