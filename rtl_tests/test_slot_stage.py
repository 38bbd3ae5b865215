"""SlotStage against the bits of random slots, moved when the array has taken the one before."""

from __future__ import annotations

import random
from collections import deque

import numpy as np
import pytest

from fpga_gen.contract.latencies import STAGE_HOLD
from fpga_gen.contract.params import GRANULE, EngineParams
from fpga_gen.contract.slot_layout import Half, run_bits, slot_run
from fpga_gen.hardware.loader.joints import wraps
from fpga_gen.hardware.loader.slot_assembly import READ_CYCLES
from fpga_gen.hardware.loader.slot_stage import MOVE_CYCLES, SlotStage
from rtl_tests.bench import simulate
from tests.engines import SMALL
from tests.schedule.graphs import THREE_MODES

WRAPPED = EngineParams(
    pixels=4, in_channels=4, dsp_columns=12, sp2_columns=6, tile_groups=16, bank_rows=64, ports=1,
    weight_words=64,
)  # fmt: skip
ONE_SUBGROUP = EngineParams(
    pixels=8, in_channels=4, dsp_columns=0, sp2_columns=2, modes=(1,), tile_groups=16, ports=1
)
CREDIT_LEAD = READ_CYCLES + MOVE_CYCLES


class Slot:
    """A random slot: where its bits lie in the assembly, and what the array should see."""

    def __init__(self, params: EngineParams, rng: np.random.Generator) -> None:
        self.subgroups = int(rng.integers(1, params.subgroups + 1))
        self.half = Half(int(rng.integers(3)))
        run = slot_run(params, self.subgroups, self.half)
        sent = rng.integers(0, 2, run.granules * GRANULE)
        place = run_bits(params, self.subgroups, self.half).reshape(-1)
        bits = np.where(place >= 0, sent[place], 0)
        self.want = sum(int(b) << k for k, b in enumerate(bits))
        self.mask = (1 << len(bits)) - 1
        self.value = sum(int(b) << run.first * GRANULE + k for k, b in enumerate(sent))
        self.place = (1 << run.granules * GRANULE) - 1 << run.first * GRANULE
        self.clear = {Half.BOTH: 0, Half.LOW: 2, Half.HIGH: 1}[self.half]
        whole = self.half == Half.BOTH
        self.wrap = sum((self.subgroups == n and whole) << k for k, n in enumerate(wraps(params)))


def test_wrapped_slots_are_tried() -> None:
    assert wraps(SMALL)
    assert not wraps(ONE_SUBGROUP)


@pytest.mark.parametrize("pace", [1.0, 0.15])
@pytest.mark.parametrize(
    "params", [SMALL, THREE_MODES, WRAPPED, ONE_SUBGROUP], ids=["small", "three", "wrapped", "one"]
)
def test_slots_arrive_in_order(params: EngineParams, pace: float) -> None:
    """pace: how soon the array switches to a slot that it may have."""
    rng = np.random.default_rng(int(pace * 100))
    dice = random.Random(f"{params} {pace}")
    slots = [Slot(params, rng) for _ in range(50)]
    dut = SlotStage(params)
    bits = len(dut.slot.record)
    taken = 0

    async def loader(ctx) -> None:
        """Reads the words of slot after slot; the record is written READ_CYCLES later."""
        on_the_way: deque = deque([None] * READ_CYCLES)  # slot whose last word it is, or "word"
        record = 0
        following = iter(slots)
        left, slot = 0, None
        finished: Slot | None = None
        while True:
            event = None
            pause = isinstance(on_the_way[-1], Slot)  # a cycle between two records
            if left == 0 and not pause and ctx.get(dut.may_assemble) and dice.random() < 0.7:
                slot = next(following, None)
                left = dice.randint(1, 4) if slot else 0
            if left:
                left -= 1
                event = "word" if left else slot
            ctx.set(dut.slot_read, int(isinstance(event, Slot)))
            on_the_way.append(event)
            if finished is not None:
                record = finished.value | (dice.getrandbits(bits) & ~finished.place)
                ctx.set(dut.slot.clear, finished.clear)
                ctx.set(dut.slot.wrap, finished.wrap)
            written = on_the_way.popleft()
            finished = written if isinstance(written, Slot) else None
            ctx.set(dut.slot.record, record)
            ctx.set(dut.slot.complete, int(finished is not None))
            await ctx.tick()
            if written == "word":  # of the next record: the one before is being overwritten
                record = dice.getrandbits(bits)

    async def array(ctx) -> None:
        nonlocal taken
        credits: deque[int] = deque()  # cycles until a slot may be switched to
        since = CREDIT_LEAD
        while taken < len(slots):
            go = bool(credits) and credits[0] <= 0 and since >= CREDIT_LEAD
            go = go and dice.random() < pace
            ctx.set(dut.switch, int(go))
            *_, read, underrun = await ctx.tick().sample(dut.slot_read, dut.underrun)
            assert not underrun
            since += 1
            credits = deque(n - 1 for n in credits)
            if read:
                credits.append(CREDIT_LEAD - 1)
            if go:
                credits.popleft()
                since = 1
                slot = slots[taken]
                assert ctx.get(dut.stage) & slot.mask == slot.want, f"slot {taken}"
                taken += 1

    assert STAGE_HOLD == 1, "the array of this test reads one cycle after the switch"
    simulate(dut, array, background=[loader])


def test_switch_to_an_empty_stage() -> None:
    """It is told at once, and only then."""
    dut = SlotStage(SMALL)
    slot = Slot(SMALL, np.random.default_rng(1))

    async def bench(ctx) -> None:
        ctx.set(dut.switch, 1)
        assert ctx.get(dut.underrun)
        await ctx.tick()
        ctx.set(dut.switch, 0)
        assert not ctx.get(dut.underrun)
        ctx.set(dut.slot_read, 1)
        await ctx.tick()
        ctx.set(dut.slot_read, 0)
        await ctx.tick().repeat(READ_CYCLES - 1)
        ctx.set(dut.slot.complete, 1)
        await ctx.tick()
        ctx.set(dut.slot.complete, 0)
        ctx.set(dut.slot.record, slot.value)
        await ctx.tick().repeat(MOVE_CYCLES)
        ctx.set(dut.switch, 1)
        assert not ctx.get(dut.underrun)
        await ctx.tick()
        assert ctx.get(dut.underrun), "one slot, two switches"

    simulate(dut, bench)
