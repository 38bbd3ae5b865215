"""MacArray against numpy: every mode, random gaps, weight slots, 16-bit planes, drain."""

from __future__ import annotations

import numpy as np
import pytest
from amaranth.sim import Simulator

from fpga_gen.contract.numerics import SP2_4
from fpga_gen.contract.params import EngineParams
from fpga_gen.hardware.array.mac_array import MacArray, emit
from tests.engines import PAIRS, SMALL
from tests.schedule.builder import DOUBLE_CLOCK

THREE_MODES = EngineParams(
    pixels=3, in_channels=4, dsp_columns=12, sp2_columns=6, modes=(1, 2, 3), tile_groups=16,
    ports=1,
)  # fmt: skip
DSP_ONLY = EngineParams(
    pixels=2, in_channels=8, dsp_columns=4, sp2_columns=0, modes=(1, 2), tile_groups=16, ports=1
)
SP2_ONLY = EngineParams(
    pixels=8, in_channels=4, dsp_columns=0, sp2_columns=2, modes=(1,), tile_groups=16, ports=1,
    sp2_code="sp2-4",
)  # fmt: skip


def pack(values, bits: int) -> int:
    """Integer whose fields of `bits` bits hold the values, first lowest."""
    word = 0
    for n, value in enumerate(values):
        word |= (int(value) & ((1 << bits) - 1)) << (bits * n)
    return word


