"""RunControl: the states of a run, one scenario per way it can end."""

from __future__ import annotations

import pytest
from amaranth import Module

from fpga_gen.hardware.shell.counters import Counter
from fpga_gen.hardware.shell.run_control import RESET_CYCLES, SETTLE_CYCLES, RunControl
from fpga_gen_host.registers import ErrorCode
from rtl_tests.bench import simulate


async def pulse(ctx, signal) -> None:
    ctx.set(signal, 1)
    await ctx.tick()
    ctx.set(signal, 0)


async def launch(ctx, dut) -> None:
    ctx.set(dut.writes_done, 1)
    ctx.set(dut.drained, 1)
    await pulse(ctx, dut.start_request)
    assert ctx.get(dut.busy)


async def wait_reset(ctx, dut) -> int:
    """Cycles of soft_reset; the settling time after it is checked."""
    while not ctx.get(dut.soft_reset):
        await ctx.tick()
    length = 0
    while ctx.get(dut.soft_reset):
        length += 1
        await ctx.tick()
    for _ in range(SETTLE_CYCLES):
        ctx.set(dut.start_request, 1)
        assert not ctx.get(dut.start), "start while settling"
        await ctx.tick()
    ctx.set(dut.start_request, 0)
    await ctx.tick().repeat(2)
    return length


def test_good_run_is_done_after_the_writes():
    dut = RunControl()

    async def bench(ctx):
        await launch(ctx, dut)
        ctx.set(dut.writes_done, 0)
        await pulse(ctx, dut.engine_done)
        await ctx.tick().repeat(50)
        assert ctx.get(dut.busy)
        assert not ctx.get(dut.done)
        ctx.set(dut.writes_done, 1)
        assert await wait_reset(ctx, dut) >= RESET_CYCLES
        assert ctx.get(dut.done)
        assert not ctx.get(dut.busy)
        assert not ctx.get(dut.draining)
        assert not ctx.get(dut.error)
        await pulse(ctx, dut.done_clear)
        assert not ctx.get(dut.done)

    simulate(dut, bench)


def test_fault_reports_at_once_and_drains():
    dut = RunControl()

    async def bench(ctx):
        await launch(ctx, dut)
        ctx.set(dut.drained, 0)
        ctx.set(dut.fault_code, ErrorCode.READ_RESPONSE)
        ctx.set(dut.fault_info, 0x1234)
        await pulse(ctx, dut.fault)
        ctx.set(dut.fault_code, ErrorCode.WRITE_RESPONSE)
        await pulse(ctx, dut.fault)  # a later fault does not replace the first
        await ctx.tick().repeat(100)
        assert ctx.get(dut.soft_reset), "not drained yet"
        assert ctx.get(dut.error)
        assert ctx.get(dut.draining)
        assert not ctx.get(dut.busy)
        assert ctx.get(dut.error_code) == ErrorCode.READ_RESPONSE
        assert ctx.get(dut.error_info) == 0x1234
        ctx.set(dut.drained, 1)
        await wait_reset(ctx, dut)
        assert not ctx.get(dut.done)
        await pulse(ctx, dut.error_clear)
        assert not ctx.get(dut.error)
        await launch(ctx, dut)
        assert ctx.get(dut.error_code) == ErrorCode.NONE

    simulate(dut, bench)


def test_fault_while_idle_is_not_seen():
    dut = RunControl()

    async def bench(ctx):
        await pulse(ctx, dut.fault)
        await ctx.tick().repeat(5)
        assert not ctx.get(dut.error)
        assert not ctx.get(dut.soft_reset)

    simulate(dut, bench)


@pytest.mark.parametrize("state", ["idle", "run", "finish", "drain"])
def test_reset_request_from_every_state(state):
    dut = RunControl()

    async def bench(ctx):
        await launch(ctx, dut)
        ctx.set(dut.writes_done, 0)
        if state != "run":
            await pulse(ctx, dut.engine_done)
        if state == "idle" or state == "drain":
            ctx.set(dut.writes_done, 1)
            while not ctx.get(dut.soft_reset):
                await ctx.tick()
        if state == "idle":
            await wait_reset(ctx, dut)
            assert ctx.get(dut.done)
        await pulse(ctx, dut.reset_request)
        assert not ctx.get(dut.busy)
        assert await wait_reset(ctx, dut) >= RESET_CYCLES
        for flag in (dut.done, dut.error, dut.draining, dut.busy):
            assert not ctx.get(flag)

    simulate(dut, bench)


