"""The engines that the quick model likes are ranked by their schedules."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fpga_gen.boards import Resources, load_board
from fpga_gen.contract.numerics import U8
from fpga_gen.contract.params import EngineParams
from fpga_gen.errors import ScheduleError
from fpga_gen.frontend.importer import import_onnx
from fpga_gen.graph.ir import Graph, QuantHints, TensorHint
from fpga_gen.graph.passes.optimise import optimise
from fpga_gen.quant.ir import QConv, QTensor
from fpga_gen.quant.options import QuantOptions
from fpga_gen.quant.quantise import quantise
from fpga_gen.schedule import additions
from fpga_gen.schedule.compile import compile_schedule
from fpga_gen.schedule.cycles.timing import DEFAULT_TIMING
from fpga_gen.sizing.choose import SCHEDULED, choose_engines, rank
from fpga_gen.sizing.cycles import FrameCycles, VectorShape, frame_work, vector_cycles
from fpga_gen.sizing.search import Candidate
from fpga_gen.sizing.standin import standin
from fpga_gen.sizing.sums import with_cheap_sums
from tests.cli.networks import write_model
from tests.engines import SMALL
from tests.quant.networks import all_nodes, images
from tests.schedule.residual import residual_graph


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Graph:
    path = write_model(tmp_path_factory.mktemp("model") / "net.onnx", size=20, channels=10)
    return optimise(import_onnx(path))


def candidates(*cycles: int, pixels: tuple[int, ...] = (2, 4, 6, 8, 10)) -> list[Candidate]:
    """Engines with these cycles in the quick model, and these pixels; all cost the same."""
    cost = Resources(1, 1, 1, 1, 1)
    return [
        Candidate(replace(SMALL, pixels=p), FrameCycles(c, 0, 0, 0), cost)
        for c, p in zip(cycles, pixels, strict=False)
    ]


def test_the_boards_own_array_is_the_last_resort(graph, monkeypatch):
    """The search may find only engines that cannot hold what the board's own array holds."""
    board = load_board("zcu104")
    real, asked = compile_schedule, []

    def only_own(network, params, timing, **_):
        asked.append(params)
        if params != board.array:
            raise ScheduleError("layer 'a': does not fit")
        return real(network, params, timing)

    monkeypatch.setattr("fpga_gen.sizing.choose.compile_schedule", only_own)
    found = choose_engines(graph, board, "mixed")
    assert found[0].params == board.array == asked[1]
    assert found[0].scheduled
    assert asked.count(board.array) == 1
    monkeypatch.setattr(
        "fpga_gen.sizing.choose.compile_schedule", lambda *_, **__: only_own(None, None, None)
    )
    with pytest.raises(ScheduleError, match="layer 'a'"):
        choose_engines(graph, board, "mixed")


def not_asked() -> Candidate:
    raise AssertionError("the board's own array is asked for when another engine fails")


def test_schedules_decide_and_the_rest_follows():
    truth = {100: 130, 101: 120, 102: 125, 103: 119, 104: 1}
    ranked = rank(candidates(*truth), lambda c: truth[c.cycles.total], not_asked)
    assert [c.scheduled for c in ranked] == [119, 120, 125, 130, None]
    assert SCHEDULED == 4


def test_one_engine_of_each_shape_is_scheduled():
    ranked = rank(
        candidates(100, 101, 102, pixels=(2, 2, 4)), lambda c: 202 - c.cycles.total, not_asked
    )
    assert [(c.cycles.total, c.scheduled) for c in ranked] == [(102, 100), (100, 102), (101, None)]


def test_what_is_far_behind_is_not_scheduled():
    asked = []
    ranked = rank(
        candidates(100, 111, 130), lambda c: asked.append(c.cycles.total) or 100, not_asked
    )
    assert asked == [100, 111]
    assert [c.scheduled for c in ranked] == [100, 100, None]


def test_an_engine_that_cannot_hold_the_network_is_left_out():
    def cycles(candidate: Candidate) -> int:
        if candidate.cycles.total < 102:
            raise ScheduleError(f"no room at {candidate.cycles.total}")
        return 105

    (own,) = candidates(200)

    def refuses() -> Candidate:
        raise ScheduleError("no room on the board's own array")

    assert [c.cycles.total for c in rank(candidates(100, 101, 102), cycles, lambda: own)] == [102]
    assert rank(candidates(100, 101), cycles, lambda: own)[0] == own
    with pytest.raises(ScheduleError, match="board's own array"):
        rank(candidates(100, 101, 102), cycles, refuses)


