"""Activations inside a network against onnxruntime, and what is left of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fpga_gen.errors import UnsupportedModel
from fpga_gen.frontend.importer import import_onnx
from fpga_gen.graph.ir import Conv, Mul, Resample, needs_tables
from tests.frontend.activation_models import ACTIVATIONS, CURVES, GATES, OPSET, network, silu
from tests.frontend.onnx_models import Net, assert_like_onnxruntime


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activation(name: str, tmp_path: Path) -> None:
    graph = assert_like_onnxruntime(network(name).save(tmp_path))
    if name in CURVES:  # nothing but a table in the first convolution
        assert [type(n) for n in graph.nodes] == [Conv, Conv]
        assert not graph.nodes[0].activation.is_clip
    assert needs_tables(graph) == (name in CURVES)


@pytest.mark.parametrize("name", CURVES)
def test_bounds_hold(name: str, tmp_path: Path) -> None:
    """What the graph counts on: no value leaves the bounds, though it lies between their points."""
    net = Net(shape=(1, 3, 9, 11), opset=OPSET)
    CURVES[name](net, "x")
    graph = import_onnx(network(name).save(tmp_path))
    for node in graph.nodes:
        activation = getattr(node, "activation", None)
        if activation is not None and not activation.is_clip:
            x = np.random.default_rng(0).normal(scale=5, size=100_000)
            y = activation.curve.apply(x)
            assert (y >= activation.lo).all()
            assert (y <= activation.hi).all()


@pytest.mark.parametrize("gate", GATES)
def test_gate(gate: str, tmp_path: Path) -> None:
    graph = assert_like_onnxruntime(GATES[gate]().save(tmp_path))
    kinds = [type(n) for n in graph.nodes]
    if gate == "spatial":
        assert kinds.count(Mul) == 1
    elif gate == "depthwise":
        assert kinds == [Conv, Conv, Resample, Conv, Conv, Mul, Conv]
    else:  # the mean is the only Resample: the gate is read where it is
        assert kinds == [Conv, Resample, Conv, Conv, Mul, Conv]


def test_an_activation_of_two_readers_stays_a_copy(tmp_path: Path) -> None:
    net = Net(opset=OPSET)
    x = net.conv("x", 3, 6)
    y = silu(net, x)
    net.op("Add", net.conv(y, 6, 5, 1), net.conv(x, 6, 5, 3))
    graph = assert_like_onnxruntime(net.save(tmp_path))
    assert [type(n) for n in graph.nodes] == [Conv, Resample, Conv]
    assert graph.nodes[1].activation.describe() == "mul(x,sigmoid(x))"


def test_a_sum_in_front_of_an_activation(tmp_path: Path) -> None:
    net = Net(opset=OPSET)
    x = net.op("Relu", net.conv("x", 3, 6))
    net.conv(silu(net, net.op("Add", x, net.op("MaxPool", x, kernel_shape=[3, 3],
                                               pads=[1, 1, 1, 1]))), 6, 5)  # fmt: skip
    graph = assert_like_onnxruntime(net.save(tmp_path))
    assert len([n for n in graph.nodes if isinstance(n, Resample)]) == 0


def test_an_activation_that_falls_stays_behind_its_pool(tmp_path: Path) -> None:
    net = Net(opset=OPSET)
    y = net.op("MaxPool", net.conv("x", 3, 6), kernel_shape=[2, 2], strides=[2, 2])
    net.conv(silu(net, y), 6, 5)
    graph = assert_like_onnxruntime(net.save(tmp_path))
    assert isinstance(graph.nodes[2], Resample)
    net = Net(opset=OPSET)
    y = net.op("MaxPool", net.conv("x", 3, 6), kernel_shape=[2, 2], strides=[2, 2])
    net.conv(net.op("LeakyRelu", y), 6, 5)
    graph = assert_like_onnxruntime(net.save(tmp_path))
    assert not graph.nodes[0].activation.is_clip


def test_a_square_is_a_product(tmp_path: Path) -> None:
    """No table where the vector unit needs none."""
    net = Net(opset=OPSET)
    x = net.conv("x", 3, 6)
    net.conv(net.op("Mul", x, x), 6, 5)
    graph = assert_like_onnxruntime(net.save(tmp_path))
    assert not needs_tables(graph)


def _sum_to_one(net: Net, x: str) -> str:
    """Every channel divided by its sum over the map, as CenterNet-HarDNet-85 has it."""
    total = net.op("ReduceSum", x, net.ints(2, 3), keepdims=1)
    return net.op("Div", x, net.op("Add", total, net.const(0.1)))


def _unit_length(net: Net, x: str) -> str:
    """Every pixel's channels divided by their length, as SSD has it."""
    square = net.op("Pow", x, net.const(2.0))
    length = net.op("Sqrt", net.op("ReduceSum", square, net.ints(1), keepdims=1))
    return net.op("Div", x, net.op("Add", length, net.const(1e-3)))


def _one_over(net: Net, x: str) -> str:
    return net.op("Div", net.const([1.0]), net.op("Add", x, net.const(0.5)))


def _reciprocal(net: Net, x: str) -> str:
    return net.op("Reciprocal", net.op("Add", x, net.const(0.5)))


@pytest.mark.parametrize("norm", [_sum_to_one, _unit_length, _one_over, _reciprocal])
def test_a_division_by_a_map_is_a_product(norm, tmp_path: Path) -> None:
    net = Net(opset=OPSET)
    net.conv(norm(net, net.op("Relu", net.conv("x", 3, 6))), 6, 5)
    graph = assert_like_onnxruntime(net.save(tmp_path))
    assert needs_tables(graph)
    assert not graph.host_ops


def test_a_division_at_the_end_is_exact_on_the_host(tmp_path: Path) -> None:
    net = Net(opset=OPSET)
    _sum_to_one(net, net.op("Relu", net.conv("x", 3, 6)))
    graph = assert_like_onnxruntime(net.save(tmp_path))
    assert not needs_tables(graph)
    assert graph.host_ops


@pytest.mark.parametrize(
    ("kind", "inputs", "attributes", "reason"),
    [
        ("Celu", (), {"alpha": 0.0}, "alpha = 0"),
        ("LeakyRelu", (), {"alpha": float("inf")}, "not finite"),
        ("Gelu", (), {"approximate": "cubic"}, "approximate = 'cubic'"),
        ("Pow", (0.5,), {}, "exponent 0.5"),
        ("Pow", (float("inf"),), {}, "exponent inf"),
        ("Pow", (float("nan"),), {}, "exponent nan"),
        ("Pow", (np.full((1, 1, 1, 1, 1), 2.0),), {}, "more axes than its map"),
        ("Pow", ([1.0, 2.0],), {}, "one exponent per element"),
        ("PRelu", (np.full((1, 9, 1), 0.1) * np.arange(9)[:, None],), {}, "varies over height"),
    ],
)
def test_refused(kind: str, inputs, attributes, reason: str, tmp_path: Path) -> None:
    net = Net(opset=OPSET)
    y = net.op(kind, net.conv("x", 3, 6), *(net.const(v) for v in inputs), **attributes)
    net.conv(y, 6, 5)
    with pytest.raises(UnsupportedModel, match=reason):
        import_onnx(net.save(tmp_path))
