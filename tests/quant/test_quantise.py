from dataclasses import replace

import numpy as np
import pytest

from fpga_gen.contract.numerics import DSP, I8, I16, SP2, SP2_4, U8
from fpga_gen.contract.params import EngineParams
from fpga_gen.errors import QuantError
from fpga_gen.graph.interpreter import run_float
from fpga_gen.graph.ir import Conv, ConvTerm, Graph, Tensor
from fpga_gen.quant.interpreter import (
    compare,
    dequantise,
    quantise_input,
    run_integer,
    sqnr_db,
)
from fpga_gen.quant.ir import QAdd, QConv, QMaxPool, QTensor
from fpga_gen.quant.options import QuantOptions
from fpga_gen.quant.quantise import add_factors, quantise
from fpga_gen.quant.serialise import quant_graph_bytes
from fpga_gen_host.model_input import HostInput
from tests.engines import SMALL
from tests.quant.naive import run_naive
from tests.quant.networks import all_nodes, images

DSP_ONLY = EngineParams(sp2_columns=0)


@pytest.fixture(scope="module")
def graph():
    return all_nodes()


@pytest.fixture(scope="module")
def mixed(graph):
    return quantise(graph, SMALL, images(6))


def output_db(graph, qgraph, pictures) -> float:
    worst = np.inf
    for picture in pictures:
        real = run_float(graph, picture)
        stored = run_integer(qgraph, quantise_input(qgraph, picture))
        for name in graph.outputs:
            worst = min(worst, sqnr_db(real[name], dequantise(qgraph, name, stored[name])))
    return worst


def test_mixed_network_is_close_to_float(graph, mixed):
    unseen = images(3, seed=99)
    assert output_db(graph, mixed, unseen) > 14  # SP2 columns in every four channels, see kinds
    real = run_float(graph, unseen[0])
    stored = run_integer(mixed, quantise_input(mixed, unseen[0]))
    decibel = compare(mixed, real, stored)
    assert set(decibel) == set(mixed.tensors)
    assert min(decibel[t] for t in ("a", "b", "d", "e", "m", "t", "s", "u")) > 20


def test_int8_network_is_closer(graph, mixed):
    fixed = quantise(graph, DSP_ONLY, images(6), scheme="fixed8")
    unseen = images(3, seed=99)
    assert output_db(graph, fixed, unseen) > max(20, output_db(graph, mixed, unseen))
    assert all(set(t.kinds) == {DSP} for n, t in fixed.tensors.items() if n != "image")
    assert fixed.facts["sp2_mac_share"] == 0


def test_sp2_scheme_has_no_other_filters(graph, mixed):
    params = EngineParams(dsp_columns=0)
    qgraph = quantise(graph, params, images(6), scheme="sp2")
    assert qgraph.facts["sp2_mac_share"] == 1
    weights = [t.weight for n in qgraph.nodes if isinstance(n, QConv) for t in n.terms]
    assert all(np.isin(w, qgraph.sp2.levels).all() for w in weights)
    assert 12 < output_db(graph, qgraph, images(3, seed=99))


def test_msq4_scheme_has_4_bits_in_both_kinds(graph, mixed):
    params = replace(SMALL, sp2_code="sp2-4")
    qgraph = quantise(graph, params, images(6), scheme="msq4")
    assert qgraph.facts["sp2_mac_share"] == mixed.facts["sp2_mac_share"]
    for node in (n for n in qgraph.nodes if isinstance(n, QConv)):
        kinds = np.array(qgraph.tensors[node.output].kinds)
        for term in node.terms:
            assert np.abs(term.weight[kinds == DSP]).max() <= 7
            assert np.isin(term.weight[kinds == SP2], SP2_4.levels).all()
    assert output_db(graph, qgraph, images(3, seed=99)) > 5


@pytest.mark.parametrize("name", ["mixed", "sp2", "msq4"])
def test_each_layer_is_divided_in_the_ratio_of_the_columns(graph, name):
    columns = {"dsp_columns": 0} if name == "sp2" else {"dsp_columns": 4, "sp2_columns": 2}
    code = "sp2-4" if name == "msq4" else "two-term-6"
    params = replace(SMALL, **columns, sp2_code=code)
    qgraph = quantise(graph, params, images(2), scheme=name)
    for tensor in (t for t in qgraph.tensors.values() if t.kinds is not None):
        positions = range(tensor.channels)
        want = sum(params.column_kind(j, tensor.period) == SP2 for j in positions)
        assert sum(k == SP2 for k in tensor.kinds) == want, tensor.name
        if tensor.channels == 12 and not tensor.period:
            assert want == (12 if name == "sp2" else 4)


def test_quantised_network_equals_naive_loops(mixed):
    stored = quantise_input(mixed, images(1, seed=3)[0])
    got, want = run_integer(mixed, stored), run_naive(mixed, stored)
    for name in mixed.tensors:
        np.testing.assert_array_equal(got[name], want[name], err_msg=name)


