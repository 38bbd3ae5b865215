from dataclasses import replace

import numpy as np
import pytest

import fpga_gen.quant.kinds as quant_kinds
from fpga_gen.contract.column_kinds import SP2_KIND
from fpga_gen.contract.numerics import DSP, SP2, U8
from fpga_gen.contract.params import EngineParams
from fpga_gen.errors import QuantError
from fpga_gen.graph.ir import Add, Concat, Conv, ConvTerm, Graph, Tensor
from fpga_gen.quant.ir import QTensor
from fpga_gen.quant.kinds import (
    assign_kinds,
    channel_gains,
    choose,
    column_periods,
    tied_classes,
)
from fpga_gen.schedule.lower.placement import channel_positions
from fpga_gen_host.model_input import HostInput
from tests.engines import SMALL
from tests.quant.networks import all_nodes


def conv_costs(graph: Graph, seed: int = 0) -> dict[str, dict[int, np.ndarray]]:
    rng = np.random.default_rng(seed)
    return {
        n.output: {SP2: rng.uniform(0, 1, graph.tensors[n.output].channels)}
        for n in graph.nodes
        if isinstance(n, Conv)
    }


def test_classes_follow_elementwise_nodes():
    classes = tied_classes(all_nodes())
    assert len({classes[t] for t in ("m", "t", "d", "s", "p", "q", "u")}) == 1
    assert classes["a"] == classes["b"]
    assert classes["g"] == classes["z"]
    assert len({classes[t] for t in ("m", "a", "g", "h", "e", "image")}) == 6


@pytest.mark.parametrize("params", [EngineParams(), SMALL, EngineParams(sp2_columns=0)])
def test_every_tensor_has_the_ratio_of_the_engine(params):
    graph = all_nodes()
    kinds = assign_kinds(graph, params, conv_costs(graph))
    assert "bde" not in kinds
    assert kinds.pop("image") is None
    for name, vector in kinds.items():
        want = [params.column_kind(j) for j in range(graph.tensors[name].channels)]
        assert sorted(vector) == sorted(want), name
    classes = tied_classes(graph)
    for name, vector in kinds.items():
        assert vector == kinds[classes[name]]


def test_cheapest_channels_of_a_class_become_sp2():
    graph = all_nodes()
    costs = conv_costs(graph)
    kinds = np.array(assign_kinds(graph, EngineParams(), costs)["s"])
    joint = sum(costs[name][SP2] for name in "mtd")
    assert joint[kinds == SP2].max() < joint[kinds == DSP].min()


def test_the_kind_that_costs_most_chooses_first(monkeypatch):
    """Of three kinds, each gets as many channels as it has columns."""
    third = replace(SP2_KIND, number=2)
    monkeypatch.setattr(quant_kinds, "COARSE", (SP2_KIND, third))
    positions = np.array([DSP, SP2, 2, DSP, SP2, 2])
    costs = {SP2: np.array([1.0, 2, 3, 4, 5, 6]), 2: np.array([40.0, 10, 20, 50, 60, 70])}
    chosen = choose(positions, costs)
    assert chosen.tolist() == [SP2, 2, 2, SP2, DSP, DSP]
    costs[SP2] *= 100
    assert choose(positions, costs).tolist() == [SP2, SP2, 2, 2, DSP, DSP]


def test_class_of_the_network_input_keeps_its_order():
    weight = np.ones((8, 8, 1, 1), np.float32)
    nodes = (
        Conv("c", (ConvTerm("x", weight),), np.zeros(8, np.float32), "y"),
        Add("s", ("x", "y"), "z"),
    )
    tensors = {n: Tensor(n, 8, 4, 4) for n in "xyz"}
    graph = Graph("g", "x", ("z",), tensors, nodes, HostInput((8, 4, 4)))
    kinds = assign_kinds(graph, SMALL, {"y": {SP2: np.arange(8.0)[::-1]}})
    assert kinds["x"] is None
    assert kinds["y"] == kinds["z"] == tuple(SMALL.column_kind(j) for j in range(8))


