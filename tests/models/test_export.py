"""Exported ONNX files compute what the models compute."""

from importlib.util import find_spec
from pathlib import Path

import pytest

if find_spec("torch") is None:
    pytest.skip("needs torch", allow_module_level=True)

import numpy as np
import onnx
import onnxruntime
import torch

import fpga_gen_models
from fpga_gen_models.export import build_model, export_onnx
from fpga_gen_models.transform import synthetic_images

CASES = [
    ("hardnet-mseg", "dynamo", False),
    ("hardnet-mseg", "torchscript", True),
    ("hardnet-39ds", "dynamo", True),
    ("hardnet-39ds", "torchscript", False),
    ("hardnet-68", "torchscript", False),
]


def _shape(value) -> list[int]:
    return [d.dim_value for d in value.type.tensor_type.shape.dim]


@pytest.mark.parametrize(("name", "exporter", "fold"), CASES)
def test_export_agrees_with_torch(name: str, exporter: str, fold: bool, tmp_path: Path) -> None:
    size = 64
    path = tmp_path / "deep" / "model.onnx"
    written = export_onnx(name, path, input_size=size, exporter=exporter, fold=fold, seed=2)
    assert written == path
    assert [p.name for p in path.parent.iterdir()] == ["model.onnx"]  # one self-contained file

    graph = onnx.load(path).graph
    assert [(v.name, _shape(v)) for v in graph.input] == [("image", [1, 3, size, size])]
    image = synthetic_images(1, size, torch.Generator().manual_seed(4))
    with torch.no_grad():
        expected = build_model(name, input_size=size, seed=2)(image).numpy()
    assert [(v.name, _shape(v)) for v in graph.output] == [("logits", list(expected.shape))]
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (got,) = session.run(None, {"image": image.numpy()})
    assert abs(got - expected).max() < 1e-4 * abs(expected).max()
    for folder in (b"site-packages", str(Path(fpga_gen_models.__file__).parent).encode()):
        assert folder not in path.read_bytes()  # no source positions of this machine
    operators = {node.op_type for node in graph.node}
    assert "BatchNormalization" not in operators


def test_checkpoint_is_exported(tmp_path: Path) -> None:
    model = build_model("hardnet-39ds", input_size=64, seed=9)
    torch.save(model.state_dict(), tmp_path / "own.pth")
    export_onnx(
        "hardnet-39ds",
        tmp_path / "own.onnx",
        checkpoint=tmp_path / "own.pth",
        input_size=64,
        exporter="torchscript",
    )
    session = onnxruntime.InferenceSession(
        str(tmp_path / "own.onnx"), providers=["CPUExecutionProvider"]
    )
    image = synthetic_images(1, 64, torch.Generator().manual_seed(4))
    (got,) = session.run(None, {"image": image.numpy()})
    with torch.no_grad():
        expected = model(image).numpy()
    assert abs(got - expected).max() < 1e-4 * abs(expected).max()


def test_unknown_exporter(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="torchscript"):
        export_onnx("hardnet-39ds", tmp_path / "m.onnx", exporter="tensorflow")


def test_half_weights_are_half_the_file(tmp_path):
    whole = export_onnx("hardnet-39ds", tmp_path / "whole.onnx", input_size=64)
    half = export_onnx("hardnet-39ds", tmp_path / "half.onnx", input_size=64, half=True)
    assert half.stat().st_size < 0.55 * whole.stat().st_size
    image = np.random.default_rng(0).normal(size=(1, 3, 64, 64)).astype(np.float32)
    runs = [onnxruntime.InferenceSession(p).run(None, {"image": image})[0] for p in (whole, half)]
    assert np.abs(runs[0] - runs[1]).max() < 0.02 * np.abs(runs[0]).max()