@pytest.mark.parametrize("limit", [1, 20, 200])
def test_watchdog_counts_cycles_without_progress(limit):
    dut = RunControl()

    async def bench(ctx):
        ctx.set(dut.watchdog, limit)
        await launch(ctx, dut)
        for _ in range(5):
            await ctx.tick().repeat(max(limit - 2, 1))
            assert not ctx.get(dut.error)
            await pulse(ctx, dut.progress)
        quiet = 0
        while not ctx.get(dut.error):
            quiet += 1
            await ctx.tick()
        assert limit <= quiet <= limit + 4
        assert ctx.get(dut.error_code) == ErrorCode.WATCHDOG

    simulate(dut, bench)


def test_watchdog_off():
    dut = RunControl()

    async def bench(ctx):
        await launch(ctx, dut)
        await ctx.tick().repeat(2000)
        assert ctx.get(dut.busy)

    simulate(dut, bench)


@pytest.mark.parametrize("delay", [1, 2])
def test_fault_of_the_last_response_is_not_missed(delay):
    """The write port reports an error in the cycles after it became idle."""
    dut = RunControl()

    async def bench(ctx):
        await launch(ctx, dut)
        ctx.set(dut.writes_done, 0)
        await pulse(ctx, dut.engine_done)
        ctx.set(dut.writes_done, 1)
        await ctx.tick().repeat(delay)
        ctx.set(dut.fault_code, ErrorCode.WRITE_RESPONSE)
        await pulse(ctx, dut.fault)
        await wait_reset(ctx, dut)
        assert ctx.get(dut.error_code) == ErrorCode.WRITE_RESPONSE
        assert not ctx.get(dut.done)

    simulate(dut, bench)


def test_the_number_of_a_run_is_kept_if_its_start_is():
    """Starts that are ignored, and numbers written during a run, do not change it."""
    dut = RunControl()

    async def bench(ctx):
        for number in (0xFFFF_FFFF, 7):
            ctx.set(dut.frame, number)
            await launch(ctx, dut)
            await ctx.tick()
            assert ctx.get(dut.frame_run) == number
            ctx.set(dut.frame, 99)
            await pulse(ctx, dut.start_request)
            await ctx.tick().repeat(3)
            await pulse(ctx, dut.engine_done)
            while not ctx.get(dut.draining | dut.soft_reset):
                assert ctx.get(dut.frame_run) == number
                await ctx.tick()
            await wait_reset(ctx, dut)  # which asks for a start as well
            assert ctx.get(dut.done)
            assert ctx.get(dut.frame_run) == number
        ctx.set(dut.start_request, 1)
        ctx.set(dut.reset_request, 1)
        await ctx.tick()
        ctx.set(dut.start_request, 0)
        ctx.set(dut.reset_request, 0)
        await ctx.tick().repeat(3)
        assert ctx.get(dut.frame_run) == 7

    simulate(dut, bench)


@pytest.mark.parametrize("limit", [1, 2, 5, 300])
def test_a_run_that_goes_on_is_ended(limit):
    """Progress or not; the count of the last run does not end the next one."""
    m = Module()
    m.submodules.dut = dut = RunControl()
    m.submodules.counter = counter = Counter()
    m.d.sync += [counter.tick.eq(dut.running), counter.clear.eq(dut.start)]  # as in Shell
    m.d.comb += dut.elapsed.eq(counter.value)

    async def bench(ctx):
        ctx.set(dut.run_limit, limit)
        ctx.set(dut.progress, 1)
        for _ in range(3):
            await launch(ctx, dut)
            length = 0
            while not ctx.get(dut.error):
                length += 1
                await ctx.tick()
            assert limit <= length <= limit + 8
            assert ctx.get(dut.error_code) == ErrorCode.RUN_LIMIT
            assert ctx.get(dut.error_info) == 0
            await wait_reset(ctx, dut)
        ctx.set(dut.run_limit, 0)
        await launch(ctx, dut)
        await ctx.tick().repeat(2 * limit + 20)
        assert ctx.get(dut.busy)

    simulate(m, bench)