def test_gain_is_the_sum_of_squares_of_all_readers():
    graph = all_nodes()
    gains = channel_gains(graph)
    nodes = {n.name: n for n in graph.nodes}
    deep, mix, two = (nodes[n] for n in ("deep", "mix", "two"))
    want = (
        np.square(deep.terms[0].weight[:, 3]).sum()
        + np.square(mix.terms[0].weight[:, 3]).sum()
        + np.square(two.terms[0].weight[:, 3]).sum()
    )
    assert gains["b"][3] == pytest.approx(want, rel=1e-5)
    depthwise = np.square(nodes["depthwise"].terms[0].weight[5]).sum()
    rest = sum(np.square(n.terms[0].weight[:, 12 + 5]).sum() for n in (mix, two))
    assert gains["d"][5] == pytest.approx(depthwise + rest, rel=1e-5)
    assert (gains["h"] == 1).all()


def test_elementwise_nodes_need_equal_channels():
    tensors = {"x": Tensor("x", 8, 4, 4), "y": Tensor("y", 4, 4, 4), "z": Tensor("z", 8, 4, 4)}
    graph = Graph("g", "x", ("z",), tensors, (Add("s", ("x", "y"), "z"),), HostInput((8, 4, 4)))
    with pytest.raises(QuantError, match="s: input 'y'"):
        tied_classes(graph)


def separable() -> Graph:
    """image -> 1x1 'a' -> depthwise 'b' -> concat with 'a' -> grouped 'c' + dense 'd'."""
    rng = np.random.default_rng(3)

    def conv(name: str, source: str, cin: int, cout: int, groups: int = 1) -> Conv:
        weight = rng.normal(size=(cout, cin // groups, 1, 1)).astype(np.float32)
        term = ConvTerm(source, weight, groups=groups)
        return Conv(name, (term,), np.zeros(cout, np.float32), name)

    nodes = (
        conv("a", "image", 3, 40),
        conv("b", "a", 40, 40, 40),
        Concat("cat", ("a", "b"), "ab"),
        conv("c", "ab", 80, 40, 20),
        conv("d", "ab", 80, 40),
        conv("small", "image", 3, 3, 3),
    )  # fmt: skip
    sizes = {"image": 3, "ab": 80, "small": 3}
    tensors = {n: Tensor(n, sizes.get(n, 40), 4, 4) for n in ("image", *"abcd", "ab", "small")}
    return Graph("s", "image", ("c", "d", "small"), tensors, nodes, HostInput((3, 4, 4)))


@pytest.mark.parametrize("params", [EngineParams(), SMALL])
def test_channels_of_grouped_layers_stay_in_their_plane(params):
    graph, word = separable(), params.in_channels
    periods = column_periods(graph, params)
    assert {t for t, p in periods.items() if p} == {"b", "c"}
    assert periods["b"] == word
    costs = conv_costs(graph)
    kinds = assign_kinds(graph, params, costs)
    for name in "abc":
        tensor = QTensor(name, 40, 4, 4, 1.0, U8, kinds[name], periods[name])
        positions = np.array(channel_positions(tensor, params))
        np.testing.assert_array_equal(positions // word, np.arange(40) // word)
        for first in range(0, 40, word):
            part = slice(first, first + word)
            chosen = np.array(kinds[name])[part] == SP2
            assert 0 < chosen.sum() < word
            assert costs[name][SP2][part][chosen].max() < costs[name][SP2][part][~chosen].min()
    free = np.array(kinds["d"]) == SP2
    assert costs["d"][SP2][free].max() < costs["d"][SP2][~free].min()


def test_elementwise_ties_with_a_dense_layer_end_the_period():
    graph = separable()
    nodes = (*graph.nodes, Add("sum", ("c", "d"), "e"))
    tensors = {**graph.tensors, "e": Tensor("e", 40, 4, 4)}
    graph = Graph("s", "image", ("e", "small"), tensors, nodes, graph.host_input)
    periods = column_periods(graph, SMALL)
    assert {t for t, p in periods.items() if p} == {"b"}
