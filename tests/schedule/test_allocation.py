"""Lifetimes and addresses: no overlap, greedy and solver, row bands, errors that name the layer."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
from ortools.sat.python import cp_model

from fpga_gen.contract.isa import Op
from fpga_gen.contract.numerics import U8
from fpga_gen.contract.params import EngineParams
from fpga_gen.errors import ScheduleError
from fpga_gen.schedule.compile import compile_schedule
from fpga_gen.schedule.execute.compare import compare_maps
from fpga_gen.schedule.execute.interpreter import run_schedule
from fpga_gen.schedule.place import allocate as allocate_module
from fpga_gen.schedule.place.allocate import Demand, allocate, live_words
from fpga_gen.schedule.place.plan import Chain, band_rows, input_rows
from tests.engines import SMALL
from tests.schedule.graphs import THREE_MODES, Builder, Example, example
from tests.schedule.hardnet import hardnet_mseg


def no_overlap(demands: list[Demand], bases: dict[str, int], capacity: int) -> None:
    for i, a in enumerate(demands):
        assert 0 <= bases[a.tensor] <= capacity - a.words
        for b in demands[:i]:
            apart = (
                bases[a.tensor] + a.words <= bases[b.tensor]
                or bases[b.tensor] + b.words <= bases[a.tensor]
            )
            assert apart or not a.meets(b), (a, b)


def test_random_allocations_do_not_overlap() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        starts = rng.integers(0, 20, 15)
        demands = [
            Demand(f"t{i}", int(rng.integers(1, 50)), int(s), int(s + rng.integers(0, 6)))
            for i, s in enumerate(starts)
        ]
        found = allocate(demands, 2000, 16, ["layer"] * 30)
        no_overlap(demands, found.bases, 2000)
        assert found.live == live_words(demands)[0] <= found.peak
        assert found.peak == max(found.bases[d.tensor] + d.words for d in demands)


def test_solver_finds_what_greedy_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    used = []
    solved = failed = 0
    solve = allocate_module._solve
    monkeypatch.setattr(allocate_module, "_solve", lambda *args: used.append(args) or solve(*args))
    for _ in range(60):
        demands = []
        for i in range(9):
            start = int(rng.integers(0, 8))
            words, last = int(rng.integers(1, 12)), start + int(rng.integers(0, 5))
            demands.append(Demand(f"t{i}", words, start, last))
        live, _ = live_words(demands)
        try:
            found = allocate(demands, live, 16, ["layer"] * 20)
        except ScheduleError:
            failed += 1
            continue
        solved += len(used) > failed
        no_overlap(demands, found.bases, live)
    assert solved > failed


def flat_demands(seed: int, steps: int, capacity: int) -> list[Demand]:
    """Random maps that fill `capacity` words in every step."""
    rng = np.random.default_rng(seed)
    demands: list[Demand] = []
    for step in range(steps):
        live = sum(d.words for d in demands if d.first <= step <= d.last)
        while live < capacity:
            words = min(int(rng.integers(1, capacity // 6)), capacity - live)
            last = step + int(rng.integers(1, 7))
            demands.append(Demand(f"t{len(demands)}", words, step, last))
            live += words
    return [demands[i] for i in rng.permutation(len(demands))]


def test_solver_stops_by_work_and_not_by_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """A slow machine must not refuse what a fast one builds: the same work, then no answer."""
    hard = flat_demands(3, 12, 240)  # undecided even after 20 times the limit below
    solvers: list[cp_model.CpSolver] = []
    solve = cp_model.CpSolver.solve

    def watched(self: cp_model.CpSolver, model: cp_model.CpModel) -> int:
        solvers.append(self)
        return solve(self, model)

    monkeypatch.setattr(cp_model.CpSolver, "solve", watched)
    monkeypatch.setattr(allocate_module, "SOLVER_LIMIT", 0.05)
    assert all(allocate_module._solve(hard, 240) is None for _ in range(2))
    first, second = solvers
    work = [s.response_proto.deterministic_time for s in solvers]
    assert work[0] == work[1] >= 0.05
    assert first.num_branches == second.num_branches > 0
    assert first.parameters.max_time_in_seconds == float("inf")


def test_too_small_memory_names_layer_and_sizes() -> None:
    demands = [Demand("a", 60, 0, 1), Demand("b", 50, 1, 2)]
    with pytest.raises(ScheduleError, match=r"1760 bytes at layer 'two', the memory has 1600"):
        allocate(demands, 100, 16, ["one", "two", "store"])


def test_input_rows() -> None:
    node = example("stride2", SMALL).graph.nodes[0]  # 3x3, stride 2, padding 1, 11 rows
    assert input_rows(node, (0, 2), 11) == (0, 4)
    assert input_rows(node, (2, 3), 11) == (3, 6)
    assert input_rows(node, (5, 6), 11) == (9, 11)


def _stem(params: EngineParams) -> Example:
    """Two 3x3 convolutions and a max-pool over a map much larger than what follows."""
    b = Builder("stem", params)
    x = b.simple(b.input(4, 31, 16), 8, 3, U8)
    x = b.pool(b.simple(x, 16, 3, U8), 3, 2, (1, 1, 1, 1))
    x = b.simple(x, 8, 3, U8, stride=(2, 2))
    return b.example(b.simple(x, 5, 1, U8))


@pytest.mark.parametrize("base", [SMALL, THREE_MODES])
def test_row_bands_are_bit_exact(base: EngineParams) -> None:
    """Shrink the memory step by step: more bands, the same results, until nothing fits."""
    item = _stem(base)
    whole = compile_schedule(item.graph, base)
    banded = 0
    rows = -(-whole.memory.peak_words // base.banks)
    counts = set()
    while True:
        rows = rows * 9 // 10
        params = replace(base, bank_rows=rows)
        try:
            schedule = compile_schedule(item.graph, params)
        except ScheduleError as error:
            message = str(error)
            break
        assert schedule.memory.peak_words <= params.words
        outputs, maps = run_schedule(schedule, item.stored_input, trace=True)
        assert compare_maps(item.graph, item.values, maps) is None
        for name, stored in outputs.items():
            np.testing.assert_array_equal(stored, item.values[name])
        convs = sum(i.op == Op.CONV for i in schedule.instructions)
        banded += convs > 4
        counts.add(convs)
        for name in item.graph.tensors:  # every row of every map was traced
            seen = {
                r
                for m in maps
                if m.tensor == name
                for r in range(m.first_row, m.first_row + m.values.shape[1])
            }
            assert seen == set(range(item.graph.tensors[name].height))
    assert re.search("bytes at layer|no placement", message)
    assert banded >= 3
    assert len(counts) >= 3


def test_band_rows_cover_the_halo() -> None:
    graph = _stem(SMALL).graph
    bands = band_rows(graph, Chain(0, 2, 4))
    assert [b[2] for b in bands] == [(0, 4), (4, 8), (8, 12), (12, 16)]
    assert bands[1][1] == (7, 16)  # 3x3 stride 2 around output rows 4..7
    assert bands[1][0] == (6, 17)
    assert bands[3][0][1] == 31


def test_weights_of_a_group_too_big_for_the_buffer() -> None:
    params = replace(SMALL, weight_words=128)
    b = Builder("big", params)
    b.simple(b.input(40, 12, 12), 4, 3, U8, top=60)
    with pytest.raises(ScheduleError, match="'conv0' is too big for the board"):
        compile_schedule(b.graph(), params)


def test_instruction_too_long_for_the_program_memory() -> None:
    b = Builder("kernel", SMALL)
    b.simple(b.input(4, 12, 12), 4, 9)
    with pytest.raises(ScheduleError, match=r"'conv0': .* 90 words .* program memory of 64 words"):
        compile_schedule(b.graph(), replace(SMALL, program_words=64))
    compile_schedule(b.graph(), replace(SMALL, program_words=128))


@pytest.mark.parametrize("words", [32, 100])
def test_program_memory_is_a_power_of_two(words) -> None:
    with pytest.raises(ScheduleError, match="program_words must be a power of two, at least 64"):
        replace(SMALL, program_words=words)


def test_network_of_another_code() -> None:
    item = example("conv1x1", SMALL)
    with pytest.raises(ScheduleError, match="SP2 code 'two-term-6'"):
        compile_schedule(item.graph, replace(SMALL, sp2_code="sp2-4"))


@pytest.mark.slow
def test_hardnet_mseg_in_two_mebibytes() -> None:
    """The stem runs in row bands where the memory has only 2 MiB."""
    params = EngineParams(bank_rows=2**21 // 16 // 24)
    item = hardnet_mseg(params, 352)
    schedule = compile_schedule(item.graph, params)
    outputs, maps = run_schedule(schedule, item.stored_input, trace=True)
    assert compare_maps(item.graph, item.values, maps) is None
    (name,) = item.graph.outputs
    np.testing.assert_array_equal(outputs[name], item.values[name])
