"""Words of a LOAD: as they come, and with every fourth one out of the spare bytes of three."""

import numpy as np
import pytest
from amaranth.sim import Simulator

from fpga_gen.contract.isa import Op
from fpga_gen.contract.params import EngineParams
from fpga_gen.hardware.loader.load_unpack import LoadUnpack
from fpga_gen_host.regions import restore_fourth
from rtl_tests.word_memory import header
from tests.engines import SMALL


@pytest.mark.parametrize("params", [SMALL, EngineParams(ports=2)], ids=["small", "full words"])
@pytest.mark.parametrize("seed", range(2))
def test_words(params, seed):
    rng = np.random.default_rng(seed)
    dut = LoadUnpack(params)
    parts, size = params.load_words, params.in_channels
    loads = []  # (packed, words in, words out)
    for packed, count in ((1, 9), (0, 5), (1, 7), (1, 8), (0, 1), (1, 1)):
        sent = count - count // 4 * packed
        words = rng.integers(0, 256, (parts, sent, size)).astype(np.uint8)
        loads.append((packed, words, restore_fourth(words, count) if packed else words))
    got = []

    async def feed(ctx):
        for _, words, _ in loads:
            for i in range(words.shape[1]):
                while rng.random() < 0.3:
                    await ctx.tick()
                ctx.set(dut.words.payload, int.from_bytes(words[:, i].tobytes(), "little"))
                ctx.set(dut.words.valid, 1)
                await ctx.tick().until(dut.words.ready)
                ctx.set(dut.words.valid, 0)

    async def run(ctx):
        for packed, _, words in loads:
            ctx.set(dut.issue.header, header(Op.LOAD, packed=packed))
            ctx.set(dut.issue.start, 1)
            await ctx.tick()
            ctx.set(dut.issue.start, 0)
            await ctx.tick()
            part = []
            while len(part) < words.shape[1]:
                ctx.set(dut.out.ready, int(rng.random() < 0.7))
                _, _, valid, ready, data = await ctx.tick().sample(
                    dut.out.valid, dut.out.ready, dut.out.payload
                )
                if valid and ready:
                    part.append(data)
            ctx.set(dut.out.ready, 0)
            raw = b"".join(int(v).to_bytes(params.stream_bits // 8, "little") for v in part)
            got.append(np.frombuffer(raw, np.uint8).reshape(-1, parts, size).transpose(1, 0, 2))

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(feed, background=True)
    simulator.add_testbench(run)
    simulator.run_until(1e-3)
    assert len(got) == len(loads)
    used = size * 3 // 4
    for (packed, _, want), words in zip(loads, got, strict=True):
        lanes = slice(0, used if packed else size)
        np.testing.assert_array_equal(words[..., lanes], want[..., lanes])
