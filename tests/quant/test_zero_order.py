"""Zero-aware filter allocation: shuffled patterns are found again, dense networks left alone."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from fpga_gen.contract.numerics import DSP, SP2
from fpga_gen.contract.params import EngineParams
from fpga_gen.graph.interpreter import run_float
from fpga_gen.graph.ir import Conv, Graph
from fpga_gen.quant.interpreter import dequantise, quantise_input, run_integer, sqnr_db
from fpga_gen.quant.options import QuantOptions
from fpga_gen.quant.quantise import quantise
from fpga_gen.quant.verify import verify_quant_graph
from fpga_gen.quant.zero_order import in_order, slot_groups, zero_orders
from fpga_gen.schedule.compile import compile_schedule
from tests.graph.graphs import Maker

PARAMS = EngineParams(
    pixels=4, in_channels=8, dsp_columns=12, sp2_columns=6, modes=(1, 2, 3), tile_groups=16,
    bank_rows=4096, ports=2, weight_words=1024, program_words=4096,
)  # fmt: skip


def blocks_of_zeros(rng: np.random.Generator, weight: np.ndarray, word: int, rows: int) -> None:
    """Half of the blocks of `word` inputs x `rows` filters x a tap become zero, in place."""
    flat = weight.reshape(*weight.shape[:2], -1)
    for first in range(0, flat.shape[0], rows):
        for channel in range(0, flat.shape[1], word):
            for tap in np.flatnonzero(rng.random(flat.shape[2]) < 0.5):
                flat[first : first + rows, channel : channel + word, tap] = 0


def network(shuffled: bool = False, zeros: bool = True) -> Graph:
    """Three convolutions with block zeros of 8 inputs x 18 filters; shuffled: the channels of the
    maps between them in a random order, which changes no value."""
    maker = Maker((8, 9, 10), seed=3)
    rng = np.random.default_rng(1)
    x = maker.conv("x", 36)
    x = maker.conv(x, 54)
    maker.conv(x, 20)
    for node in maker.nodes[1:]:
        if zeros:
            blocks_of_zeros(rng, node.terms[0].weight, 8, 18)
    if shuffled:
        for before, after in pairwise(maker.nodes):
            order = rng.permutation(len(before.bias))
            before.bias[:] = before.bias[order]
            before.terms[0].weight[:] = before.terms[0].weight[order]
            after.terms[0].weight[:] = after.terms[0].weight[:, order]
    return maker.graph()


def costs_of(graph: Graph) -> dict[str, dict[int, np.ndarray]]:
    rng = np.random.default_rng(5)
    return {
        n.output: {SP2: rng.uniform(0, 1, graph.tensors[n.output].channels)}
        for n in graph.nodes
        if isinstance(n, Conv)
    }


def test_channels_lie_on_columns_of_their_kind() -> None:
    cells = (tuple(range(5, 12)), (0, 3, 2), (1, 4))
    order = in_order(cells, {SP2: np.arange(12.0)[::-1]}, PARAMS)
    assert sorted(order.positions) == list(range(12))
    assert order.kinds == tuple(PARAMS.column_kind(p) for p in order.positions)
    first = 0
    for cell in cells:
        assert sorted(order.positions[c] for c in cell) == list(range(first, first + len(cell)))
        first += len(cell)
    # positions 2, 5, 8, 11 are SP2: of the first cell those that cost least
    assert [c for c in cells[0] if order.kinds[c] == SP2] == [10, 11]
    assert {order.kinds[c] for c in (0, 2, 1)} == {DSP}


def test_dense_networks_keep_the_free_choice() -> None:
    graph = network(zeros=False)
    assert zero_orders(graph, PARAMS, costs_of(graph)) == {}


def test_pruning_works_on_groups_of_the_networks_own_order() -> None:
    """Which a build finds again, whatever its channels cost on coarse columns."""
    for group in slot_groups(network(zeros=False), PARAMS):
        first = group.filters[0]
        assert group.filters == tuple(range(first, first + len(group.filters)))
        channels = [channel for plane in group.planes for channel in sorted(plane)]
        assert channels == list(range(len(channels)))


def test_a_few_zeros_are_no_pattern() -> None:
    graph = network(zeros=False)
    rng = np.random.default_rng(2)
    for node in graph.nodes:
        weight = node.terms[0].weight
        weight[rng.random(weight.shape) < 0.01] = 0
    assert zero_orders(graph, PARAMS, costs_of(graph)) == {}


@pytest.mark.parametrize("shuffled", [False, True])
def test_the_order_saves_cycles(shuffled: bool) -> None:
    """Against the free choice, also where the network's own order hides the pattern; the values of
    the integer network stay those of the float one."""
    graph = network(shuffled)
    rng = np.random.default_rng(4)
    images = [rng.normal(size=(8, 9, 10)).astype(np.float32) for _ in range(3)]
    runs = {}
    for ordered in (False, True):
        options = QuantOptions(zero_order=ordered, wide_tensors=())
        qgraph = quantise(graph, PARAMS, images, options=options)
        verify_quant_graph(qgraph)
        assert any(t.positions for t in qgraph.tensors.values()) == ordered
        runs[ordered] = compile_schedule(qgraph, PARAMS).estimate.cycles
        values = run_integer(qgraph, quantise_input(qgraph, images[0]))
        name = graph.outputs[0]
        real = dequantise(qgraph, name, values[name])
        assert sqnr_db(run_float(graph, images[0])[name], real) > 25
    assert runs[True] < 0.9 * runs[False]


def test_zero_weights_stay_zero() -> None:
    """Whatever the rounding of the others is compensated with."""
    graph = network()
    rng = np.random.default_rng(4)
    images = [rng.normal(size=(8, 9, 10)).astype(np.float32) for _ in range(3)]
    qgraph = quantise(graph, PARAMS, images)
    for node, whole in zip(graph.nodes, qgraph.nodes, strict=True):
        zero = node.terms[0].weight == 0
        assert not whole.terms[0].weight[zero].any()
        assert zero.any() == (node is not graph.nodes[0])
