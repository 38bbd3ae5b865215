"""FeatureMemory against a flat array: any start bank, stride 1 and 2, byte enables."""

import numpy as np
import pytest
from amaranth.sim import Simulator

from fpga_gen.contract.address import pack_address
from fpga_gen.contract.params import EngineParams
from fpga_gen.hardware.memory.feature_memory import FeatureMemory
from tests.engines import SMALL

WIDE = EngineParams(bank_rows=64, weight_words=64)


@pytest.mark.parametrize("params", [SMALL, WIDE], ids=["4 banks", "24 banks"])
def test_reads_return_what_was_written(params):
    p = params
    rng = np.random.default_rng(1)
    depth = 12 * p.banks
    model = np.zeros((depth, p.in_channels), dtype=np.uint8)
    dut = FeatureMemory(p, expand=True)

    async def bench(ctx):
        for start in range(0, depth, p.banks):
            order = rng.permutation(p.banks) + start
            for at in range(0, p.banks, p.write_slots):
                await write(ctx, order[at : at + p.write_slots], full=True)
        for _ in range(60):
            chosen = rng.choice(depth // p.banks, 1)[0] * p.banks + rng.permutation(p.banks)
            await write(ctx, chosen[: rng.integers(1, p.write_slots + 1)], full=False)
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

    async def write(ctx, linear, *, full):
        valid = 0
        for slot, word in enumerate(linear):
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
