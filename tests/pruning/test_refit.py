"""Weights fitted to the sums of the network as it was."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from fpga_gen.graph.interpreter import run_float
from fpga_gen.graph.ir import Conv, Graph
from fpga_gen.pruning.refit import refitted
from tests.graph.graphs import Maker


def network() -> Graph:
    m = Maker((3, 24, 20))
    y = m.conv("x", 16)
    y = m.concat(m.conv(y, 16), m.max_pool(y, (3, 3), pads=(1, 1, 1, 1)))
    return m.graph(m.conv(m.conv(y, 24), 4))


def without(graph: Graph, number: int, inputs: slice) -> Graph:
    """Zeros in one layer, as if nothing made up for them."""
    nodes = list(graph.nodes)
    node = nodes[number]
    assert isinstance(node, Conv)
    weight = node.terms[0].weight.copy()
    weight[:, inputs] = 0
    nodes[number] = replace(node, terms=(replace(node.terms[0], weight=weight),))
    return replace(graph, nodes=tuple(nodes))


def test_later_layers_make_up_for_earlier_ones():
    graph = network()
    rng = np.random.default_rng(4)
    images = [rng.normal(size=(3, 24, 20)).astype(np.float32) for _ in range(6)]
    numbers = [n for n, node in enumerate(graph.nodes) if isinstance(node, Conv)]
    pruned = without(graph, numbers[1], slice(0, 6))
    fitted = refitted(graph, pruned, images[:4], set())

    def error(other: Graph) -> float:
        """Of pictures that the fit has not seen."""
        found = 0.0
        for image in images[4:]:
            want, have = (run_float(g, image)[graph.outputs[0]] for g in (graph, other))
            found += float(np.square(want - have).sum())
        return found

    assert error(fitted) < 0.7 * error(pruned)
    nodes = dict(enumerate(fitted.nodes))
    assert nodes[numbers[0]] is graph.nodes[numbers[0]]  # nothing changed in front of it
    middle = nodes[numbers[1]]
    assert isinstance(middle, Conv)
    assert not middle.terms[0].weight[:, :6].any()
    fixed = {graph.nodes[n].name for n in numbers[1:]}
    still = refitted(graph, pruned, images[:4], fixed)
    assert all(a is b for a, b in zip(still.nodes, pruned.nodes, strict=True))
