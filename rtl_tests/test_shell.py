"""Pins and timing discipline of the shell; its behaviour is tested under Verilator."""

from __future__ import annotations

import random

import pytest
from amaranth.back import verilog
from amaranth.lib.wiring import In

from fpga_gen.contract.params import EngineParams
from fpga_gen.hardware.shell.axi_names import LITE, READ, WRITE, axi_members, prefixed
from fpga_gen.hardware.shell.csr import CsrBlock
from fpga_gen.hardware.shell.read_dma import ReadPort
from fpga_gen.hardware.shell.shell import Shell
from fpga_gen.hardware.shell.write_dma import WritePort
from rtl_tests.axi_bench import open_windows
from rtl_tests.bench import simulate

PARAMS = EngineParams(ports=1)
LITE_OUTPUTS = {"s_axi_awready", "s_axi_wready", "s_axi_bvalid", "s_axi_arready", "s_axi_rvalid"}
CASES = {
    "read": (lambda: ReadPort(depth=128), READ, {"arvalid", "araddr", "arlen"}),
    "write": (lambda: WritePort(depth=128), WRITE, {"awvalid", "awaddr", "wvalid", "wdata"}),
    "csr": (CsrBlock, prefixed("s_axi", LITE), LITE_OUTPUTS | {"s_axi_rdata"}),
    "shell": (lambda: Shell(PARAMS), axi_members(PARAMS.ports), LITE_OUTPUTS),
}


@pytest.mark.parametrize("case", CASES)
def test_no_path_from_an_axi_input_to_an_axi_output(case):
    """Within a cycle, no change of AXI inputs changes an AXI output; those named do move."""
    make, members, moving = CASES[case]
    rng = random.Random(1)
    dut = make()
    inputs = [name for name, member in members.items() if member.flow is In]
    outputs = [name for name, member in members.items() if member.flow is not In]
    toggled = set()

    def shake(ctx) -> None:
        for name in inputs:
            value = rng.getrandbits(len(getattr(dut, name)))
            ctx.set(getattr(dut, name), value & 0xFF if name.endswith("addr") else value)

    def state(ctx) -> list[int]:
        return [ctx.get(getattr(dut, name)) for name in outputs]

    def work(ctx) -> None:
        """Keep the data movers busy."""
        ctx.set(dut.transfer.valid, 1)
        ctx.set(dut.transfer.payload, {"address": rng.getrandbits(16), "beats": 3})
        if case == "write":
            ctx.set(dut.data.valid, 1)
            ctx.set(dut.data.payload, rng.getrandbits(128))

    async def bench(ctx):
        if case in ("read", "write"):
            open_windows(ctx, dut.windows, (0, 1 << 39))
        before = state(ctx)
        for _ in range(300):
            if case in ("read", "write"):
                work(ctx)
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
    assert moving <= toggled


def test_verilog_is_deterministic():
    first, second = (verilog.convert(Shell(PARAMS), name="top") for _ in range(2))
    assert first == second
