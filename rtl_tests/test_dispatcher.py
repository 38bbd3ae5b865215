"""Dispatcher against the rules of a start, cycle by cycle, with units of any mood."""

from __future__ import annotations

import random

import pytest

from fpga_gen.contract.isa import Op
from fpga_gen.hardware.common.records import HEADER
from fpga_gen.hardware.control.dispatcher import Dispatcher
from rtl_tests.bench import simulate
from rtl_tests.sequencer_bench import as_word, random_instruction

OPS = (Op.CONV, Op.POOL, Op.VECTOR, Op.LOAD, Op.STORE)
STARTS = {Op.CONV: "walk", Op.POOL: "walk", Op.VECTOR: "vector", Op.LOAD: "load", Op.STORE: "store"}
UNITS = ("walker_busy", "vector_busy", "load_busy", "store_busy", "exit_idle", "params_ready")


def allowed(op: Op, wait: int, units: dict[str, int]) -> bool:
    """The rules, as docs/isa.md has them."""
    if units["walker_busy"] or units["vector_busy"] or units["load_busy"]:
        return False
    if op in (Op.STORE, Op.END) and units["store_busy"]:
        return False
    if (wait or op in (Op.VECTOR, Op.LOAD, Op.END)) and not units["exit_idle"]:
        return False
    return op != Op.VECTOR or bool(units["params_ready"])


@pytest.mark.parametrize("seed", range(4))
def test_starts(seed: int) -> None:
    rng = random.Random(seed)
    dut = Dispatcher()
    free = (0.95, 0.7, 0.5, 0.8)[seed]  # probability of a unit that is free
    program = [random_instruction(rng, rng.choice(OPS)) for _ in range(400)]
    started: list[tuple[str, int]] = []
    refused = dict.fromkeys(UNITS, 0)

    async def bench(ctx) -> None:
        """A model of the decision next to it: two cycles later header and pulse."""
        index, at = 0, "DECIDE"
        shown = False  # the header stands since a cycle before
        while index < len(program):
            i = program[index]
            coming = rng.random() < 0.8
            offered = (shown and coming) or at != "DECIDE"
            units = {name: int((rng.random() < free) == (name in UNITS[4:])) for name in UNITS}
            noise = HEADER.from_bits(rng.getrandbits(HEADER.size))
            ctx.set(dut.decoded.valid, int(offered))
            ctx.set(
                dut.decoded.payload, HEADER.from_bits(as_word(i)) if coming or offered else noise
            )
            shown = coming or offered
            for name, value in units.items():
                ctx.set(getattr(dut.units, name), value)
            go = at == "DECIDE" and offered and allowed(i.op, i.wait, units)
            assert ctx.get(dut.dispatched) == go
            for name in UNITS:
                flipped = {**units, name: 1 - units[name]}
                refused[name] += bool(
                    at == "DECIDE" and offered and not go and allowed(i.op, i.wait, flipped)
                )
            assert ctx.get(dut.decoded.ready) == (at == "START")
            assert ctx.get(dut.layer_start) == (at == "TAKE")
            assert ctx.get(dut.layer) == index + (at != "DECIDE")
            starts = {name: ctx.get(getattr(dut, name).start) for name in set(STARTS.values())}
            want = {name: int(at == "START" and STARTS[i.op] == name) for name in starts}
            assert starts == want
            if at == "START":
                headers = {ctx.get(getattr(dut, name).header).as_bits() for name in starts}
                assert headers == {as_word(i)}
                started.append((STARTS[i.op], index))
                index, shown = index + 1, False
            at = {"DECIDE": "TAKE" if go else "DECIDE", "TAKE": "START", "START": "DECIDE"}[at]
            await ctx.tick()

    simulate(dut, bench)
    assert len(started) == len(program)
    assert all(refused.values()), "every unit was the one that it waited for"


def test_end_is_the_last() -> None:
    """It waits for the store unit; nothing starts after it."""
    dut = Dispatcher()

    async def bench(ctx) -> None:
        end = HEADER.from_bits(int(Op.END) | 1 << 4)
        ctx.set(dut.decoded.payload, end)
        await ctx.tick()
        ctx.set(dut.decoded.valid, 1)
        ctx.set(dut.units.exit_idle, 1)
        ctx.set(dut.units.store_busy, 1)
        for _ in range(5):
            assert not ctx.get(dut.dispatched)
            await ctx.tick()
        ctx.set(dut.units.store_busy, 0)
        assert ctx.get(dut.dispatched)
        await ctx.tick().repeat(2)
        assert ctx.get(dut.done)
        assert not ctx.get(dut.decoded.ready)
        for _ in range(8):
            await ctx.tick()
            assert not ctx.get(dut.done)
            assert not ctx.get(dut.dispatched)

    simulate(dut, bench)
