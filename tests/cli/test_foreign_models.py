"""Networks with the layers of well-known ones: `check` accepts them, their programs are exact."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from fpga_gen.builddir.config import BuildConfig
from fpga_gen.contract.params import EngineParams
from fpga_gen.flows.check import check_model
from fpga_gen.frontend.importer import import_onnx
from fpga_gen.graph.passes.optimise import optimise
from fpga_gen.quant.interpreter import quantise_input, run_integer
from fpga_gen.quant.options import QuantOptions
from fpga_gen.quant.quantise import quantise
from tests.frontend.foreign_models import efficientnet_b0, mobilenet_v3_small, yolov8n
from tests.frontend.onnx_models import assert_like_onnxruntime
from tests.schedule.graphs import Example
from tests.schedule.test_program import check as check_program


def _mobilenet(folder: Path, size: int) -> Path:
    return mobilenet_v3_small(size).save(folder)


def _efficientnet(folder: Path, size: int) -> Path:
    return efficientnet_b0(size).save(folder)


def _yolo(folder: Path, size: int) -> Path:
    net, outputs = yolov8n(size)
    return net.save(folder, *outputs)


# How it is written, size, most cycles on a ZCU104 (cycle model).
NETWORKS: dict[str, tuple[Callable[[Path, int], Path], int, int]] = {
    "MobileNetV3-small": (_mobilenet, 224, 170_000),
    "EfficientNet-B0": (_efficientnet, 224, 610_000),
    "YOLOv8n": (_yolo, 640, 1_250_000),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_check(name: str, tmp_path: Path) -> None:
    write, size, cycles = NETWORKS[name]
    path = write(tmp_path, size)
    found = check_model(BuildConfig(model=path, board="zcu104"))
    assert not found.problems
    assert found.params is not None
    assert found.params.activations
    assert 0 < found.cycles < cycles


@pytest.mark.parametrize("name", NETWORKS)
def test_like_onnxruntime(name: str, tmp_path: Path) -> None:
    assert_like_onnxruntime(NETWORKS[name][0](tmp_path, 64), atol=2e-3)


@pytest.mark.parametrize("name", ["MobileNetV3-small", "YOLOv8n"])
def test_program(name: str, tmp_path: Path) -> None:
    params = EngineParams(activations=True)
    graph = optimise(import_onnx(NETWORKS[name][0](tmp_path, 64)))
    image = np.random.default_rng(2).normal(size=graph.host_input.model_shape)
    image = image.astype(np.float32)
    options = QuantOptions(compensate=False, wide_tensors=())
    qgraph = quantise(graph, params, [image], options=options)
    stored = quantise_input(qgraph, image)
    check_program(Example(qgraph, stored, run_integer(qgraph, stored)), params)
