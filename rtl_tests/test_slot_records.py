"""SlotRecords against the outer loops of isa.py: every slot of random walks, taken at any pace."""

from __future__ import annotations

import random

import pytest

from fpga_gen.contract.address import unpack_address
from fpga_gen.contract.params import EngineParams
from fpga_gen.hardware.walk.slot_records import SlotRecords
from rtl_tests.bench import simulate
from rtl_tests.walks import Slot, Walk, random_walk, slots_of
from tests.engines import SMALL
from tests.schedule.graphs import THREE_MODES


def seen(payload, banks: int) -> dict[str, int]:
    """A record with linear addresses, its parts side by side."""
    slot, tile = payload.slot, payload.tile
    values = {name: slot[name] for name in slot.shape().members}
    values |= {name: tile[name] for name in tile.shape().members}
    values |= {name: unpack_address(values[name], banks) for name in ("address", "base")}
    return values | {"final": payload.final, "single": payload.single}


def wanted(slot: Slot) -> dict[str, int]:
    tile = {name: value for name, value in vars(slot.tile).items() if name != "pool"}
    facts = {"final": slot.tile.groups - 1, "single": int(slot.tile.groups == 1)}
    return {"address": slot.address, "dy": slot.dy, "dx": slot.dx, **slot.flags, **tile, **facts}


@pytest.mark.parametrize("pace", [1.0, 0.2])
@pytest.mark.parametrize("params", [SMALL, THREE_MODES], ids=["two-modes", "three-modes"])
def test_records_of_walks(params: EngineParams, pace: float) -> None:
    rng = random.Random(f"{params} {pace}")
    dut = SlotRecords(params)
    walks = [random_walk(rng, params) for _ in range(12)]
    assert {bool(walk.lists) for walk in walks} == {False, True}
    tables: list[list[int]] = [[], [], []]

    async def memories(ctx) -> None:
        """A record comes one cycle after its index; noise elsewhere."""
        while True:
            ports = (dut.blocks, dut.taps, dut.lists)
            *_, block, tap, word = await ctx.tick().sample(*(port.index for port in ports))
            for port, table, index in zip(ports, tables, (block, tap, word), strict=True):
                record = table[index] if index < len(table) else rng.getrandbits(64)
                ctx.set(port.record.as_value(), record)

    async def one(ctx, walk: Walk) -> None:
        tables[:] = walk.records(params.banks)
        want = [wanted(slot) for slot in slots_of(walk, params)]
        ctx.set(dut.issue.header, walk.header(params.banks))
        ctx.set(dut.busy, 1)
        ctx.set(dut.issue.start, 1)
        await ctx.tick()
        ctx.set(dut.issue.start, 0)
        for index, record in enumerate(want):
            while not ctx.get(dut.records.valid) or rng.random() > pace:
                await ctx.tick()
            assert seen(ctx.get(dut.records.payload), params.banks) == record, index
            ctx.set(dut.records.ready, 1)
            await ctx.tick()
            ctx.set(dut.records.ready, 0)
            assert not ctx.get(dut.records.valid)
            after = seen(ctx.get(dut.records.payload), params.banks)
            tile = {name: value for name, value in after.items() if name in ("base", "channels")}
            assert tile.items() <= record.items(), "the tile did not stand one cycle longer"
        await ctx.tick().repeat(20)
        assert not ctx.get(dut.records.valid), "a slot too many"
        ctx.set(dut.busy, 0)
        await ctx.tick().repeat(2)

    async def bench(ctx) -> None:
        for walk in walks:
            await one(ctx, walk)

    simulate(dut, bench, background=[memories])