def test_weights_lie_on_the_grid_of_their_column(mixed):
    convs = [n for n in mixed.nodes if isinstance(n, QConv)]
    assert len(convs) == 7
    beyond_sp2 = 0
    for node in convs:
        kinds = np.array(mixed.tensors[node.output].kinds)
        for term in node.terms:
            assert term.weight.dtype == np.int8
            assert np.isin(term.weight[kinds == SP2], mixed.sp2.levels).all()
            assert term.weight.min() >= -127
            beyond_sp2 += int((np.abs(term.weight[kinds == DSP]) > mixed.sp2.max_level).sum())
    assert beyond_sp2 > 1000
    assert 0.4 < mixed.facts["sp2_mac_share"] < 0.6


def test_groups_stay_zero_outside(graph, mixed):
    nodes = {n.name: n for n in mixed.nodes}
    depthwise = nodes["depthwise"].terms[0].weight
    assert depthwise.shape == (12, 12, 3, 3)
    outside = ~np.eye(12, dtype=bool)
    assert not depthwise[outside].any()
    assert depthwise[~outside].any()
    assert not nodes["grouped"].terms[0].weight[:4, 6:].any()


def test_structure_and_bounds(graph, mixed):
    nodes = {n.name: n for n in mixed.nodes}
    assert "cat" not in nodes
    assert nodes["mix"].terms[0].inputs == ("b", "d", "e")
    assert nodes["stem"].onnx_name == "Conv_0"
    a, b = mixed.tensors["a"], mixed.tensors["b"]
    assert isinstance(nodes["pool"], QMaxPool)
    assert (a.scale, a.format) == (b.scale, b.format)
    assert a.format is U8
    for node in nodes.values():
        if not isinstance(node, QConv):
            continue
        reach = np.zeros(node.bias.size)
        for term in node.terms:
            base = 0
            for name in term.inputs:
                t = mixed.tensors[name]
                part = np.abs(term.weight[:, base : base + t.channels].astype(float))
                narrow = node.wide and t.format.bits == 8
                reach += part.sum((1, 2, 3)) * t.format.reach * (256 if narrow else 1)
                base += t.channels
        assert (reach + np.abs(node.bias.astype(float)) < 2**31).all()
        assert node.wide == any(mixed.tensors[i].format.bits == 16 for i in node.inputs)
        assert ((node.mult >= 0) & (node.mult < 2**16)).all()
        assert ((node.shift >= 0) & (node.shift < 64)).all()


def limits(node) -> tuple[int, int]:
    return node.epilogue.lo, node.epilogue.hi


def test_clips_are_stored_clips(graph, mixed):
    nodes = {n.name: n for n in mixed.nodes}
    grouped, t = nodes["grouped"], mixed.tensors["g"]
    assert grouped.epilogue.lo * t.scale == pytest.approx(-1.0, abs=t.scale)
    assert grouped.epilogue.hi * t.scale == pytest.approx(1.5, abs=t.scale)
    assert limits(nodes["deep"]) == (-128, 127)
    assert nodes["mix"].epilogue.lo == mixed.tensors["m"].format.lo


def test_relu_of_a_16_bit_tensor_clips_at_zero(graph):
    forced = QuantOptions(wide_tensors=("d", "m", "image"))
    qgraph = quantise(graph, SMALL, images(4), options=forced)
    nodes = {n.name: n for n in qgraph.nodes}
    assert qgraph.tensors["d"].format is I16
    assert limits(nodes["deep"]) == (0, 32767)
    assert nodes["mix"].wide
    assert nodes["two"].wide
    assert not nodes["grouped"].wide
    assert qgraph.facts["wide_tensors"] == ["d", "image", "m"]
    stored = quantise_input(qgraph, images(1)[0])
    assert stored.dtype == np.int16
    got, want = run_integer(qgraph, stored), run_naive(qgraph, stored)
    for name in qgraph.tensors:
        np.testing.assert_array_equal(got[name], want[name], err_msg=name)


def test_compensation_helps_on_unseen_images(graph):
    rng = np.random.default_rng(0)
    basis = rng.standard_normal((5, 3, 24, 28))  # pictures that share structure

    def pictures(n):
        return [np.tensordot(rng.standard_normal(5), basis, 1).astype(np.float32) for _ in range(n)]

    train, test = pictures(6), pictures(4)
    results = [
        output_db(graph, quantise(graph, SMALL, train, options=QuantOptions(compensate=c)), test)
        for c in (True, False)
    ]
    assert results[0] > results[1] + 1


def test_equal_input_gives_equal_bytes(graph):
    one, two, other = (
        quant_graph_bytes(quantise(graph, SMALL, None, seed=seed)) for seed in (4, 4, 5)
    )
    assert one == two
    assert one != other


