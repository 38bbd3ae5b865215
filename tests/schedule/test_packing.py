"""Maps that share planes: bytes, blocks, lifetimes, the search, and what is left apart."""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from fpga_gen.contract.isa import ConvInstruction, Op
from fpga_gen.contract.numerics import I8, I16, U8
from fpga_gen.contract.params import EngineParams
from fpga_gen.quant.ir import QConv
from fpga_gen.schedule import compile as compile_module
from fpga_gen.schedule.compile import compile_schedule
from fpga_gen.schedule.cycles.timing import DEFAULT_TIMING
from fpga_gen.schedule.execute.compare import compare_maps
from fpga_gen.schedule.execute.interpreter import run_schedule
from fpga_gen.schedule.execute.memory import ProgramError, TrackedMemory
from fpga_gen.schedule.lower.placement import Placement, map_layout
from fpga_gen.schedule.place import allocate as allocate_module
from fpga_gen.schedule.place.allocate import Demand, _solve, allocate_quickly, live_words
from fpga_gen.schedule.place.pack_search import Reader, planes_touched, search_runs
from fpga_gen.schedule.place.packing import find_runs, fit_runs, packable, with_runs
from fpga_gen.schedule.place.plan import Plan, demands, make_plan
from fpga_gen.schedule.program import Schedule
from fpga_gen_host.regions import InputLayout
from tests.engines import SMALL
from tests.schedule.graphs import THREE_MODES, Builder, Example, example
from tests.schedule.test_allocation import no_overlap


def check(item: Example, params: EngineParams, **options) -> Schedule:
    schedule = compile_schedule(item.graph, params, **options)
    outputs, maps = run_schedule(schedule, item.stored_input, trace=True)
    assert {m.tensor for m in maps} == set(item.graph.tensors)
    assert compare_maps(item.graph, item.values, maps) is None
    for name, stored in outputs.items():
        np.testing.assert_array_equal(stored, item.values[name])
    return schedule


