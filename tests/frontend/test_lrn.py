"""LRN against onnxruntime, as a float graph and as integers, and as a program."""

from pathlib import Path

import numpy as np
import pytest

from fpga_gen.contract.params import EngineParams
from fpga_gen.frontend.importer import import_onnx
from fpga_gen.graph.passes.optimise import optimise
from fpga_gen.quant.interpreter import dequantise, quantise_input, run_integer, sqnr_db
from fpga_gen.quant.options import QuantOptions
from fpga_gen.quant.quantise import quantise
from tests.frontend.onnx_models import Net, assert_like_onnxruntime, refusal, run_reference
from tests.schedule.foreign import quantised
from tests.schedule.test_program import check

ALEXNET = {"size": 5, "alpha": 1e-4, "beta": 0.75, "bias": 2.0}
STRONG = {"size": 3, "alpha": 2.0, "beta": 0.75, "bias": 1.0}


def _net(**attributes) -> Net:
    net = Net()
    y = net.op("LRN", net.op("Relu", net.conv("x", 3, 12)), **attributes)
    net.conv(y, 12, 5)
    return net


@pytest.mark.parametrize(
    "attributes", [ALEXNET, STRONG, {"size": 1, "beta": 0.5}, {"size": 31, "alpha": 1.0}]
)
def test_like_onnxruntime(attributes: dict, tmp_path: Path) -> None:
    assert_like_onnxruntime(_net(**attributes).save(tmp_path))


def test_integers(tmp_path: Path) -> None:
    """Eight bits for squares, powers and products."""
    path = _net(**STRONG).save(tmp_path)
    graph = optimise(import_onnx(path))
    qgraph = quantise(graph, EngineParams(), None, options=QuantOptions(compensate=False))
    image = np.random.default_rng(3).normal(size=(3, 9, 11)).astype(np.float32)
    (want,) = run_reference(path, image)
    stored = run_integer(qgraph, quantise_input(qgraph, image))
    (name,) = qgraph.outputs
    assert sqnr_db(want, dequantise(qgraph, name, stored[name])) > 25


def test_program(tmp_path: Path) -> None:
    params = EngineParams(activations=True)
    check(quantised(_net(**STRONG).save(tmp_path), params), params)


def test_a_bias_of_zero(tmp_path: Path) -> None:
    """Zeros would be divided by zero."""
    assert "has size 5" in refusal(_net(size=5, bias=0.0).save(tmp_path))
