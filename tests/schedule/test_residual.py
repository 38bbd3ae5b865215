"""Residual networks: what the optimiser makes of them can be scheduled, and is bit-exact."""

from __future__ import annotations

import pytest

from fpga_gen.contract.params import EngineParams
from fpga_gen.graph.ir import Add, Conv, walk
from fpga_gen.graph.passes.optimise import optimise
from fpga_gen.schedule.compile import compile_schedule
from fpga_gen.schedule.execute.compare import compare_maps
from fpga_gen.schedule.execute.interpreter import run_schedule
from tests.engines import SMALL
from tests.schedule.graphs import THREE_MODES
from tests.schedule.residual import BLOCKS, residual, residual_graph

ENGINES = {"small": SMALL, "three": THREE_MODES, "default": EngineParams()}


@pytest.mark.parametrize(
    ("block", "adds", "summed"),
    # A shortcut of stride 1 is summed in the array with the convolution beside it, one of stride 2
    # with those of its own stride.
    [("basic", 3, [2]), ("bottleneck", 3, [2]), ("averaged", 2, [2, 2])],
)
def test_terms_of_a_convolution_share_a_walk(block: str, adds: int, summed: list[int]) -> None:
    graph = optimise(residual_graph(block))
    convs = [n for n in graph.nodes if isinstance(n, Conv)]
    assert all(len({walk(graph, t) for t in n.terms}) == 1 for n in convs)
    assert sum(isinstance(n, Add) for n in graph.nodes) == adds
    assert [len(n.terms) for n in convs if len(n.terms) > 1] == summed


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("block", BLOCKS)
def test_residual_blocks_are_bit_exact(block: str, engine: str) -> None:
    params = ENGINES[engine]
    item = residual(block, params)
    schedule = compile_schedule(item.graph, params)
    outputs, maps = run_schedule(schedule, item.stored_input, trace=True)
    assert compare_maps(item.graph, item.values, maps) is None
    for name, stored in outputs.items():
        assert (stored == item.values[name]).all()
