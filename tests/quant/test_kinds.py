import numpy as np
import pytest

from fpga_gen.errors import QuantError
from fpga_gen.graph.ir import Add, Conv, ConvTerm, Graph, HostInput, Tensor
from fpga_gen.hardware.params import SMALL, EngineParams
from fpga_gen.quant.kinds import assign_kinds, channel_gains, tied_classes
from fpga_gen.quant.numerics import DSP, SP2
from tests.quant.networks import all_nodes


def conv_costs(graph: Graph, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {
        n.output: rng.uniform(0, 1, graph.tensors[n.output].channels)
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
    joint = costs["m"] + costs["t"] + costs["d"]
    assert joint[kinds == SP2].max() < joint[kinds == DSP].min()


def test_class_of_the_network_input_keeps_its_order():
    weight = np.ones((8, 8, 1, 1), np.float32)
    nodes = (
        Conv("c", (ConvTerm("x", weight),), np.zeros(8, np.float32), "y"),
        Add("s", ("x", "y"), "z"),
    )
    tensors = {n: Tensor(n, 8, 4, 4) for n in "xyz"}
    graph = Graph("g", "x", ("z",), tensors, nodes, HostInput((8, 4, 4)))
    kinds = assign_kinds(graph, SMALL, {"y": np.arange(8.0)[::-1]})
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