def test_a_network_that_does_not_fit_is_refused_before_the_search(graph: Graph, monkeypatch):
    board = replace(load_board("zcu104"), array=replace(SMALL, bank_rows=512))
    large = replace(frame_work(graph), live=(((1 << 22, 16),),))
    monkeypatch.setattr("fpga_gen.sizing.choose.frame_work", lambda _: large)
    monkeypatch.setattr("fpga_gen.sizing.choose.find_engines", not_asked)

    def refuses(*_: object, **__: object):
        raise ScheduleError("layer 'a': does not fit")

    monkeypatch.setattr("fpga_gen.sizing.choose.compile_schedule", refuses)
    with pytest.raises(ScheduleError, match="layer 'a'"):
        choose_engines(graph, board, "mixed")


def test_the_list_starts_with_schedules(graph: Graph):
    lines = []
    found = choose_engines(graph, load_board("kv260"), "mixed", progress=lines.append)
    scheduled = [c.scheduled for c in found if c.scheduled is not None]
    assert len(scheduled) == len(lines) >= 2
    assert scheduled == sorted(scheduled) == [c.scheduled for c in found[: len(scheduled)]]
    assert len(found) == 10


def test_the_stand_in_takes_the_cycles_of_the_quantised_network():
    """A network of all kinds of nodes, its maps 8 bit: the schedules are equally long."""
    graph = all_nodes()
    real = quantise(graph, SMALL, images(2), options=QuantOptions(wide_tensors=()))
    schedules = [compile_schedule(q, SMALL) for q in (real, standin(graph, SMALL))]
    assert schedules[0].estimate.cycles == schedules[1].estimate.cycles
    # where a filter's zeros fall decides whether half a weight slot can be left out
    read = [s.estimate.read_bytes for s in schedules]
    assert read[1] == pytest.approx(read[0], rel=0.01)


@pytest.mark.parametrize("block", ["basic", "bottleneck"])
def test_sums_in_the_array_take_the_cycles_of_the_quantised_network(block: str):
    graph, params = optimise(residual_graph(block, (40, 56))), EngineParams()
    options = QuantOptions(wide_tensors=(), compensate=False)
    networks = [
        with_cheap_sums(graph, q, params, DEFAULT_TIMING, True)
        for q in (quantise(graph, params, None, options=options), standin(graph, params))
    ]
    sums = [{n.name for n in q.nodes if isinstance(n, QConv) and n.is_sum} for q in networks]
    assert sums[0] == sums[1] != set()
    cycles = [compile_schedule(q, params).estimate.cycles for q in networks]
    assert cycles[0] == cycles[1]


def test_a_model_that_came_quantised_keeps_its_sums():
    graph, params = optimise(residual_graph("basic", (40, 56))), EngineParams()
    network = standin(graph, params)
    hint = TensorHint(0.1, 0, signed=True)
    hinted = replace(graph, hints=QuantHints({graph.nodes[0].output: hint}))
    assert with_cheap_sums(hinted, network, params, DEFAULT_TIMING, True) is network
    assert with_cheap_sums(graph, network, params, DEFAULT_TIMING, False) is network
    weights_alone = replace(graph, hints=QuantHints({}))
    found = with_cheap_sums(weights_alone, network, params, DEFAULT_TIMING, True)
    assert any(isinstance(n, QConv) and n.is_sum for n in found.nodes)


@pytest.mark.parametrize(("channels", "size"), [(24, 56), (64, 56), (256, 56), (512, 28), (16, 5)])
def test_the_quick_price_of_a_sum_is_near_the_schedules(channels: int, size: int):
    """It knows neither the weights' way nor what tiles lose."""
    params, timing = EngineParams(), DEFAULT_TIMING
    quick = vector_cycles(VectorShape(size * size, channels, 2, False, sums=True), params, timing)
    out = QTensor("y", channels, size, size, 1.0, U8)
    exact = [f(out, params, timing) for f in (additions.array_cycles, additions.vector_cycles)]
    assert 0.75 * min(exact) < quick <= min(exact)
