"""Cycle model against closed forms, its bottlenecks, and the facts of a schedule."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fpga_gen.contract.isa import Op
from fpga_gen.contract.numerics import I8, U8
from fpga_gen.contract.params import EngineParams
from fpga_gen.quant.groups import weight_groups
from fpga_gen.schedule.compile import compile_schedule
from fpga_gen.schedule.cycles.model import ModelRun, run_model
from fpga_gen.schedule.cycles.timing import DEFAULT_TIMING, SUSTAINED, Timing, board_timing
from fpga_gen.schedule.program import Schedule
from tests.engines import SMALL
from tests.schedule.graphs import THREE_MODES, Builder, example

FAST_DRAM = Timing(read_efficiency=1.0, read_limit=1e9, dram_latency=0)


def timeline(schedule: Schedule, timing: Timing = DEFAULT_TIMING) -> ModelRun:
    return run_model(schedule.instructions, schedule.params, timing)


def one_conv(params: EngineParams, timing: Timing, height: int = 16) -> tuple[Schedule, int]:
    """A 3x3 convolution of one layer, and its place in the program."""
    b = Builder("one", params)
    b.simple(b.input(8, height, 16), 8, 3, U8)
    schedule = compile_schedule(b.graph(), params, timing)
    return schedule, [i.op for i in schedule.instructions].index(Op.CONV)


def test_one_tile_per_group_takes_slots_times_groups() -> None:
    """Weights arrive in time and the drain is hidden: slots x pixel groups + hand-over."""
    schedule, at = one_conv(THREE_MODES, FAST_DRAM)
    conv, params = schedule.instructions[at], schedule.params
    times = timeline(schedule, FAST_DRAM)
    groups = -(-256 // conv.lanes)
    assert groups == conv.n_tiles * (conv.tile_groups - 1) + conv.long_tiles
    tiles = [conv.tile_groups - (t >= conv.long_tiles) for t in range(conv.n_tiles)]
    ideal = conv.n_groups * sum(conv.slots * max(g, params.slot_minimum) for g in tiles)
    span = times.spans[at]
    assert ideal <= span.end - span.start <= ideal + 60
    assert conv.n_groups * params.group_channels(conv.mode + 1) >= 8


def test_slow_dram_shows_as_weight_stalls() -> None:
    b = Builder("stream", SMALL)
    b.simple(b.input(40, 4, 4), 40, 3, U8, top=60)
    schedule = compile_schedule(b.graph(), SMALL)
    slow = Timing(read_limit=2.0)
    times, at = timeline(schedule, slow), [i.op for i in schedule.instructions].index(Op.CONV)
    span = times.spans[at]
    assert span.stall_weights > 0
    assert span.end - span.start >= span.stream_granules * 4 / 2.0 * 0.95
    fast = timeline(schedule, FAST_DRAM)
    assert fast.spans[at].stall_weights < span.stall_weights / 10
    assert fast.cycles < times.cycles


def test_drain_bound_layer() -> None:
    """A 1x1 convolution of one block leaves the array faster than results can be written."""
    b = Builder("drain", SMALL)
    b.simple(b.input(4, 24, 24), 4, 1, U8)
    schedule = compile_schedule(b.graph(), SMALL)
    at = [i.op for i in schedule.instructions].index(Op.CONV)
    times = timeline(schedule)
    conv = schedule.instructions[at]
    steps = -(-576 // conv.lanes) * SMALL.pixels
    assert times.spans[at].stall_drain > 0
    assert times.spans[at].end - times.spans[at].start > steps


def test_wait_costs_the_drain() -> None:
    schedule, _ = one_conv(SMALL, DEFAULT_TIMING)
    without = tuple(replace(i, wait=0) for i in schedule.instructions)
    free = run_model(without, SMALL, DEFAULT_TIMING)
    assert free.cycles < timeline(schedule).cycles


def test_spans_are_in_order_and_cover_the_run() -> None:
    for name in ("block", "elementwise", "depthwise"):
        schedule = compile_schedule(example(name, SMALL).graph, SMALL)
        times = timeline(schedule)
        assert len(times.spans) == len(schedule.instructions)
        for before, span in zip(times.spans, times.spans[1:], strict=False):
            assert before.end <= span.start <= span.end
        assert times.cycles >= times.spans[-1].end
        assert schedule.estimate.cycles == times.cycles
        granules = sum(s.stream_granules for s in times.spans) * 4
        assert granules <= len(schedule.weights) + schedule.host_input.bytes < granules + 16


def test_facts_by_hand() -> None:
    b = Builder("facts", SMALL)
    x = b.simple(b.input(5, 6, 7), 6, 3, U8)
    kinds = b.kinds(4)
    x = b.conv([b.term(x, kinds, (3, 3), (2, 2), (1, 1, 1, 1))], kinds, I8)
    item = b.example(b.mul(x, x, I8))
    schedule = compile_schedule(item.graph, SMALL)
    layers = {f.name: f for f in schedule.layers}
    assert layers["conv0"].macs == 6 * 5 * 9 * 42
    assert layers["conv1"].macs == 4 * 6 * 9 * 3 * 4
    assert layers["mul2"].macs == 0
    assert layers["conv0"].op == "conv"
    assert layers["mul2"].mapping == "2 px x 4 ch"
    assert {"1x(2 px x 8 ch)", "2x(2 px x 4 ch)"} >= {layers["conv0"].mapping}
    e = schedule.estimate
    assert e.macs == layers["conv0"].macs + layers["conv1"].macs
    # kinds repeat every four positions: 6 channels are 4 int8 + 2 SP2, 4 channels are 2 + 2
    bits = 45 * (4 * 8 + 2 * 6) + 54 * (2 * 8 + 2 * 6)
    assert e.lower_bound_bytes == -(-(bits + 8 * 5 * 42 + 8 * 4 * 12) // 8)
    stores = sum(i.words * 4 for i in schedule.instructions if i.op == Op.STORE)
    assert e.write_bytes == stores
    regions = len(schedule.program) + len(schedule.weights) + schedule.host_input.bytes
    assert e.read_bytes == regions > e.lower_bound_bytes
    assert e.frames_per_second(1e6) == pytest.approx(1e6 / e.cycles)


def test_grouped_convolutions_are_found_and_split() -> None:
    weight = np.ones((12, 6, 3, 3), np.int8)
    assert weight_groups(weight) == 1
    weight[np.arange(12)[:, None] // 4 != np.arange(6)[None, :] // 2] = 0
    assert weight_groups(weight) == 3
    item = example("depthwise", SMALL)
    schedule = compile_schedule(item.graph, SMALL, skip=False)
    convs = [i for i in schedule.instructions if i.op == Op.CONV and i.layer == "conv1"]
    assert len(convs) > 1  # 24 groups of one channel: no instruction reads all planes
    assert all(i.n_blocks < 6 for i in convs)
    listed = compile_schedule(item.graph, SMALL)  # with slot lists one instruction will do
    assert sum(i.layer == "conv1" for i in listed.instructions) == 1
    assert listed.estimate.cycles < schedule.estimate.cycles
    assert next(f for f in schedule.layers if f.name == "conv1").macs == 24 * 9 * 36


def test_modes_follow_the_shape() -> None:
    """Few channels and many pixels ask for the widest mode, the reverse for mode 1."""
    b = Builder("modes", THREE_MODES)
    x = b.simple(b.input(8, 20, 20), 6, 3, U8)
    x = b.simple(x, 8, 3, U8, stride=(4, 4))
    b.simple(x, 36, 1, U8)
    schedule = compile_schedule(b.graph(), THREE_MODES)
    modes = [i.mode + 1 for i in schedule.instructions if i.op == Op.CONV]
    assert modes[:2] == [3, 1]
    assert set(modes[2:]) == {1}  # the last layer may be cut for its STOREs


def test_a_schedule_is_deterministic() -> None:
    first, second = (compile_schedule(example("resample", SMALL).graph, SMALL) for _ in range(2))
    assert first == second
    assert first.weights == second.weights
    assert first.trace


def test_board_timing_slows_the_stream_and_never_speeds_it_up():
    assert board_timing(SUSTAINED) == DEFAULT_TIMING
    assert board_timing(10 * SUSTAINED) == DEFAULT_TIMING
    assert board_timing(SUSTAINED / 4).read_limit == pytest.approx(DEFAULT_TIMING.read_limit / 4)
