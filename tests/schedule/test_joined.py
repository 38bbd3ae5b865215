"""Convolutions that are joined because their results are concatenated: bit-exact, and no copy."""

from __future__ import annotations

import numpy as np
import pytest

from fpga_gen.contract.params import EngineParams
from fpga_gen.graph.ir import Conv, Graph
from fpga_gen.graph.passes import optimise as passes
from fpga_gen.quant.interpreter import quantise_input, run_integer
from fpga_gen.quant.options import QuantOptions
from fpga_gen.quant.quantise import quantise
from fpga_gen.schedule.compile import compile_schedule
from fpga_gen.schedule.execute.compare import compare_maps
from fpga_gen.schedule.execute.interpreter import run_schedule
from tests.graph.graphs import RELU, Maker
from tests.schedule.builder import THREE_MODES

DEFAULT = EngineParams()
OPTIONS = QuantOptions(compensate=False, wide_tensors=())


def head() -> Graph:
    """Two branches of a map, whose ends are one result."""
    m = Maker((3, 20, 18))
    x = m.conv("x", 24, activation=RELU)
    box = m.conv(m.conv(x, 32, activation=RELU), 32, 1)
    scores = m.conv(m.conv(x, 40, activation=RELU), 20, 1)
    return m.graph(m.concat(box, scores))


@pytest.mark.parametrize("params", [THREE_MODES, DEFAULT], ids=["three", "default"])
def test_a_joined_head_is_exact_and_cheaper(params, monkeypatch: pytest.MonkeyPatch) -> None:
    graph = passes.optimise(head())
    assert [type(n) for n in graph.nodes] == [Conv] * 4
    qgraph = quantise(graph, params, None, options=OPTIONS)
    image = np.random.default_rng(5).normal(size=graph.host_input.model_shape)
    stored = quantise_input(qgraph, image.astype(np.float32))
    values = run_integer(qgraph, stored)
    schedule = compile_schedule(qgraph, params)
    outputs, maps = run_schedule(schedule, stored, trace=True)
    assert compare_maps(qgraph, values, maps) is None
    assert all((found == values[name]).all() for name, found in outputs.items())

    without = tuple(p for p in passes.LOWER if p is not passes.join_convolutions)
    monkeypatch.setattr(passes, "LOWER", without)
    copied = quantise(passes.optimise(head()), params, None, options=OPTIONS)
    assert len(copied.nodes) == 6
    assert schedule.estimate.cycles < compile_schedule(copied, params).estimate.cycles
