"""Branches to results of the network run as early as they can, where that takes fewer cycles."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fpga_gen.contract.numerics import I8, U8
from fpga_gen.quant.ir import QuantGraph
from fpga_gen.schedule.compile import compile_schedule
from fpga_gen.schedule.execute.compare import compare_maps
from fpga_gen.schedule.execute.interpreter import run_schedule
from fpga_gen.schedule.place.early import early_results
from tests.schedule.builder import THREE_MODES, Builder, Example


def detector() -> Example:
    """A large head and a small one behind a trunk, the large one last; each two layers."""
    b = Builder("detector", THREE_MODES)
    x = b.simple(b.input(3, 24, 24), 16, 3, U8)
    y = b.pool(x, 2, 2)
    for _ in range(3):
        y = b.simple(y, 16, 3, U8, top=60)
    small = b.simple(b.simple(y, 8, 1, U8), 5, 1, I8)
    large = b.simple(b.simple(x, 16, 1, U8), 40, 1, I8)
    return b.example(small, large)


def order(graph: QuantGraph) -> list[str]:
    return [n.output for n in graph.nodes]


def test_branches_follow_what_they_read() -> None:
    graph = detector().graph
    assert order(graph) == [f"t{n}" for n in range(9)]
    early = early_results(graph)
    assert order(early) == ["t0", "t7", "t8", *(f"t{n}" for n in range(1, 7))]
    assert early_results(early).nodes == early.nodes


def test_a_result_on_the_way_stays_where_it_is() -> None:
    b = Builder("way", THREE_MODES)
    x = b.simple(b.input(3, 8, 8), 8, 3, U8)
    y = b.simple(x, 8, 3, I8, top=60)
    graph = b.example(x, y).graph
    assert early_results(graph).nodes == graph.nodes


def test_the_better_order_is_taken_and_bit_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    item = detector()
    schedule = compile_schedule(item.graph, THREE_MODES)
    layers = [i.layer for i in schedule.instructions if i.layer.startswith("conv")]
    assert layers.index("conv8") < layers.index("conv2")
    outputs, maps = run_schedule(schedule, item.stored_input, trace=True)
    assert compare_maps(item.graph, item.values, maps) is None
    assert all((stored == item.values[name]).all() for name, stored in outputs.items())
    monkeypatch.setattr("fpga_gen.schedule.compile.early_results", lambda graph: graph)
    late = compile_schedule(item.graph, THREE_MODES)
    assert schedule.estimate.cycles < late.estimate.cycles


def test_an_order_that_takes_longer_is_left() -> None:
    item = detector()
    early = early_results(item.graph)
    first = compile_schedule(replace(item.graph, nodes=early.nodes), THREE_MODES)
    assert first.estimate.cycles == compile_schedule(item.graph, THREE_MODES).estimate.cycles
