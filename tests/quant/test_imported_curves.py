"""Activations of models that were quantised elsewhere: tables round where the model does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from fpga_gen.frontend.importer import import_onnx
from fpga_gen.graph.ir import Conv
from fpga_gen.graph.passes.optimise import optimise
from fpga_gen.quant.interpreter import dequantise, quantise_input, run_integer
from fpga_gen.quant.ir import QuantGraph
from fpga_gen.quant.quantise import quantise
from tests.engines import TABLES
from tests.frontend.activation_models import hard_swish_of_hard_sigmoid, silu
from tests.frontend.onnx_models import Net
from tests.frontend.qdq_models import SHAPE, pictures, quantised

DSP_ONLY = replace(TABLES, dsp_columns=8, sp2_columns=0)
TIES = 2e-3  # share of the elements
ACTIVATIONS: dict[str, Callable[[Net, str], str]] = {
    "silu": silu,
    "hard swish": hard_swish_of_hard_sigmoid,
    "HardSwish": lambda net, x: net.op("HardSwish", x),
    "LeakyRelu": lambda net, x: net.op("LeakyRelu", x, alpha=0.1),
    "Sigmoid": lambda net, x: net.op("Sigmoid", x),
    "Tanh": lambda net, x: net.op("Tanh", x),
}


def _model(name: str, folder: Path, symmetric: bool) -> tuple[Path, QuantGraph]:
    net, activation = Net(shape=(1, *SHAPE), opset=17), ACTIVATIONS[name]
    y = activation(net, net.conv("x", 3, 8))
    net.conv(activation(net, net.conv(y, 8, 8)), 8, 5, 1)
    path = quantised(net.save(folder), symmetric=symmetric)
    graph = optimise(import_onnx(path))
    assert [type(n) for n in graph.nodes] == [Conv] * 3
    return path, quantise(graph, DSP_ONLY, pictures(4), scheme="fixed8")


def _all_maps(path: Path, image: np.ndarray) -> list[np.ndarray]:
    """Every dequantised map of the model, by onnxruntime."""
    model = onnx.load(path)
    names = [n.output[0] for n in model.graph.node if n.op_type == "DequantizeLinear"]
    known = {o.name for o in model.graph.output}
    for name in names:
        if name not in known:
            model.graph.output.append(onnx.helper.make_empty_tensor_value_info(name))
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    return [v[0] for v in session.run(names, {"x": image[None]}) if v.ndim == 4]


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_every_map_is_that_of_onnxruntime(name: str, tmp_path: Path) -> None:
    """Symmetric scales are all kept: to the level, but for sums that onnxruntime's float32 rounds
    the other way."""
    path, qgraph = _model(name, tmp_path, True)
    image = pictures(1, 9)[0]
    maps = _all_maps(path, image)
    stored = run_integer(qgraph, quantise_input(qgraph, image))
    for tensor in qgraph.tensors.values():
        got = dequantise(qgraph, tensor.name, stored[tensor.name])
        away = [np.abs(want - got) / tensor.scale for want in maps if want.shape == got.shape]
        nearest = min(away, key=lambda steps: float(steps.mean()))
        assert nearest.max() < 1.01, tensor.name
        assert (nearest > 0.01).mean() < TIES, tensor.name
    assert qgraph.facts["imported"] == []


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_asymmetric_sums_keep_their_levels(name: str, tmp_path: Path) -> None:
    """Only what is stored is calibrated anew: a table's index has any zero point."""
    _, qgraph = _model(name, tmp_path, False)
    reasons = {entry["reason"] for entry in qgraph.facts["imported"]}
    assert all("zero point" in reason for reason in reasons), reasons
