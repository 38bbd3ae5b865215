"""FeatureMemory against a flat array: any start bank, stride 1 and 2, byte enables."""

import numpy as np
import pytest
from amaranth.sim import Simulator

from fpga_gen.contract.address import pack_address
from fpga_gen.contract.params import EngineParams
from fpga_gen.hardware.memory.feature_memory import FeatureMemory
from tests.engines import PAIRS, SMALL

WIDE = EngineParams(bank_rows=64, weight_words=64)
WIDE_PAIRS = EngineParams(bank_rows=64, weight_words=64, exit_pixels=2)


@pytest.mark.parametrize(
    "params",
    [SMALL, WIDE, PAIRS, WIDE_PAIRS],
    ids=["4 banks", "24 banks", "4 and 4 banks", "12 and 12 banks"],
)
def test_reads_return_what_was_written(params):
    p = params
    rng = np.random.default_rng(1)
    depth = 12 * p.banks
    model = np.zeros((depth, p.in_channels), dtype=np.uint8)
    dut = FeatureMemory(p, expand=True)

    async def bench(ctx):
        for start in range(0, depth, p.banks):
            order = rng.permutation(p.banks) + start
            rows = [order] if p.exit_pixels == 1 else [order[order % 2 == 0], order[order % 2 == 1]]
            for at in range(0, len(rows[0]), p.row_slots):
                await write(ctx, [row[at : at + p.row_slots] for row in rows], full=True)
        for _ in range(60):
            order = rng.choice(depth // p.banks, 1)[0] * p.banks + rng.permutation(p.banks)
            rows = [order]
            if p.exit_pixels == 2:
                rows = [order[order % 2 == parity] for parity in rng.permutation(2)]
            counts = rng.integers(0 if len(rows) == 2 else 1, p.row_slots + 1, len(rows))
            await write(ctx, [row[:n] for row, n in zip(rows, counts, strict=True)], full=False)
        ctx.set(dut.write.valid, 0)
        await ctx.tick().repeat(dut.write_latency)
        for _ in range(80):
            double = int(rng.integers(2))
            start = int(rng.integers(depth - 2 * p.lanes))
            reader = rng.choice(["beat", "vector", "store"])
            double = double if reader == "beat" else 0
            for name in ("beat", "vector", "store"):
                port = getattr(dut, name)
                # Who reads before the others in a cycle is served.
                later = name == "store" or (name, reader) == ("beat", "vector")
                ctx.set(port.valid, int(name == reader or (later and rng.integers(2))))
                code = pack_address(start if name == reader else int(rng.integers(depth)), p.banks)
                ctx.set(port.address, code)
            ctx.set(dut.beat.double, double)
            assert ctx.get(dut.free) == (reader == "store")
            await ctx.tick()
            ctx.set(dut.beat.valid, 0)
            ctx.set(dut.vector.valid, 0)
            await ctx.tick().repeat(dut.read_latency - 1)
            lanes = p.pixels if double else p.lanes
            for port in (dut.vector, dut.store):
                assert ctx.get(port.data) == ctx.get(dut.lanes) & ((1 << len(port.data)) - 1)
            got = ctx.get(dut.lanes).to_bytes(p.lanes * p.in_channels, "little")
            got = np.frombuffer(got, np.uint8).reshape(p.lanes, p.in_channels)[:lanes]
            np.testing.assert_array_equal(
                got, model[start : start + lanes * (1 + double)][:: 1 + double]
            )

    async def write(ctx, rows, *, full):
        """Words of one step, for every exit pixel those of banks of one parity."""
        valid = 0
        slots = {
            k * p.row_slots + n: word for k, row in enumerate(rows) for n, word in enumerate(row)
        }
        if p.exit_pixels == 2:
            odd = any(word % 2 != (slot >= p.row_slots) for slot, word in slots.items())
            ctx.set(dut.write.odd, (1 << len(dut.write.odd)) - 1 if odd else 0)
        for slot, word in slots.items():
            bytes_ = rng.integers(0, 256, p.in_channels, dtype=np.uint8)
            mask = np.ones(p.in_channels, bool) if full else rng.random(p.in_channels) < 0.5
            model[word][mask] = bytes_[mask]
            valid |= 1 << slot
            ctx.set(dut.write.address[slot], pack_address(int(word), p.banks))
            ctx.set(dut.write.data[slot], int.from_bytes(bytes_.tobytes(), "little"))
            ctx.set(dut.write.bytes[slot], sum(1 << i for i in range(p.in_channels) if mask[i]))
        ctx.set(dut.write.valid, valid)
        await ctx.tick()

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run_until(2e-2)
