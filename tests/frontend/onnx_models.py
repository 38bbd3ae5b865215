"""Small ONNX models for the tests, and the comparison with onnxruntime."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from fpga_gen.errors import UnsupportedModel
from fpga_gen.frontend.importer import import_onnx
from fpga_gen.graph.interpreter import run_float
from fpga_gen.graph.ir import Graph
from fpga_gen.graph.passes.optimise import optimise
from fpga_gen.graph.verify import verify
from fpga_gen_host.host_ops import run_host_ops
from fpga_gen_host.model_input import HostInput


@dataclass
class Net:
    """Collects nodes and constants; values are named n0, n1, ... unless `out` is given."""

    shape: tuple = (1, 3, 9, 11)
    opset: int = 18
    seed: int = 0
    nodes: list = field(default_factory=list)
    constants: list = field(default_factory=list)

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng(self.seed)

    def const(self, value, dtype=np.float32, name: str = "") -> str:
        name = name or f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    def ints(self, *values: int) -> str:
        return self.const(values, np.int64)

    def random(self, *shape: int) -> str:
        return self.const(self.rng.normal(size=shape))

    def op(self, kind: str, *inputs: str, out: str | None = None, name: str | None = None, **attrs):
        out = out or f"n{len(self.nodes)}"
        name = f"{kind.lower()}_{len(self.nodes)}" if name is None else name
        self.nodes.append(helper.make_node(kind, inputs, [out], name=name, **attrs))
        return out

    def conv(self, x: str, cin: int, cout: int, k=3, bias: bool = True, **attrs) -> str:
        kh, kw = (k, k) if isinstance(k, int) else k
        weight = self.const(self.rng.normal(size=(cout, cin, kh, kw)) / np.sqrt(cin * kh * kw))
        inputs = [x, weight, self.random(cout)] if bias else [x, weight]
        attrs = {"pads": [kh // 2, kw // 2, kh // 2, kw // 2], **attrs}
        return self.op("Conv", *inputs, **{k: v for k, v in attrs.items() if v is not None})

    def batch_norm(self, x: str, channels: int) -> str:
        spread = self.const(self.rng.uniform(0.5, 2, channels))
        return self.op(
            "BatchNormalization", x, self.random(channels), self.random(channels),
            self.random(channels), spread,
        )  # fmt: skip

    def model(self, *outputs: str, types: dict | None = None) -> onnx.ModelProto:
        infos = [
            helper.make_tensor_value_info(o, (types or {}).get(o, TensorProto.FLOAT), None)
            for o in outputs
        ]
        x = helper.make_tensor_value_info("x", TensorProto.FLOAT, self.shape)
        graph = helper.make_graph(self.nodes, "net", [x], infos, self.constants)
        opsets = [helper.make_opsetid("", self.opset)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=8)

    def save(self, folder: Path, *outputs: str, types: dict | None = None) -> Path:
        path = folder / "net.onnx"
        onnx.save(self.model(*(outputs or (f"n{len(self.nodes) - 1}",)), types=types), path)
        return path


def run_reference(model: Path | bytes, array: np.ndarray) -> list[np.ndarray]:
    """Outputs of onnxruntime without graph optimisations; array: the model's input, or (C, H, W) of
    a batch of one."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    source = session.get_inputs()[0]
    array = array if array.ndim == len(source.shape) else array[None]
    return session.run(None, {source.name: array})


def model_array(host_input: HostInput, image: np.ndarray) -> np.ndarray:
    """The model's input, in its own shape, of (C, H, W)."""
    moved = np.moveaxis(image, 0, -1) if host_input.channels_last else image
    return np.ascontiguousarray(moved).reshape(host_input.array_shape)


def assert_like_onnxruntime(
    path: Path, *, input_shape: tuple | None = None, atol: float = 1e-4, seed: int = 1
) -> Graph:
    """Imported and optimised graph both agree with onnxruntime; returns the optimised one."""
    imported = import_onnx(path, input_shape=input_shape)
    graph = optimise(imported)
    verify(graph, lowered=True)
    image = np.random.default_rng(seed).normal(size=imported.host_input.model_shape)
    image = image.astype(np.float32)
    expected = run_reference(path, model_array(imported.host_input, image))
    for stage in (imported, graph):
        got = run_host_ops(stage, run_float(stage, image))
        assert len(got) == len(expected)
        for want, (name, have) in zip(expected, got.items(), strict=True):
            assert have.shape == want.shape, name
            assert have.dtype == want.dtype, name
            np.testing.assert_allclose(have, want, atol=atol, rtol=1e-4, err_msg=name)
    return graph


def refusal(path: Path, **kwargs) -> str:
    """What the importer says of a model that it must refuse."""
    with pytest.raises(UnsupportedModel) as error:
        import_onnx(path, **kwargs)
    return str(error.value)