def random_weights(params: EngineParams, mode: int, rng) -> tuple[np.ndarray, int]:
    """([CO/m, CI] integer weights, stage word with noise above the logical subgroups)."""
    s_count = params.subgroups // mode
    weights = np.zeros((s_count, params.sub_columns, params.in_channels), np.int64)
    stage = at = 0
    for s in range(s_count):
        for i in range(params.in_channels):
            for c in range(params.sub_columns):
                code = next(k.code for k in params.sub_kinds if c < k.columns.stop)
                top = code.max_level
                words = [x for x in range(1 << code.bits) if abs(code.decode(x)) <= top]
                if rng.random() < 0.3:
                    words = code.encode(np.array([-top, top]))
                word = int(rng.choice(words))
                weights[s, c, i] = code.decode(word)
                stage |= word << at
                at += code.bits
    total = params.sub_weight_bits * params.subgroups
    noise = int.from_bytes(rng.bytes(total // 8 + 1), "little")
    return weights.reshape(-1, params.in_channels), (stage | noise << at) & ((1 << total) - 1)


def wrap32(value: np.ndarray) -> np.ndarray:
    return ((value + 2**31) & (2**32 - 1)) - 2**31


def run_tiles(params: EngineParams, tiles: list[tuple[int, int, int]], seed: int, gap: float):
    """Run tiles (mode, weight slots, T) back to back and check every drained sum.

    The next tile's beats overlap the drain of the previous one only where the contract allows.
    """
    rng = np.random.default_rng(seed)
    array = MacArray(params, expand=True)
    expected: list[tuple[int, np.ndarray]] = []  # (t, [lane, column]) in order of done
    beats = []  # (beat members, stage word one cycle later)
    for mode, slots, depth in tiles:
        sums = np.zeros((depth, params.lanes, params.columns // mode), np.int64)
        for slot in range(slots):
            weights, stage = random_weights(params, mode, rng)
            for t in range(depth):
                act = rng.integers(-128, 128, (params.lanes, params.in_channels))
                if rng.random() < 0.2:
                    act[:] = -128
                shift8 = int(slot > 0 and rng.random() < 0.2)
                sums[t] = (sums[t] << (8 * shift8)) + act @ weights.T
                beats.append(
                    {
                        "act": pack(act.ravel(), 8),
                        "valid": 1,
                        "t": t,
                        "first": int(slot == 0),
                        "shift": shift8 if slot else int(rng.integers(2)),
                        "last": int(slot == slots - 1),
                        "switch": int(t == 0),
                        "mode": mode - 1,
                        "stage": stage,
                    }
                )
        for t in range(depth):
            block = np.zeros((params.pixels, params.columns), np.int64)
            for j in range(params.pixels):
                block[j] = np.concatenate([sums[t, g * params.pixels + j] for g in range(mode)])
            expected.append((t, wrap32(block)))

    done: list[int] = []
    wanted: list[tuple[int, int]] = []  # requests (index of expected, lane), oldest first
    checked = 0

    cycles = []  # members of every cycle, gaps with noise among them
    for beat in beats:
        while rng.random() < gap:
            noise = {"act": pack(rng.integers(-128, 128, 8), 8), "t": int(rng.integers(4))}
            cycles.append({**noise, "valid": 0, "last": 1, "switch": 0, "mode": 0})
        cycles.append(beat)
    idle = [{"valid": 0, "switch": 0, "mode": 0}] * array.lead

    async def drive(ctx):
        everything = [*idle, *cycles, *idle]
        for n in range(len(everything) - array.lead):
            now, early = everything[n], everything[n + array.lead]
            for name in ("act", "valid", "t", "first", "shift", "last"):
                if name in now:
                    ctx.set(getattr(array.beat, name), now[name])
            ctx.set(array.beat.switch, early["switch"])
            ctx.set(array.beat.mode, early["mode"] if early["valid"] else int(rng.integers(2)))
            await ctx.tick()
            # the stage is read in the cycle after the switch only: anything else is noise
            noise = int(rng.integers(1 << 30))
            ctx.set(array.stage, now["stage"] if now["switch"] else noise)
        ctx.set(array.beat.valid, 0)
        await ctx.tick().repeat(params.pixels * 64 + 60)

    async def watch(ctx):
        nonlocal checked
        pipeline: list[tuple[int, int] | None] = [None] * array.drain_latency
        while True:
            # values of this cycle, before its closing edge
            if ctx.get(array.done.valid):
                assert ctx.get(array.done.t) == expected[len(done)][0]
                lanes = range(0, params.pixels, params.exit_pixels)
                wanted.extend((len(done), j) for j in lanes)
                done.append(ctx.get(array.done.t))
            request = wanted.pop(0) if wanted and rng.random() > gap else None
            ctx.set(array.drain.t, expected[request[0]][0] if request else int(rng.integers(4)))
            ctx.set(array.drain.lane, request[1] if request else 0)
            pipeline.append(request)
            answer = pipeline.pop(0)
            if answer is not None:
                index, lane = answer
                word = ctx.get(array.drain.data)
                together = params.exit_pixels
                count = together * params.columns
                got = [(word >> (32 * c)) & 0xFFFFFFFF for c in range(count)]
                want = expected[index][1][lane : lane + together].ravel() & 0xFFFFFFFF
                assert got == want.tolist(), f"done {index}, lane {lane}"
                checked += together
            await ctx.tick()

    sim = Simulator(array)
    sim.add_clock(1e-6)
    sim.add_testbench(drive)
    sim.add_testbench(watch, background=True)
    sim.run()
    assert len(done) == len(expected)
    assert checked == len(expected) * params.pixels


@pytest.mark.parametrize("gap", [0.0, 0.3])
@pytest.mark.parametrize("mode", SMALL.modes)
def test_small(mode, gap):
    # a tile of several slots leaves time to drain the tile before it
    run_tiles(SMALL, [(mode, 5, 9), (mode, 4, 16)], seed=mode, gap=gap)


@pytest.mark.parametrize("mode", THREE_MODES.modes)
def test_three_modes(mode):
    run_tiles(THREE_MODES, [(mode, 3, 12)], seed=10 + mode, gap=0.2)


def test_mode_changes_without_a_pause():
    run_tiles(THREE_MODES, [(1, 4, 9), (3, 4, 9), (2, 4, 9), (1, 4, 9)], seed=4, gap=0.0)


@pytest.mark.parametrize("gap", [0.0, 0.3])
@pytest.mark.parametrize("mode", PAIRS.modes)
def test_two_lanes_leave_together(mode, gap):
    run_tiles(PAIRS, [(mode, 5, 9), (mode, 4, 16)], seed=30 + mode, gap=gap)


def test_single_slot_tiles():
    """first and last in one beat."""
    run_tiles(SMALL, [(1, 1, 16), (2, 4, 16)], seed=5, gap=0.0)


@pytest.mark.parametrize("gap", [0.0, 0.3])
@pytest.mark.parametrize("mode", DOUBLE_CLOCK.modes)
def test_double_clock(mode, gap):
    """The shortest slots, which replace weights as soon as the last slice has them."""
    depth = MacArray(DOUBLE_CLOCK).slot_min
    assert depth == DOUBLE_CLOCK.slot_minimum == 10
    run_tiles(DOUBLE_CLOCK, [(mode, 6, depth), (mode, 4, depth)], seed=20 + mode, gap=gap)


@pytest.mark.parametrize("params", [DSP_ONLY, SP2_ONLY])
def test_one_kind_of_column(params):
    run_tiles(params, [(params.max_mode, 4, 10), (1, 9, 10)], seed=6, gap=0.1)


def test_sp2_code_is_a_parameter():
    assert SP2_ONLY.sp2 is SP2_4


def test_emission_is_deterministic_and_complete():
    first, second = emit(SMALL), emit(SMALL)
    assert first == second
    for name, text in first.items():
        assert f"module {name}(" in text
    top = first["mac_array"]
    for name in first.keys() - {"mac_array"}:
        assert f"  {name} " in top, f"{name} is emitted but not placed"
