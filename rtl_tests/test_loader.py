"""Loader against a model of the stream: slots, replays, parameters and plain words in order."""

import numpy as np
import pytest
from amaranth.sim import Simulator

from fpga_gen.contract.params import GRANULE, PARAM_BITS, EngineParams
from fpga_gen.contract.records import GroupHead
from fpga_gen.contract.slot_layout import Half, run_bits, slot_run
from fpga_gen.contract.weight_stream import pack_head
from fpga_gen.hardware.loader.joints import COMMAND, KIND_CONV, KIND_VECTOR, KIND_WORDS
from fpga_gen.hardware.loader.loader import Loader
from tests.engines import SMALL

THREE = EngineParams(
    pixels=4,
    in_channels=4,
    dsp_columns=12,
    sp2_columns=6,
    tile_groups=16,
    bank_rows=64,
    ports=2,
    weight_words=64,
)


def staged(params, subgroups, half, values):
    """Bits of `subgroups` logical subgroups in the stage, of the granules of a slot."""
    sent = [values[b // GRANULE] >> b % GRANULE & 1 for b in range(len(values) * GRANULE)]
    places = run_bits(params, subgroups, half).reshape(-1)
    return sum((sent[at] if at >= 0 else 0) << k for k, at in enumerate(places.tolist()))


def test_wrapped_slots_are_tried():
    runs = [slot_run(THREE, n) for n in range(1, THREE.subgroups + 1)]
    assert {bool(run.wrapped) for run in runs} == {False, True}


@pytest.mark.parametrize("params", [SMALL, THREE], ids=["1 port", "2 ports"])
@pytest.mark.parametrize("seed", range(3))
def test_stream_is_cut_into_records(params, seed):
    p = params
    rng = np.random.default_rng(seed)
    dut = Loader(p, expand=True)
    granules: list[int] = []  # the stream, 32-bit granules
    commands = []
    want = {"slots": [], "params": [], "words": []}
    widths: list[int] = []  # bits of every slot that are checked
    param_bits: list[int] = []  # and of all parameters

    def emit(count, bits, kind):
        values = [int(v) for v in rng.integers(0, 1 << GRANULE, count)]
        granules.extend(values)
        want[kind].append(sum(v << GRANULE * i for i, v in enumerate(values)) & ((1 << bits) - 1))

    def align():
        while len(granules) % p.stream_granules:
            granules.append(0)

    for _ in range(8):
        kind = int(rng.choice([KIND_WORDS, KIND_CONV, KIND_VECTOR]))
        command = dict.fromkeys(COMMAND.members, 0) | {"kind": kind}
        if kind == KIND_WORDS:
            align()
            command["words"] = int(rng.integers(1, 6))
            for _ in range(command["words"]):
                emit(p.stream_granules, p.stream_bits, "words")
        elif kind == KIND_VECTOR:
            param_bits.append(p.columns * PARAM_BITS)
            emit(p.param_granules(1), param_bits[-1], "params")
        else:
            mode = int(rng.choice(p.modes))
            command |= {
                "mode": mode - 1,
                "groups": int(rng.integers(1, 4)),
                "tiles": int(rng.integers(1, 4)),
                "last_subgroups": int(rng.integers(1, p.subgroups // mode + 1)),
            }
            command["listed"] = int(rng.integers(2))
            for group in range(command["groups"]):
                if group == 0 or command["listed"]:  # heads differ, and the header means nothing
                    slots = int(rng.integers(1, 7))
                    repeats = int(rng.integers(0, slots + 1) * rng.integers(2))
                    ends = sorted(int(v) for v in rng.integers(0, slots + 1, 2))
                    head = GroupHead(slots + repeats, *ends, repeats)
                if group == 0:
                    command |= vars(head) if not command["listed"] else {"slots": 9, "repeats": 3}
                subgroups = p.subgroups // mode
                if group == command["groups"] - 1:
                    subgroups = command["last_subgroups"]
                if command["listed"]:
                    granules.extend(pack_head(head).tolist())
                param_bits.append(subgroups * p.sub_columns * PARAM_BITS)
                emit(p.some_param_granules(subgroups), param_bits[-1], "params")
                first = len(want["slots"])
                for slot in range(slots):
                    half = Half((slot >= ends[0]) + (slot >= ends[1]))
                    size = slot_run(p, subgroups, half).granules
                    values = [int(v) for v in rng.integers(0, 1 << GRANULE, size)]
                    granules.extend(values)
                    want["slots"].append(staged(p, subgroups, half, values))
                    widths.append(p.sub_weight_bits * subgroups)
                again = len(want["slots"]) - repeats
                want["slots"] += want["slots"][again:]
                widths += widths[again:]
                want["slots"] += want["slots"][first:] * (command["tiles"] - 1)
                widths += widths[first:] * (command["tiles"] - 1)
        commands.append(command)
    align()
    want_bits = {"slots": widths, "params": param_bits}
    got = {"slots": [], "params": [], "words": []}

    async def feed(ctx):
        for at in range(0, len(granules), p.stream_granules):
            while rng.random() < 0.3:
                await ctx.tick()
            ctx.set(
                dut.words.payload,
                sum(v << GRANULE * i for i, v in enumerate(granules[at : at + p.stream_granules])),
            )
            ctx.set(dut.words.valid, 1)
            await ctx.tick().until(dut.words.ready)
            ctx.set(dut.words.valid, 0)

    async def order(ctx):
        for command in commands:
            ctx.set(dut.command.payload, command)
            ctx.set(dut.command.valid, 1)
            await ctx.tick().until(dut.command.ready)
            ctx.set(dut.command.valid, 0)

    async def take_words(ctx):
        while len(got["words"]) < len(want["words"]):
            ctx.set(dut.out.ready, int(rng.integers(2)))
            _, _, valid, ready, data = await ctx.tick().sample(
                dut.out.valid, dut.out.ready, dut.out.payload
            )
            if valid and ready:
                got["words"].append(data)
        ctx.set(dut.out.ready, 0)

    async def take_params(ctx):
        held = index = 0
        for bits in want_bits["params"]:
            ctx.set(dut.parameters.held, held)
            while not ctx.get(dut.params_ready):
                await ctx.tick()
            await ctx.tick().repeat(int(rng.integers(1, 30)))
            ctx.set(dut.parameters.index, index % 4)
            ctx.set(dut.parameters.release, held)
            await ctx.tick()
            ctx.set(dut.parameters.release, 0)
            await ctx.tick()
            got["params"].append(ctx.get(dut.parameters.data.as_value()) & ((1 << bits) - 1))
            index, held = index + 1, 1

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    for bench in (feed, order, take_words, take_params):
        simulator.add_testbench(bench, background=True)
    simulator.add_testbench(_credit_keeper(dut, want_bits, got, rng))
    simulator.run_until(2e-2)
    assert got == want


def _credit_keeper(dut, want_bits, got, rng):
    """Takes slots whenever a credit exists, counting credits in every cycle."""

    async def bench(ctx):
        credit, wait = 0, 0
        coming = [0] * 5  # a claimed slot reaches the array only some cycles later
        for _ in range(15000):
            ctx.set(dut.switch, 0)
            if credit and wait == 0 and rng.random() < 0.5:
                ctx.set(dut.switch, 1)
                credit -= 1
                wait = 8
            else:
                wait = max(wait - 1, 0)
            _, _, added, switched, underrun = await ctx.tick().sample(
                dut.credit_add, dut.switch, dut.underrun
            )
            assert not underrun
            coming.append(added)
            credit += coming.pop(0)
            if switched:  # the array reads the stage in the cycle after the switch
                bits = want_bits["slots"][len(got["slots"])]
                got["slots"].append(ctx.get(dut.stage) & ((1 << bits) - 1))

    return bench
