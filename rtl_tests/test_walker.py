"""Walker against the loop nest of isa.py, written in Python: beats, addresses, tokens, timing."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import pytest

from fpga_gen.contract.address import unpack_address
from fpga_gen.contract.isa import Op
from fpga_gen.contract.params import EngineParams
from fpga_gen.hardware.walk.walker import Walker
from rtl_tests.bench import simulate
from rtl_tests.walks import Beat, Token, Walk, nest, random_walk
from tests.engines import SMALL
from tests.schedule.graphs import THREE_MODES

SLOT_MINIMUM = SMALL.slot_minimum
STAGED = 2  # complete weight slots the loader keeps ahead of the array
FLAGS = ("first", "shift", "last", "switch", "pad", "pool", "mode", "double")


@dataclass
class Watch:
    """What the walker did, per cycle, with the rules of its interface checked."""

    params: EngineParams
    beats: list[Beat] = field(default_factory=list)
    tokens: list[Token] = field(default_factory=list)
    headers: list[int] = field(default_factory=list)
    given: int = 0  # weight slots staged
    begun: int = 0
    position: int = 0  # pixel group, as the lane masks follow it
    tile_start: int = 0

    def reset_position(self) -> None:
        self.position = self.tile_start = 0


def monitor(dut: Walker, watch: Watch, free: list[int]):
    """Collects beats and tokens. `free`: drain_free of every cycle so far."""
    banks = dut.params.banks
    beat, motion, token = dut.beat, dut.motion, dut.tiles.token
    controls = (motion.advance, motion.restore, motion.commit, motion.reinit)
    flags = [getattr(beat, name) for name in FLAGS]

    async def run(ctx) -> None:
        now = (0, 0, 0)  # tap offset and pixel group one cycle before the beat is visible
        since = SLOT_MINIMUM
        offered = given = 0
        while True:
            _, _, valid, t, address, dy, dx, taken, payload, accepted, *rest = (
                await ctx.tick().sample(
                    beat.valid, beat.t, beat.address, motion.dy, motion.dx, token.valid,
                    token.payload, token.ready, *controls, *flags,
                )
            )  # fmt: skip
            advance, restore, commit, reinit = rest[:4]
            since += 1
            if valid:
                values = dict(zip(FLAGS, rest[4:], strict=True))
                watch.beats.append(Beat(unpack_address(address, banks), *now, t, values))
                if t == 0:
                    assert since >= SLOT_MINIMUM, "a weight slot was too short"
                    since = 0
                    if not values["pool"]:
                        watch.begun += 1
                        assert watch.begun <= given, "a slot began without its weights"
                    if values["last"]:
                        assert free[-4], "the last slot began while the drain memory was in use"
            if taken:
                current = payload.as_bits()
                assert offered in (0, current), "a token changed before it was taken"
                offered = current
                if accepted:
                    tile = payload.tile
                    values = {name: tile[name] for name in tile.shape().members}
                    values |= {"base": unpack_address(tile.base, banks), "pool": payload.pool}
                    watch.tokens.append(Token(**values))
                    watch.headers.append(payload.header.as_bits())
                    offered = 0
            now = (dy, dx, watch.position)
            if restore:
                watch.position = watch.tile_start
            elif reinit:
                watch.reset_position()
            elif advance or commit:
                watch.position += 1
                if commit:
                    watch.tile_start = watch.position
            given = watch.given

    return run


@pytest.mark.parametrize("pace", ["prompt", "slow weights", "slow drain", "mixed"])
@pytest.mark.parametrize("params", [SMALL, THREE_MODES], ids=["two-modes", "three-modes"])
def test_walks(params, pace):
    rng = random.Random(f"{params} {pace}")
    dut = Walker(params)
    walks = [random_walk(rng, params) for _ in range(10)]
    watch, free = Watch(params), [0]
    weights, drain = {
        "prompt": (1.0, 1.0), "slow weights": (0.05, 1.0), "slow drain": (1.0, 0.05),
        "mixed": (0.2, 0.3),
    }[pace]  # fmt: skip
    tables: list[list[int]] = [[0], [0], [0]]
    owed = 0  # weight slots of the instructions started

    async def memories(ctx) -> None:
        """Records come one cycle after their index; weights and drain at random moments."""
        while True:
            ctx.set(dut.tiles.drain_free, rng.random() < drain)
            ctx.set(dut.tiles.token.ready, rng.random() < drain)
            ctx.set(dut.motion.ready, rng.random() < 0.9)
            ctx.set(dut.give_way, rng.random() < 0.1)
            # A beat becomes visible two cycles after its slot has begun.
            staged = watch.given - watch.begun < STAGED
            add = int(watch.given < owed and staged and rng.random() < weights)
            ctx.set(dut.credit_add, add)
            ports = (dut.blocks, dut.taps, dut.lists)
            _, _, open_, *indices = await ctx.tick().sample(
                dut.tiles.drain_free, *(port.index for port in ports)
            )
            free.append(open_)
            watch.given += add
            noise = rng.getrandbits(64)
            for port, table, index in zip(ports, tables, indices, strict=True):
                ctx.set(port.record.as_value(), table[index] if index < len(table) else noise)

    async def bench(ctx) -> None:
        nonlocal owed
        for walk in walks:
            tables[:] = walk.records(params.banks)
            code = walk.header(params.banks)
            beats, tokens, slots = nest(walk, params)
            owed += slots
            ctx.set(dut.issue.header, code)
            ctx.set(dut.issue.start, 1)
            await ctx.tick()
            ctx.set(dut.issue.start, 0)
            assert ctx.get(dut.busy)
            while ctx.get(dut.busy) or ctx.get(dut.tiles.token.valid):
                await ctx.tick()
            await ctx.tick()
            assert watch.beats == beats
            assert watch.tokens == tokens
            assert watch.headers == [code.as_bits()] * len(tokens)
            assert watch.position == 0
            assert watch.begun == watch.given == owed
            for seen in (watch.beats, watch.tokens, watch.headers):
                seen.clear()

    simulate(dut, bench, background=[memories, monitor(dut, watch, free)], limit=40_000)


@pytest.mark.parametrize("listed", [False, True])
@pytest.mark.parametrize("asked", [0, 25, 40])
def test_full_rate(asked, listed):
    """With weights and drain in time a tile of T groups takes T cycles per slot, no gap but the one
    cycle between two slots that is asked for, here every `asked` cycles. With slot lists as well,
    in whatever order the slots stand there."""
    params, groups, taps = SMALL, SLOT_MINIMUM, 5
    dut = Walker(params)
    lists = tuple(tuple((0, k) for k in order) for order in ((0, 9, 3, 7, 1), (8, 2, 4, 6, 5)))
    walk = Walk(
        Op.CONV,
        {
            "mode": 0, "row_mode": 0, "n_blocks": 1, "n_taps": taps, "n_tiles": 4,
            "tile_groups": groups, "long_tiles": 4, "n_groups": 2, "slots": taps,
            "channels": 2 * params.columns, "byte_offset": 0, "pixel_step": 2, "row_step": 0,
            "out_base": 0, "out_plane": 5, "lanes": 2, "list_words": 3 * listed,
        },
        [{"address": 0, "tap_start": 0, "tap_count": taps, "pad": 0, "shift": 0}],
        [{"address": k, "dy": 0, "dx": 0} for k in range(2 * taps)],
        lists if listed else (),
    )  # fmt: skip
    blocks, records, words = walk.records(params.banks)
    cycles: list[int] = []
    pulses: list[bool] = []

    async def memories(ctx) -> None:
        while True:
            _, _, tap, word, valid = await ctx.tick().sample(
                dut.taps.index, dut.lists.index, dut.beat.valid
            )
            cycles.append(valid)
            pulse = bool(asked) and len(cycles) % asked == 0 and 50 < len(cycles) < 400
            ctx.set(dut.give_way, pulse)
            pulses.append(pulse)
            ctx.set(dut.blocks.record.as_value(), blocks[0])
            ctx.set(dut.taps.record.as_value(), records[min(tap, 2 * taps - 1)])
            if listed:
                ctx.set(dut.lists.record.as_value(), words[min(word, 2)])

    async def bench(ctx) -> None:
        for port in (dut.motion.ready, dut.tiles.drain_free, dut.tiles.token.ready):
            ctx.set(port, 1)
        ctx.set(dut.issue.header, walk.header(params.banks))
        ctx.set(dut.issue.start, 1)
        ctx.set(dut.credit_add, 1)
        await ctx.tick()
        ctx.set(dut.issue.start, 0)
        for _ in range(2):
            await ctx.tick()
        slots = 3  # staged so far; from now on one for every slot that begins
        while ctx.get(dut.busy):
            ctx.set(dut.credit_add, int(ctx.get(dut.beat.switch) and slots < 2 * 4 * taps))
            slots += ctx.get(dut.credit_add)
            await ctx.tick()
        await ctx.tick().repeat(2)

    simulate(dut, bench, background=[memories])
    total = 2 * 4 * taps * groups
    assert sum(cycles) == total
    first = cycles.index(1)
    given = "".join(map(str, cycles[first : first + total + sum(pulses)]))
    assert sorted(given.split("1")) == [""] * (total + 1 - sum(pulses)) + ["0"] * sum(pulses)
    assert all(at % groups == 0 for at in _beats_before_gaps(given))


def _beats_before_gaps(cycles: str) -> list[int]:
    return [cycles[:at].count("1") for at, value in enumerate(cycles) if value == "0"]
