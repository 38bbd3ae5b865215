"""The pass pipeline as a whole: lean results on real structures, exactness on random networks."""

from dataclasses import fields, is_dataclass, replace

import numpy as np
import pytest

from fpga_gen.errors import UnsupportedModel
from fpga_gen.graph.ir import Activation, Concat, Conv, conv_macs
from fpga_gen.graph.passes import optimise as pipeline
from fpga_gen.graph.passes.optimise import optimise
from fpga_gen.graph.verify import GraphRuleError, verify
from tests.graph.graphs import RELU, Maker, assert_same, kinds


def _random_graph(seed: int):
    """A random network of all node kinds over maps of a few sizes."""
    m = Maker((3, 8, 12), seed)
    rng = m.rng
    maps = ["x"]
    for _ in range(int(rng.integers(8, 24))):
        x = maps[int(rng.integers(max(0, len(maps) - 6), len(maps)))]
        c, h, w = m.tensors[x].shape
        activation = (RELU, Activation(-1.0, 1.5), Activation(), Activation(), Activation())[
            int(rng.integers(0, 5))
        ]
        peers = [p for p in maps if m.tensors[p].shape[1:] == (h, w)]
        twins = [p for p in peers if m.tensors[p].shape == (c, h, w) and p != x]
        kind = rng.integers(0, 10)
        if kind <= 2 or c > 16:
            cout = int(rng.choice([1, 4, c]))
            k = int(rng.choice([1, 1, 3]))
            stride = (2, 2) if rng.random() < 0.2 and min(h, w) > 3 else (1, 1)
            maps.append(m.conv(x, min(cout, 8), k, stride=stride, activation=activation))
        elif kind == 3:
            maps.append(m.affine(x, activation=activation, bias=rng.random() < 0.5))
        elif kind == 4:
            maps.append(m.copy(x, activation))
        elif kind == 5 and min(h, w) > 3:
            maps.append(m.pool(x, 3, int(rng.integers(1, 3)), (1, 1, 1, 1)))
        elif kind == 6:
            maps.append(m.resize(x, (8, 12), str(rng.choice(["linear", "nearest"])), activation))
        elif kind == 7:
            maps.append(m.concat(x, *rng.choice(peers, int(rng.integers(1, 3)))))
        elif kind == 8 and twins:
            maps.append(m.add(x, *dict.fromkeys(rng.choice(twins, 2)), activation=activation))
        elif kind == 9 and twins:
            maps.append(m.mul(x, str(rng.choice(twins)), activation))
    maps.append(m.conv(maps[-1], 2, 1))
    return m.graph(*dict.fromkeys([maps[-1], *map(str, rng.choice(maps[1:], 2))]))


def _plain(value):
    """A graph, or a part of it, as something that `==` compares with all its weights."""
    if is_dataclass(value):
        return [type(value).__name__, *(_plain(getattr(value, f.name)) for f in fields(value))]
    if isinstance(value, np.ndarray):
        return [value.shape, value.dtype.name, value.tobytes()]
    if isinstance(value, dict):
        return [(key, _plain(item)) for key, item in value.items()]
    return [_plain(v) for v in value] if isinstance(value, tuple) else value


@pytest.mark.parametrize("seed", range(120))
def test_random_networks(seed):
    before = _random_graph(seed)
    after = optimise(before)
    assert_same(before, after)
    verify(after, lowered=True)
    assert _plain(optimise(before)) == _plain(after)  # deterministic


def _hardnet(m: Maker) -> str:
    """Stem, pool, a block with links and a decoder like HarDNet-MSEG's, unfused."""

    def layer(x, c, **kw):
        return m.copy(m.affine(m.conv(x, c, bias=False, **kw)), RELU)

    y = m.pool(layer(layer("x", 8, stride=(2, 2)), 16), 3, 2, (1, 1, 1, 1))
    a = layer(y, 4)
    b = layer(m.concat(a, y), 6)
    c = layer(b, 4)
    d = layer(m.concat(c, b, y), 8)
    low = m.pool(m.concat(a, c, d))
    p, q = layer(low, 8, k=1), layer(low, 8)
    branches = m.concat(m.conv(p, 4), m.conv(q, 4))
    head = m.copy(m.add(m.conv(branches, 8), m.conv(low, 8, 1)), RELU)
    up = m.resize(head, (4, 4))
    product = m.mul(m.conv(up, 8), layer(m.concat(a, d), 8))
    return m.conv(m.conv(m.concat(product, up), 16), 1, 1)


def test_hardnet_like_network_is_lean():
    m = Maker((3, 16, 16))
    before = m.graph(_hardnet(m))
    after = optimise(before)
    assert_same(before, after)
    counts = {k: kinds(after).count(k) for k in set(kinds(after))}
    assert counts == {"Conv": 14, "MaxPool": 4, "Concat": 6, "Resample": 1, "Mul": 1}
    assert after.host_input.space_to_depth == 2
    concats = {n.output for n in after.nodes if isinstance(n, Concat)}
    assert all(isinstance(n, Conv) for n in after.nodes if concats & set(n.inputs))
    assert conv_macs(after) < conv_macs(before)


def test_a_pass_that_breaks_a_rule_is_named(monkeypatch):
    def broken_pass(graph):
        return replace(graph, nodes=graph.nodes[1:]) if len(graph.nodes) > 1 else graph

    monkeypatch.setattr(pipeline, "SIMPLIFY", (broken_pass,))
    m = Maker()
    m.conv(m.conv("x", 4), 4)
    with pytest.raises(GraphRuleError, match=r"after pass broken_pass: Conv 'node1'.*'t0'"):
        optimise(m.graph())


@pytest.mark.filterwarnings("error")
def test_factors_whose_product_is_beyond_float():
    """The model is at fault, which is told, and nothing else is."""
    m = Maker()
    m.affine(m.affine(m.conv("x", 4)))
    for node in m.nodes[1:]:
        node.terms[0].weight[:] = 1e30
    with pytest.raises(UnsupportedModel, match="not finite in float32; repair the weights"):
        optimise(m.graph())


def test_passes_that_never_settle(monkeypatch):
    monkeypatch.setattr(pipeline, "SIMPLIFY", (lambda graph: replace(graph),))
    m = Maker()
    m.conv("x", 4)
    with pytest.raises(GraphRuleError, match="did not settle"):
        optimise(m.graph())


def test_empty_network():
    """An output that is the input, copied."""
    m = Maker()
    before = m.graph(m.copy("x"))
    after = optimise(before)
    assert_same(before, after)
    assert kinds(after) == ["Resample"]
