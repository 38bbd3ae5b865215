"""Shell: pins and timing discipline; its behaviour is tested under Verilator."""

from __future__ import annotations

import random

from amaranth.back import verilog
from amaranth.lib.wiring import In

from fpga_gen.hardware.axi_names import axi_members
from fpga_gen.hardware.params import EngineParams
from fpga_gen.hardware.shell import Shell
from rtl_tests.axi_bench import simulate

PARAMS = EngineParams(ports=2)


def test_no_path_from_an_axi_input_to_an_axi_output():
    """Within a cycle, no change of AXI inputs changes an AXI output."""
    rng = random.Random(1)
    dut = Shell(PARAMS)
    members = axi_members(PARAMS.ports)
    inputs = [name for name, member in members.items() if member.flow is In]
    outputs = [name for name, member in members.items() if member.flow is not In]
    toggled = set()

    def shake(ctx) -> None:
        for name in inputs:
            ctx.set(getattr(dut, name), rng.getrandbits(len(getattr(dut, name))))

    def state(ctx) -> list[int]:
        return [ctx.get(getattr(dut, name)) for name in outputs]

    async def bench(ctx):
        # Enough set-up that addresses and data really move.
        ctx.set(dut.words.ready, 1)
        ctx.set(dut.store_data.valid, 1)
        before = state(ctx)
        for cycle in range(300):
            ctx.set(dut.store.valid, cycle % 3 == 0)
            ctx.set(dut.fetch.valid, cycle % 2 == 0)
            shake(ctx)
            settled = state(ctx)
            for _ in range(3):
                shake(ctx)
                assert state(ctx) == settled
            await ctx.tick()
            now = state(ctx)
            toggled.update(n for n, a, b in zip(outputs, before, now, strict=True) if a != b)
            before = now

    simulate(dut, bench)
    assert {"s_axi_awready", "s_axi_bvalid", "s_axi_rdata", "s_axi_arready"} <= toggled


def test_output_is_deterministic():
    first, second = (verilog.convert(Shell(PARAMS, design_hash=5), name="top") for _ in range(2))
    assert first == second


def test_hash_reaches_the_netlist():
    texts = {verilog.convert(Shell(PARAMS, design_hash=h), name="top") for h in (1, 2, 1 << 32 | 2)}
    assert len(texts) == 2  # only the low 32 bits count
