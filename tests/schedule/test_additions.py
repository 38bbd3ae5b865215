"""Sums in the array: chosen where the cycle model says so, and bit-exact."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fpga_gen.contract.numerics import I8, U8
from fpga_gen.contract.params import EngineParams
from fpga_gen.quant.additions import as_convolution
from fpga_gen.quant.interpreter import run_integer
from fpga_gen.quant.ir import QAdd, QConv, QuantGraph
from fpga_gen.schedule.additions import sums_in_array
from fpga_gen.schedule.compile import compile_schedule
from fpga_gen.schedule.execute.compare import compare_maps
from fpga_gen.schedule.execute.interpreter import run_schedule
from tests.engines import SMALL
from tests.schedule.builder import THREE_MODES, Builder
from tests.schedule.residual import BLOCKS, residual

DEFAULT = EngineParams()
NEAR = 60  # cycles by which whole programs and the prices of their sums may differ


def summed(nodes) -> list[bool]:
    """Of every sum, whether the array computes it."""
    return [isinstance(n, QConv) for n in nodes if isinstance(n, QAdd) or is_sum(n)]


def is_sum(node) -> bool:
    return isinstance(node, QConv) and node.is_sum


def all_in_array(graph: QuantGraph) -> QuantGraph:
    """The network with every sum that can be one as a convolution."""
    nodes = tuple(
        as_convolution(n, graph.tensors, graph.sp2) or n if isinstance(n, QAdd) else n
        for n in graph.nodes
    )
    return replace(graph, nodes=nodes)


def one_sum(channels: int, size: int) -> QuantGraph:
    """A sum of two maps between convolutions."""
    b = Builder("one-sum", DEFAULT)
    image, kinds = b.input(3, size, size), b.kinds(channels)
    leaves = [b.conv(b.term(image, kinds), kinds, fmt) for fmt in (U8, I8)]
    b.simple(b.add((leaves[0], leaves[1]), U8), 5, 1, I8, top=60)
    return b.graph()


@pytest.mark.parametrize(
    ("channels", "size", "chosen"),
    [(256, 40, True), (24, 28, True), (64, 14, True), (16, 12, False), (512, 4, False)],
)
def test_the_choice_follows_the_model(channels: int, size: int, chosen: bool) -> None:
    graph = one_sum(channels, size)
    found = sums_in_array(graph, DEFAULT)
    assert summed(found.nodes) == [chosen]
    array, vector = (
        compile_schedule(g, DEFAULT).estimate.cycles for g in (all_in_array(graph), graph)
    )
    assert array < vector + NEAR if chosen else vector < array + NEAR


@pytest.mark.parametrize("engine", [SMALL, THREE_MODES, DEFAULT], ids=["small", "three", "default"])
@pytest.mark.parametrize("block", BLOCKS)
def test_residual_blocks_stay_bit_exact(block: str, engine: EngineParams) -> None:
    item = residual(block, engine, (40, 56) if engine is DEFAULT else (10, 14))
    graph = sums_in_array(item.graph, engine) if engine is DEFAULT else all_in_array(item.graph)
    assert True in summed(graph.nodes)
    values = run_integer(graph, item.stored_input)
    outputs, maps = run_schedule(compile_schedule(graph, engine), item.stored_input, trace=True)
    assert compare_maps(graph, values, maps) is None
    for name, stored in outputs.items():
        assert (stored == values[name]).all()


def test_a_network_without_sums_is_left_alone() -> None:
    b = Builder("plain", SMALL)
    b.simple(b.input(3, 8, 8), 5, 3, I8)
    assert sums_in_array(b.graph(), SMALL).nodes == b.graph().nodes


def test_a_sum_is_no_work_of_the_network() -> None:
    """It asks for no multiply-accumulates, so its zeros save none; the least that must be moved is
    one weight for each channel and map."""
    graph = all_in_array(one_sum(64, 14))
    schedule = compile_schedule(graph, DEFAULT)
    plain = compile_schedule(one_sum(64, 14), DEFAULT)
    for layer in schedule.layers:
        assert 0 <= layer.utilisation <= 1
        assert layer.skipped.macs == 0
    cost, other = schedule.estimate, plain.estimate
    assert cost.macs == other.macs
    assert 0 <= cost.lower_bound_bytes - other.lower_bound_bytes <= 4 * 64
    assert cost.lower_bound_bytes <= cost.read_bytes + cost.write_bytes
