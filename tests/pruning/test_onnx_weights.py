"""Changes of a graph's layers in the file that they came from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from fpga_gen.frontend.importer import import_onnx
from fpga_gen.graph.ir import Conv
from fpga_gen.graph.passes.optimise import optimise
from fpga_gen.pruning.onnx_weights import OnnxWeights
from tests.frontend.onnx_models import Net, run_reference


def convs(path: Path) -> list[Conv]:
    return [n for n in optimise(import_onnx(path)).nodes if isinstance(n, Conv)]


def changed(node: Conv) -> Conv:
    """With some zeros, other weights and another bias."""
    (term,) = node.terms
    weight = term.weight * np.float32(1.25)
    weight[1:3, 2:5] = 0
    bias = node.bias + np.arange(len(node.bias), dtype=np.float32)
    return replace(node, terms=(replace(term, weight=weight),), bias=bias)


def check(path: Path, number: int) -> None:
    """A change of one layer comes back from the file."""
    weights, before = OnnxWeights(path), convs(path)
    after = changed(before[number])
    weights.update(before[number], after)
    other = path.with_name("other.onnx")
    onnx.save(weights.model, other)
    for at, (was, now) in enumerate(zip(before, convs(other), strict=True)):
        wanted = after if at == number else was
        np.testing.assert_allclose(
            now.terms[0].weight, wanted.terms[0].weight, rtol=1e-5, atol=1e-6
        )
        np.testing.assert_allclose(now.bias, wanted.bias, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("norm", [True, False])
def test_convolutions(tmp_path: Path, bias: bool, norm: bool):
    """With and without a bias of their own, alone or before a BatchNorm that the compiler folds."""
    net = Net()
    y = net.op("Relu", net.conv("x", 3, 8))
    y = net.conv(y, 8, 6, bias=bias)
    y = net.op("Relu", net.batch_norm(y, 6) if norm else y)
    check(net.save(tmp_path, net.conv(y, 6, 4)), 1)


def test_half_precision(tmp_path: Path):
    """As the shipped network is stored: halves, cast when they are used."""
    net = Net()
    y = net.op("Relu", net.conv("x", 3, 8))
    halves = net.const(net.rng.normal(size=(4, 8, 1, 1)), np.float16)
    path = net.save(tmp_path, net.op("Conv", y, net.op("Cast", halves, to=onnx.TensorProto.FLOAT)))
    weights, before = OnnxWeights(path), convs(path)
    assert weights.rounding == pytest.approx(2**-10)
    after = changed(before[1])
    weights.update(before[1], after)
    onnx.save(weights.model, path)
    assert len(onnx.load(path).graph.node[-1].input) == 3  # it has got a bias
    run_reference(path, np.zeros(net.shape, np.float32))  # of a type that the node takes
    (_, now) = convs(path)
    np.testing.assert_allclose(now.terms[0].weight, after.terms[0].weight, rtol=1e-3)
    np.testing.assert_allclose(now.bias, after.bias, atol=1e-3)


@pytest.mark.parametrize("flipped", [0, 1])
def test_fully_connected(tmp_path: Path, flipped: int):
    net = Net((1, 3, 4, 5))
    y = net.op("Flatten", net.op("Relu", net.conv("x", 3, 8)))
    shape = (6, 160) if flipped else (160, 6)
    y = net.op("Gemm", y, net.random(*shape), net.random(6), transB=flipped)
    check(net.save(tmp_path, y), 1)


def test_what_is_no_layer_of_the_file(tmp_path: Path):
    """A weight of two layers, one that is computed, depthwise ones, a picture's own factors."""
    net = Net((1, 8, 9, 11))
    shared = net.random(8, 8, 1, 1)
    y = net.op("Relu", net.op("Conv", "x", shared))
    y = net.op("Relu", net.op("Conv", y, shared))
    y = net.op("Relu", net.conv(y, 1, 8, group=8))
    y = net.op("Conv", y, net.op("Mul", net.random(4, 8, 1, 1), net.random(4, 8, 1, 1)))
    path = net.save(tmp_path, y)
    weights = OnnxWeights(path)
    assert [weights.of(n) for n in convs(path)] == [None] * 4