def plan_of(item: Example, params: EngineParams) -> tuple[Plan, InputLayout]:
    tensors = item.graph.tensors
    layouts = {n: map_layout(t, params, beats=n in item.graph.outputs) for n, t in tensors.items()}
    layout = layouts[item.graph.input]
    part = params.plane_words(-(-layout.words // params.load_words))
    host = InputLayout(layout, part, params.load_words, params.ports)
    return make_plan(item.graph, params, layouts), host


def places_of(schedule: Schedule) -> dict[str, Placement]:
    return {p.tensor: p.placement for p in schedule.trace}


def convs_of(schedule: Schedule, layer: str) -> list[ConvInstruction]:
    convs = (i for i in schedule.instructions if isinstance(i, ConvInstruction))
    return [i for i in convs if i.layer == layer]


def three_maps(params: EngineParams, *formats, alone: int = 0) -> Example:
    """Three maps of 6 channels that one 3x3 convolution reads together."""
    b = Builder("three-maps", params)
    image = b.input(3, 7, 6)
    maps = tuple(b.simple(image, 6, 1, fmt) for fmt in formats)
    last = b.simple(maps, 20, 3, U8, top=60)
    if alone:
        b.simple(maps[1], alone, 3, I8, top=60)
        return b.example(last, f"t{len(maps) + 1}")
    return b.example(last)


def test_tails_share_planes() -> None:
    """6 + 6 + 6 channels in words of 4: 5 blocks instead of 6, every plane read once."""
    item = three_maps(SMALL, U8, U8, U8)
    apart = check(item, SMALL, pack=False)
    packed = check(item, SMALL)
    for schedule, blocks in ((apart, 6), (packed, 5)):
        for conv in convs_of(schedule, "conv3"):
            assert conv.n_blocks == blocks
            assert len({b.address for b in conv.blocks}) == blocks
            assert conv.slots == 9 * blocks
    places = places_of(packed)
    parts = [places[f"t{i}"] for i in range(3)]
    assert sorted(p.layout.byte_offset for p in parts) == [0, 0, 2]
    (second,) = (p for p in parts if p.layout.byte_offset)
    assert second.layout.planes == 2
    shared = [p for p in parts if p.address(1, 0) == second.base]  # channels 4, 5 and then 0, 1
    assert len(shared) == 1
    assert shared[0].layout.plane == second.layout.plane
    assert packed.estimate.cycles < apart.estimate.cycles
    assert len(packed.weights) < len(apart.weights)


def test_maps_of_two_pad_bytes_stay_apart() -> None:
    """Padding of a shared plane has one value, so only the two unsigned maps share."""
    schedule = check(three_maps(SMALL, U8, I8, U8), SMALL)
    places = places_of(schedule)
    assert places["t1"].layout.byte_offset == 0
    assert {places["t0"].layout.byte_offset, places["t2"].layout.byte_offset} == {0, 2}
    for conv in convs_of(schedule, "conv3"):
        assert sorted(b.pad for b in conv.blocks) == [0, 0, 1, 1, 1]


def test_wide_maps_stay_apart() -> None:
    places = places_of(check(three_maps(SMALL, I16, I16, I16), SMALL))
    assert all(p.layout.byte_offset == 0 for p in places.values())


def test_dear_reader_of_one_map_keeps_it_aligned() -> None:
    """t1 alone feeds a wide convolution: it must not straddle a plane more."""
    schedule = check(three_maps(SMALL, U8, U8, U8, alone=60), SMALL)
    assert places_of(schedule)["t1"].layout.planes == 2
    for conv in convs_of(schedule, "conv4"):
        assert conv.n_blocks == 2
    assert all(c.n_blocks == 5 for c in convs_of(schedule, "conv3"))


def test_map_read_twice_by_one_layer() -> None:
    """The second occurrence has weights of its own, so it needs blocks of its own."""
    b = Builder("twice", SMALL)
    image = b.input(3, 6, 5)
    one, two = (b.simple(image, c, 1, U8) for c in (6, 5))
    b.simple((one, two, one), 9, 3, U8)
    item = b.example()
    assert packable(item.graph, plan_of(item, SMALL)[0]) == {"t0", "t1"}
    check(item, SMALL)


def test_packable_maps() -> None:
    b = Builder("packable", SMALL)
    image = b.input(4, 8, 8)
    pooled = b.simple(image, 6, 1, U8)
    summed = b.simple(image, 6, 1, U8)
    kept = b.simple(image, 6, 1, U8)
    wide = b.simple(image, 6, 1, I16)
    grouped = b.simple(image, 6, 1, U8)
    free = b.simple(image, 6, 1, U8)
    b.pool(pooled, 2, 2)
    b.add((summed, summed), I8)
    own = b.simple(grouped, 6, 3, U8, groups=2)
    last = b.simple((kept, wide, free, own), 5, 1, U8, top=60)
    item = b.example(last, kept)
    assert packable(item.graph, plan_of(item, SMALL)[0]) == {free, own}


def _brute_force(sizes: list[int], readers: list[Reader], word: int) -> float:
    """Fewest cycles over all orders of the maps and all cuts of an order into runs."""
    best = np.inf
    count = len(sizes)
    for order in itertools.permutations(range(count)):
        for cuts in itertools.product((False, True), repeat=count - 1):
            runs, run = [], [order[0]]
            for m, cut in zip(order[1:], cuts, strict=True):
                if cut:
                    runs.append(run)
                    run = []
                run.append(m)
            best = min(best, _cost([*runs, run], sizes, readers, word))
    return best


def _cost(runs: list, sizes: list[int], readers: list[Reader], word: int) -> float:
    planes: dict[int, set] = {}
    for r, run in enumerate(runs):
        start = 0
        for m in run:
            planes[m] = {(r, p) for p in range(*planes_touched(start, sizes[m], word))}
            start += sizes[m]
    return sum(
        r.cycles(r.fixed + sum(t * len(set().union(*(planes[m] for m in ms))) for t, ms in r.parts))
        for r in readers
    )


def test_search_finds_the_best_runs() -> None:
    rng = np.random.default_rng(0)
    better = 0
    for _ in range(12):
        sizes = [int(s) for s in rng.integers(1, 40, 5)]
        readers = []
        for _ in range(6):
            maps = tuple(int(m) for m in rng.permutation(5)[: rng.integers(1, 5)])
            price = int(rng.integers(20, 3000))
            parts = ((int(rng.choice([1, 9])), maps),)
            readers.append(Reader(parts, int(rng.integers(0, 9)), lambda s, price=price: price * s))
        found = list(search_runs([list(range(5))], sizes, readers, 16))
        assert all(len(run) > 1 for run in found)
        single = [(m,) for m in range(5) if not any(m in run for run in found)]
        got = _cost([*found, *single], sizes, readers, 16)
        assert got <= _brute_force(sizes, readers, 16) + 5  # a neighbour must be worth 1 cycle
        better += got < _cost([(m,) for m in range(5)], sizes, readers, 16)
    assert better >= 6


def test_search_keeps_classes_apart() -> None:
    reader = Reader(((9, (0, 1, 2, 3)),), 0, lambda slots: 100.0 * slots)
    runs = search_runs([[0, 2], [1, 3]], [8, 8, 8, 8], [reader], 16)
    assert {frozenset(run) for run in runs} == {frozenset({0, 2}), frozenset({1, 3})}


def _random_links(params: EngineParams, seed: int) -> Example:
    """Convolutions that read one to four maps of one size each; some terms, kernels, formats."""
    b = Builder("random-links", params, seed)
    rng = b.rng
    maps = [b.input(int(rng.integers(1, 10)), *(int(v) for v in rng.integers(3, 11, 2)))]
    read: set[str] = set()
    for _ in range(10):
        count = int(rng.integers(1, min(4, len(maps)) + 1))
        inputs = tuple(str(n) for n in rng.permutation(maps[-7:])[:count])
        kernel = int(rng.choice([1, 3]))
        fmt = (U8, U8, U8, I8, I16)[int(rng.integers(5))]
        kinds = b.kinds(int(rng.integers(1, 24)))
        terms = [b.term(inputs, kinds, (kernel,) * 2, pads=(kernel // 2,) * 4, top=30)]
        if rng.random() < 0.3:
            other = str(rng.choice(maps))
            terms.append(b.term(other, kinds, top=30))
            read.add(other)
        maps.append(b.conv(terms, kinds, fmt))
        read.update(inputs)
    return b.example(*[m for m in maps if m not in read])


@pytest.mark.parametrize("params", [SMALL, THREE_MODES], ids=["small", "three"])
def test_random_links_are_bit_exact(params: EngineParams) -> None:
    shared = 0
    for seed in range(25):
        item = _random_links(params, seed)
        schedule = check(item, params)
        shared += any(p.placement.layout.byte_offset for p in schedule.trace)
        apart = compile_schedule(item.graph, params, pack=False)
        assert schedule.estimate.cycles <= apart.estimate.cycles
    assert shared >= 12


@pytest.mark.parametrize("params", [SMALL, THREE_MODES], ids=["small", "three"])
def test_every_planned_run_is_bit_exact(params: EngineParams) -> None:
    """Runs chosen at random, good or bad, straight through the placement and the lowering."""
    item = example("links", params)
    plan, _ = plan_of(item, params)
    for seed in range(6):
        chosen = _random_runs(item, plan, np.random.default_rng(seed))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(compile_module, "find_runs", lambda *a, chosen=chosen: chosen)
            patch.setattr(compile_module, "allocate_quickly", lambda *a: None)
            schedule = check(item, params)
        offsets = {p.placement.layout.byte_offset for p in schedule.trace}
        assert len(offsets) > 1


def test_planes_of_a_run_live_as_long_as_their_maps() -> None:
    item = example("links", SMALL)
    plan, host = plan_of(item, SMALL)
    runs = find_runs(item.graph, SMALL, plan, DEFAULT_TIMING)
    assert runs
    apart = {d.tensor: d for d in demands(plan, item.graph, host)}
    packed = with_runs(plan, item.graph, SMALL, runs)
    wanted = demands(packed, item.graph, host)
    plane = packed.buffers[runs[0][0]].layout.plane
    for run in runs:
        pieces = [d for d in wanted if d.tensor == run[0]]
        start = 0
        for name in run:
            t = item.graph.tensors[name]
            for p in range(*planes_touched(start, t.channels, SMALL.in_channels)):
                (piece,) = [d for d in pieces if d.offset <= p * plane < d.offset + d.words]
                assert piece.first <= apart[name].first
                assert piece.last >= apart[name].last
            start += t.channels
        assert Counter(d.tensor for d in wanted)[run[0]] == len(pieces)
    assert not {n for run in runs for n in run[1:]} & {d.tensor for d in wanted}


def test_objects_of_several_pieces_do_not_overlap() -> None:
    rng = np.random.default_rng(4)
    for _ in range(40):
        wanted = []
        for i in range(10):
            at = 0
            for _ in range(int(rng.integers(1, 4))):
                start, words = int(rng.integers(0, 12)), int(rng.integers(1, 30))
                wanted.append(Demand(f"t{i}", words, start, start + int(rng.integers(0, 5)), at))
                at += words
        found = allocate_quickly(wanted, 4000)
        assert found is not None
        placed = [replace(d, tensor=str(i)) for i, d in enumerate(wanted)]
        bases = {str(i): found.bases[d.tensor] + d.offset for i, d in enumerate(wanted)}
        no_overlap(placed, bases, 4000)
        assert found.peak == max(bases[d.tensor] + d.words for d in placed)
        assert found.live == live_words(wanted)[0] <= found.peak


def test_solver_places_pieces_together() -> None:
    """Two staircases of planes fit into 40 words only if they interlock."""
    wanted = [
        Demand("a", 10, 0, 1, 0), Demand("a", 10, 0, 3, 10),
        Demand("b", 10, 2, 3, 0), Demand("b", 10, 0, 3, 20), Demand("c", 10, 2, 3),
    ]  # fmt: skip
    bases = _solve(wanted, 40)
    assert bases is not None
    placed = [replace(d, tensor=str(i)) for i, d in enumerate(wanted)]
    no_overlap(placed, {str(i): bases[d.tensor] + d.offset for i, d in enumerate(wanted)}, 40)


def _random_runs(item: Example, plan: Plan, rng: np.random.Generator) -> tuple:
    """All packable maps in runs chosen at random, whatever they cost."""
    runs: dict[tuple, list[str]] = {}
    for name in rng.permutation(sorted(packable(item.graph, plan))):
        t = item.graph.tensors[str(name)]
        key = (t.height, t.width, t.format.zero, int(rng.integers(2)))
        runs.setdefault(key, []).append(str(name))
    return tuple(tuple(r) for r in runs.values() if len(r) > 1)


def test_runs_give_way_to_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs that no placement is found for are given up; in no memory at all, every one."""
    monkeypatch.setattr(allocate_module, "_solve", lambda *a: None)
    item = example("links", SMALL)
    plan, host = plan_of(item, SMALL)
    apart = compile_schedule(item.graph, SMALL, pack=False)
    params = replace(SMALL, bank_rows=-(-apart.memory.peak_words // SMALL.banks))
    given_up = kept = 0
    for seed in range(12):
        runs = _random_runs(item, plan, np.random.default_rng(seed))
        found = fit_runs(plan, item.graph, params, host, runs)
        left = set() if found is None else {b.run for b in found[0].buffers.values()} - {""}
        assert left <= {run[0] for run in runs}
        given_up += len(runs) - len(left)
        kept += len(left)
        if found is not None:
            assert found[1].peak <= params.words
        monkeypatch.setattr(compile_module, "find_runs", lambda *a, runs=runs: runs)
        assert check(item, params).memory.peak_words <= params.words
        assert fit_runs(plan, item.graph, replace(SMALL, bank_rows=1), host, runs) is None
    assert given_up
    assert kept


def test_the_solver_keeps_runs_that_a_greedy_placement_would_not() -> None:
    item = example("links", SMALL)
    plan, host = plan_of(item, SMALL)
    apart = compile_schedule(item.graph, SMALL, pack=False)
    params = replace(SMALL, bank_rows=-(-apart.memory.peak_words // SMALL.banks))
    solved = 0
    for seed in range(12):
        runs = _random_runs(item, plan, np.random.default_rng(seed))
        wanted = demands(with_runs(plan, item.graph, SMALL, runs), item.graph, host)
        if allocate_quickly(wanted, params.words) is not None:
            continue
        found = fit_runs(plan, item.graph, params, host, runs)
        assert found is not None
        assert {b.run for b in found[0].buffers.values()} - {""} == {run[0] for run in runs}
        placed = [replace(d, tensor=str(i)) for i, d in enumerate(wanted)]
        at = {str(i): found[1].bases[d.tensor] + d.offset for i, d in enumerate(wanted)}
        no_overlap(placed, at, params.words)
        solved += 1
    assert solved


def test_worse_packing_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    item = example("links", SMALL)
    plan, _ = plan_of(item, SMALL)
    bad = tuple(sorted(packable(item.graph, plan)))
    bad = tuple(n for n in bad if item.graph.tensors[n].format is U8)
    monkeypatch.setattr(compile_module, "find_runs", lambda *a: (bad,))
    apart = compile_schedule(item.graph, SMALL, pack=False)
    schedule = compile_schedule(item.graph, SMALL)
    assert schedule.estimate.cycles <= apart.estimate.cycles


def test_memory_knows_bytes() -> None:
    memory = TrackedMemory(SMALL, 1)
    words = np.arange(4)
    memory.write(words, 0, np.full((4, 2), 5, np.int8))
    with pytest.raises(ProgramError, match="not waited for"):
        memory.read(words, 0b0001)
    with pytest.raises(ProgramError, match="never written"):
        memory.read(words, 0b0100)
    memory.drain()
    memory.read(words, 0b0011)
    memory.begin_instruction()
    memory.write(words, 2, np.full((4, 2), 6, np.int8))
    memory.read(words, 0b0011)
    with pytest.raises(ProgramError, match="not waited for"):
        memory.read(words, 0b0111)
    with pytest.raises(ProgramError, match="not waited for"):
        memory.read(words)
    memory.write(words, 2, np.full((4, 2), 7, np.int8))  # other bytes than those read
    with pytest.raises(ProgramError, match="read and written by one instruction"):
        memory.write(words, 1, np.full((4, 1), 7, np.int8))
    memory.drain()
    np.testing.assert_array_equal(memory.peek(0, 4), [[5, 5, 7, 7]] * 4)


def test_neighbours_in_a_plane_need_no_wait() -> None:
    """A reader of one map does not wait for results in other bytes of the plane."""
    b = Builder("waits", SMALL)
    image = b.input(3, 8, 8)
    one = b.simple(image, 6, 1, U8)
    middle = b.simple(one, 4, 1, U8)  # so that `one` has drained
    two = b.simple(middle, 6, 1, U8)
    other = b.simple(one, 5, 1, I8)  # reads `one` while `two` is on its way
    last = b.simple((one, two, other), 60, 3, U8, top=60)
    schedule = check(b.example(last), SMALL)
    places = places_of(schedule)
    assert {places[one].layout.byte_offset, places[two].layout.byte_offset} == {0, 2}
    waits = {i.layer: i.wait for i in reversed(schedule.instructions) if i.op == Op.CONV}
    assert waits["conv3"] == 0
    assert waits["conv2"] == 1


def test_packed_program_is_deterministic() -> None:
    one, two = (compile_schedule(example("links", SMALL).graph, SMALL) for _ in range(2))
    assert any(p.placement.layout.byte_offset for p in one.trace)
    assert one == two
    nodes = [n for n in example("links", SMALL).graph.nodes if isinstance(n, QConv)]
    assert len(nodes) == 12
