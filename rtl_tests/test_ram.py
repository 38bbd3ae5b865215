"""Ram: the Python twin keeps the template's contract; the template itself runs in every network."""

import numpy as np
import pytest
from amaranth.sim import Simulator

from fpga_gen.hardware.common.ram import Ram, RamShape

SHAPES = [
    RamShape(32, 16, "block"),
    RamShape(32, 16, "ultra", lanes=4, registered=True),
    RamShape(24, 4, "distributed", lanes=3),
    RamShape(300, 4, "distributed"),  # three parts
]


@pytest.mark.parametrize("shape", SHAPES, ids=lambda s: s.name)
def test_reads_old_data_and_writes_lanes(shape):
    rng = np.random.default_rng(0)
    dut = Ram(shape)
    part = shape.width // shape.lanes
    model = [0] * shape.depth
    expected: list[int] = []

    async def bench(ctx):
        for step in range(200):
            read, write = (int(v) for v in rng.integers(0, shape.depth, 2))
            data = int.from_bytes(rng.bytes(shape.width // 8 + 1), "little") % (1 << shape.width)
            enable = int(rng.integers(0, 1 << shape.lanes))
            for name, value in (("r_addr", read), ("w_addr", write), ("w_data", data)):
                ctx.set(getattr(dut, name), value)
            ctx.set(dut.w_en, enable)
            expected.append(model[read])
            mask = sum(((1 << part) - 1) << part * i for i in range(shape.lanes) if enable >> i & 1)
            model[write] = (model[write] & ~mask) | (data & mask)
            await ctx.tick()
            if step >= shape.read_latency - 1:
                assert ctx.get(dut.r_data) == expected[step - shape.read_latency + 1]

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run_until(1e-3)


def test_template_has_the_twins_ports_and_no_initial_values():
    for shape in SHAPES:
        text = shape.verilog()
        assert f"module {shape.name} (" in text
        assert "initial" not in text
        assert all(f" {pin}" in text for pin in shape.signature.members)
        assert f'ram_style = "{shape.style}"' in text
