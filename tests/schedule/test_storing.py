"""STOREs: when they come, which words they move, what the cycle model makes of them."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from fpga_gen.contract.address import unpack_address
from fpga_gen.contract.isa import Op
from fpga_gen.contract.numerics import I16, U8
from fpga_gen.contract.params import MAX_BURST
from fpga_gen.schedule.compile import compile_schedule
from fpga_gen.schedule.cycles.store_model import StoreClock
from fpga_gen.schedule.cycles.timing import Timing
from fpga_gen.schedule.execute.interpreter import run_schedule
from fpga_gen.schedule.lower.conv_plan import ConvRun
from fpga_gen.schedule.lower.placement import map_layout
from fpga_gen.schedule.lower.storing import MOST_PIECES, complete_words, cut_runs
from fpga_gen.schedule.program import Schedule
from tests.engines import SMALL
from tests.schedule.graphs import THREE_MODES, Builder, Example

TIMING = Timing(write_efficiency=0.5, store_latency=5)


def wide(fmt=U8) -> Example:
    b = Builder("wide", THREE_MODES)
    b.simple(b.input(9, 12, 12), 64, 3, fmt)
    return b.example()


def moved(schedule: Schedule, tensor: str) -> list[tuple[int, int, int]]:
    """(index in the program, first word, words) of the STOREs of a map."""
    banks = schedule.params.banks
    return [
        (at, unpack_address(i.base, banks), i.words)
        for at, i in enumerate(schedule.instructions)
        if i.op == Op.STORE and i.layer == tensor
    ]


def test_last_layer_is_stored_while_it_is_computed() -> None:
    item = wide()
    schedule = compile_schedule(item.graph, THREE_MODES)
    outputs, _ = run_schedule(schedule, item.stored_input)
    np.testing.assert_array_equal(outputs["t0"], item.values["t0"])
    stores, layout = moved(schedule, "t0"), schedule.host_output.maps[0]
    convs = [at for at, i in enumerate(schedule.instructions) if i.op == Op.CONV]
    assert 2 <= len(stores) <= MOST_PIECES
    for (before, *_), (after, *_) in pairwise(stores):
        assert any(before < at < after for at in convs)
    ends = [first + words for _, first, words in stores]
    assert ends[:-1] == [first for _, first, _ in stores[1:]]
    assert ends[-1] - stores[0][1] == layout.words
    whole = [i.channels for i in schedule.instructions if i.op == Op.CONV]
    for at, end in zip([s[0] for s in stores], ends, strict=True):
        done = sum(whole[: sum(c < at for c in convs)])
        assert end - stores[0][1] <= complete_words(layout, done, THREE_MODES)


def test_cuts_pay_in_the_model() -> None:
    """One STORE after the last CONV would take longer: the rows of the bench stand on this."""
    schedule = compile_schedule(wide().graph, THREE_MODES)
    stores = moved(schedule, "t0")
    beats = schedule.host_output.bytes / 16
    end = schedule.timeline.spans[-1]
    last_conv = max(at for at, i in enumerate(schedule.instructions) if i.op == Op.CONV)
    alone = end.start - schedule.timeline.spans[last_conv].end
    assert stores[-1][2] / 2 <= alone < 0.8 * beats


def test_maps_of_16_bits_leave_in_one_piece() -> None:
    item = wide(I16)
    schedule = compile_schedule(item.graph, THREE_MODES)
    outputs, _ = run_schedule(schedule, item.stored_input)
    np.testing.assert_array_equal(outputs["t0"], item.values["t0"])
    assert len(moved(schedule, "t0")) == 1


def test_results_are_stored_before_later_layers() -> None:
    b = Builder("two", SMALL)
    first = b.simple(b.input(5, 9, 9), 8, 3, U8)
    b.simple(b.simple(first, 8, 3, U8), 8, 3, U8)
    item = b.example("t2", "t0")
    schedule = compile_schedule(item.graph, SMALL)
    outputs, maps = run_schedule(schedule, item.stored_input, trace=True)
    for name in ("t0", "t2"):
        np.testing.assert_array_equal(outputs[name], item.values[name])
    assert {m.tensor for m in maps} == {"image", "t0", "t1", "t2"}
    ((at, *_),) = moved(schedule, "t0")
    order = [i.layer for i in schedule.instructions]
    assert order.index("conv0") < at < order.index("conv1")
    assert schedule.instructions[-1].op == Op.END
    assert len(moved(schedule, "t2")) >= 1


@pytest.mark.parametrize("pieces", range(1, MOST_PIECES + 1))
def test_cut_runs(pieces: int) -> None:
    params = THREE_MODES  # 18 channels a group in mode 1, 9 in mode 2
    b = Builder("cut", params)
    b.simple(b.input(8, 5, 5), 100, 1, U8)
    layout = map_layout(b.tensors["t0"], params, beats=True)
    runs = [ConvRun(1, 0, 5, 90, (0, 1)), ConvRun(2, 90, 2, 10, (0, 1))]
    cut, words = cut_runs(runs, layout, params, pieces)
    assert sum(r.groups for r in cut) == 7
    assert [r.first for r in cut] == [0, *np.cumsum([r.channels for r in cut])[:-1]]
    assert cut[-1].first + cut[-1].channels == 100
    stored = [w for w in words[:-1] if w]
    assert len(stored) <= pieces - 1
    assert (pieces == 1) == (not stored)
    assert stored == sorted(set(stored))
    for run, end in zip(cut, words, strict=True):
        assert end <= complete_words(layout, run.first + run.channels, params)
        assert end % 2 == 0  # whole beats
    if pieces == 1:
        assert cut == runs


def test_runs_of_a_period_stay_apart() -> None:
    """Each ends in a group that is not full."""
    b = Builder("period", THREE_MODES)
    b.simple(b.input(8, 5, 5), 24, 1, U8)
    layout = map_layout(b.tensors["t0"], THREE_MODES, beats=True)
    runs = [ConvRun(1, first, 1, 8, (0,)) for first in (0, 8, 16)]
    assert cut_runs(runs, layout, THREE_MODES, 1)[0] == runs


def clock(words: int = 80) -> StoreClock:
    """Clock of a STORE of 40 beats handed over at cycle 100, its results in memory at 120."""
    store = StoreClock(THREE_MODES, TIMING, 0.0)  # two beats an access
    store.start(100, words // 2)
    store.results_in(120)
    return store


def test_alone_the_buffer_takes_a_beat_a_cycle() -> None:
    store = clock()
    assert store.finish(100) == 120 + 40 + TIMING.store_latency
    assert store.written == 120 + 40 + 40 / 0.5  # the burst leaves once it is there


def test_beside_a_busy_array_each_access_costs_a_cycle() -> None:
    store = clock()
    assert store.beside(100, 200, 16, 0) == pytest.approx(80 / 16)
    assert store.beside(200, 1000, 16, 0) == pytest.approx(15)
    assert not store.busy
    assert store.end == pytest.approx(200 + 15 * 16 + TIMING.store_latency)
    assert store.finish(1000) == 1000


def test_beside_idle_cycles_nothing_is_lost() -> None:
    assert clock().beside(100, 1000, 16, 4) == 0


def test_waits_for_the_exit_path() -> None:
    store = StoreClock(THREE_MODES, TIMING, 0.0)
    store.start(100, 40)
    assert store.beside(100, 1000, 16, 0) == 0
    assert store.busy


def test_long_stores_go_at_the_pace_of_the_memory() -> None:
    store = clock(words=20_000)
    end = store.finish(100)
    assert store.written == 120 + MAX_BURST + 10_000 / 0.5
    assert store.written - 1000 < end < store.written


def test_narrow_accesses_cost_more() -> None:
    """One beat an access instead of two: twice as many cycles taken from the array."""
    store = StoreClock(SMALL, TIMING, 0.0)
    store.start(100, 40)
    store.results_in(120)
    assert store.beside(100, 10_000, 16, 0) == pytest.approx(40)
