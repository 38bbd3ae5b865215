"""CsrBlock: order of address and data, back-pressure, strobes; more under Verilator."""

from __future__ import annotations

import random

import pytest

from fpga_gen.hardware.shell.csr import CsrBlock
from fpga_gen_host.registers import REGISTERS, register
from rtl_tests.bench import simulate


async def write(ctx, dut, offset: int, data: int, *, strobe=15, delays=(0, 0, 0)) -> int:
    """One write with delays before address, data and response ready; returns BRESP."""
    address_at, data_at, response_at = delays
    ctx.set(dut.s_axi_awaddr, offset)
    ctx.set(dut.s_axi_wdata, data)
    ctx.set(dut.s_axi_wstrb, strobe)
    address_done = data_done = False
    for cycle in range(100):
        ctx.set(dut.s_axi_awvalid, not address_done and cycle >= address_at)
        ctx.set(dut.s_axi_wvalid, not data_done and cycle >= data_at)
        ctx.set(dut.s_axi_bready, cycle >= response_at)
        *_, aw, awready, w, wready, b, bready, response = await ctx.tick().sample(
            dut.s_axi_awvalid,
            dut.s_axi_awready,
            dut.s_axi_wvalid,
            dut.s_axi_wready,
            dut.s_axi_bvalid,
            dut.s_axi_bready,
            dut.s_axi_bresp,
        )
        assert not (b and not (address_done and data_done)), "response before the request"
        address_done |= bool(aw and awready)
        data_done |= bool(w and wready)
        if b and bready:
            ctx.set(dut.s_axi_bready, 0)
            return response
    raise AssertionError("no response")


async def read(ctx, dut, offset: int, delay: int = 0) -> tuple[int, int]:
    """(data, RRESP) of one read, rready rising after `delay` cycles."""
    ctx.set(dut.s_axi_araddr, offset)
    accepted = False
    held = None
    for cycle in range(100):
        ctx.set(dut.s_axi_arvalid, not accepted)
        ctx.set(dut.s_axi_rready, cycle >= delay)
        *_, ar, arready, r, rready, data, response = await ctx.tick().sample(
            dut.s_axi_arvalid,
            dut.s_axi_arready,
            dut.s_axi_rvalid,
            dut.s_axi_rready,
            dut.s_axi_rdata,
            dut.s_axi_rresp,
        )
        accepted |= bool(ar and arready)
        assert held is None or (r and data == held), "R changed while waiting"
        held = data if r else None
        if r and rready:
            ctx.set(dut.s_axi_rready, 0)
            return data, response
    raise AssertionError("no data")


@pytest.mark.parametrize("delays", [(0, 0, 0), (5, 0, 0), (0, 5, 0), (0, 0, 12), (3, 1, 20)])
def test_every_order_of_a_write(delays):
    dut = CsrBlock()
    offset = register("WATCHDOG").offset

    async def bench(ctx):
        for value in (0x1234_5678, 0xFFFF_FFFF, 0):
            assert await write(ctx, dut, offset, value, delays=delays) == 0
            assert ctx.get(dut.watchdog) == value
            assert await read(ctx, dut, offset, delays[2]) == (value, 0)

    simulate(dut, bench)


def test_every_register_reads_its_fields():
    rng = random.Random(3)
    dut = CsrBlock()

    async def bench(ctx):
        for entry in REGISTERS:
            want = 0
            for field in entry.fields:
                value = rng.getrandbits(field.bits)
                if field.access in ("ro", "w1c"):
                    ctx.set(getattr(dut, entry.port(field)), value)
                    want |= value << field.lsb
            word = rng.getrandbits(32)
            await write(ctx, dut, entry.offset, word)
            want |= word & sum(f.mask for f in entry.fields if f.access == "rw")
            assert await read(ctx, dut, entry.offset) == (want, 0), entry.name

    simulate(dut, bench)


def test_byte_strobes():
    dut = CsrBlock()
    offset = register("WATCHDOG").offset

    async def bench(ctx):
        await write(ctx, dut, offset, 0x11223344)
        await write(ctx, dut, offset, 0xAABBCCDD, strobe=0b0101)
        assert ctx.get(dut.watchdog) == 0x11BB33DD
        await write(ctx, dut, offset, 0, strobe=0)
        assert ctx.get(dut.watchdog) == 0x11BB33DD

    simulate(dut, bench)


def test_strobe_gates_start():
    dut = CsrBlock()
    offset = register("CONTROL").offset
    starts = 0

    async def count(ctx):
        nonlocal starts
        while True:
            *_, start = await ctx.tick().sample(dut.control_start)
            starts += start

    async def bench(ctx):
        await write(ctx, dut, offset, 1, strobe=0b1110)
        await ctx.tick().repeat(2)
        assert starts == 0
        await write(ctx, dut, offset, 1)
        await ctx.tick().repeat(2)
        assert starts == 1

    simulate(dut, bench, background=[count])


@pytest.mark.parametrize("offset", [0x1C0, 0x7FC, 0xFFC, 0xBC, 0x7C])
def test_unmapped_addresses(offset):
    dut = CsrBlock()
    assert offset not in {r.offset for r in REGISTERS}

    async def bench(ctx):
        assert await write(ctx, dut, offset, 0xFFFF_FFFF) == 0
        assert await read(ctx, dut, offset) == (0, 0)
        for entry in REGISTERS:
            if "rw" in entry.access:
                assert await read(ctx, dut, entry.offset) == (0, 0), entry.name

    simulate(dut, bench)


def test_a_write_waits_for_the_response_before_it():
    """The next request may arrive while B stalls; no response is lost."""
    dut = CsrBlock()

    async def bench(ctx):
        ctx.set(dut.s_axi_awaddr, register("WATCHDOG").offset)
        ctx.set(dut.s_axi_wstrb, 15)
        sent = {"aw": 0, "w": 0}
        answered = 0
        for cycle in range(120):
            ctx.set(dut.s_axi_wdata, sent["w"] + 1)
            ctx.set(dut.s_axi_awvalid, sent["aw"] < 5)
            ctx.set(dut.s_axi_wvalid, sent["w"] < 5)
            ctx.set(dut.s_axi_bready, cycle % 20 == 19)
            *_, awready, wready, bvalid = await ctx.tick().sample(
                dut.s_axi_awready, dut.s_axi_wready, dut.s_axi_bvalid
            )
            sent["aw"] += awready and sent["aw"] < 5
            sent["w"] += wready and sent["w"] < 5
            answered += bvalid and cycle % 20 == 19
            assert ctx.get(dut.watchdog) <= answered + 1
        assert sent == {"aw": 5, "w": 5}
        assert answered == 5
        assert ctx.get(dut.watchdog) == 5

    simulate(dut, bench)