def test_progress_names_the_layers(graph):
    lines: list[str] = []
    quantise(graph, SMALL, images(1), progress=lines.append)
    assert any("calibrate image 1 of 1" in line for line in lines)
    assert "round weights of 'depthwise'" in lines


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"scheme": "int4"}, "unknown scheme 'int4'"),
        ({"scheme": "fixed8"}, "SP2 columns"),
        ({"scheme": "sp2"}, "DSP columns"),
        ({"scheme": "msq4"}, "SP2 code sp2-4"),
        ({"options": QuantOptions(wide_tensors=("nix",))}, "'nix' is not a stored tensor"),
        ({"options": QuantOptions(wide_tensors=("b",))}, "max-pool"),
        ({"options": QuantOptions(wide_tensors=("a",))}, "max-pool"),
        ({"options": QuantOptions(wide_tensors=("bde",))}, "not a stored tensor"),
    ],
)
def test_bad_requests(graph, arguments, message):
    with pytest.raises(QuantError, match=message):
        quantise(graph, SMALL, images(1), **arguments)


@pytest.mark.parametrize(
    "arguments", [{"block": 1}, {"samples": 0}, {"damping": 0.0}, {"wide_mac_share": 2.0},
                  {"probe_images": 0}, {"wide_worth": -1.0}]
)  # fmt: skip
def test_bad_options(arguments):
    with pytest.raises(QuantError, match=next(iter(arguments))):
        QuantOptions(**arguments)


def single_conv(weight: np.ndarray, bias: np.ndarray, size: int = 6) -> Graph:
    out, fan_in, kh, _ = weight.shape
    node = Conv("only", (ConvTerm("x", weight),), bias, "y")
    tensors = {
        "x": Tensor("x", fan_in, size, size),
        "y": Tensor("y", out, size - kh + 1, size - kh + 1),
    }
    return Graph("single", "x", ("y",), tensors, (node,), HostInput((fan_in, size, size)))


def test_non_finite_weights_name_the_layer():
    weight = np.ones((4, 2, 1, 1), np.float32)
    weight[1, 0] = np.inf
    with pytest.raises(QuantError, match="layer 'only': weights or bias"):
        quantise(single_conv(weight, np.zeros(4, np.float32)), SMALL, images(1, (2, 6, 6)))


@pytest.mark.parametrize("wide", [(), ("x",), ("x", "y")])
def test_long_filters_stay_within_32_bits(wide):
    """Equal weights of one sign are the worst case for the accumulator."""
    weight = np.ones((8, 800, 3, 3), np.float32)
    weight[3] *= 1e-6
    graph = single_conv(weight, np.linspace(-5, 5, 8).astype(np.float32))
    ones = [np.full((800, 6, 6), v, np.float32) for v in (-1, 1, 0.5)]
    options = QuantOptions(wide_tensors=wide)
    qgraph = quantise(graph, SMALL, ones, options=options)
    for picture in ones:
        real = run_float(graph, picture)["y"]
        stored = run_integer(qgraph, quantise_input(qgraph, picture))["y"]
        assert sqnr_db(real, dequantise(qgraph, "y", stored)) > 25


def test_dead_filters_keep_their_bias():
    weight = np.random.default_rng(0).standard_normal((4, 3, 1, 1)).astype(np.float32)
    weight[1] = 0
    weight[2] = 1e-30
    bias = np.array([0.5, -2.0, 3.0, 0.0], np.float32)
    graph = single_conv(weight, bias)
    pictures = images(2, (3, 6, 6))
    qgraph = quantise(graph, SMALL, pictures)
    stored = run_integer(qgraph, quantise_input(qgraph, pictures[0]))
    real = dequantise(qgraph, "y", stored["y"])
    step = qgraph.tensors["y"].scale
    assert np.abs(real[1] + 2.0).max() <= step
    assert np.abs(real[2] - 3.0).max() <= step


def test_all_zero_network_is_not_an_error():
    graph = single_conv(np.zeros((4, 3, 1, 1), np.float32), np.zeros(4, np.float32))
    qgraph = quantise(graph, SMALL, [np.zeros((3, 6, 6), np.float32)])
    stored = run_integer(qgraph, quantise_input(qgraph, np.ones((3, 6, 6), np.float32)))
    assert not dequantise(qgraph, "y", stored["y"]).any()


def test_add_factors_are_precise_and_bounded():
    rng = np.random.default_rng(2)
    for _ in range(50):
        n = rng.integers(2, 5)
        tensors = [
            QTensor("t", 1, 1, 1, float(10 ** rng.uniform(-3, 0)), (I8, U8, I16)[rng.integers(3)])
            for _ in range(n)
        ]
        factors, unit = add_factors(tensors)
        reach = sum(f * t.format.reach for f, t in zip(factors, tensors, strict=True))
        assert reach < 2**31
        assert all(0 <= f < 2**15 for f in factors)
        assert max(factors) >= 2**10
        for f, t in zip(factors, tensors, strict=True):
            assert abs(f * unit - t.scale) <= unit


def test_add_with_one_tensor_twice(graph):
    nodes = tuple(replace(n, inputs=("m", "m", "d")) if n.name == "add" else n for n in graph.nodes)
    doubled = replace(graph, nodes=nodes)
    qgraph = quantise(doubled, SMALL, images(3))
    node = next(n for n in qgraph.nodes if isinstance(n, QAdd))
    assert node.factors[0] == node.factors[1]
    assert output_db(doubled, qgraph, images(1, seed=11)) > 15
