"""ONNX's own node tests as models that the compiler may meet: one image, all else constant."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnx.backend.test.loader import load_model_tests

FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE)


@dataclass(frozen=True, eq=False)
class Case:
    """A node test; array: the model's only input, a batch of one."""

    name: str
    model: onnx.ModelProto
    array: np.ndarray


def cases() -> Iterator[Case]:
    """Every node test with a real-valued input of two to four axes."""
    for test in sorted(load_model_tests(kind="node"), key=lambda t: t.name):
        folder = Path(test.model_dir)
        case = _adapted(test.name, onnx.load(folder / "model.onnx"), folder / "test_data_set_0")
        if case is not None:
            yield case


def _adapted(name: str, model: onnx.ModelProto, data: Path) -> Case | None:
    """The first real-valued input stays one, with one picture of its batch; the others become
    constants, and shapes of results are left open."""
    graph, found = model.graph, None
    keep = []
    for number, info in enumerate(graph.input):
        if info.type.WhichOneof("value") != "tensor_type":
            return None
        tensor = onnx.TensorProto.FromString((data / f"input_{number}.pb").read_bytes())
        array = numpy_helper.to_array(tensor)
        real = info.type.tensor_type.elem_type in FLOATS and array.ndim in (2, 3, 4)
        if found is None and real and array.size:
            found = np.ascontiguousarray(array[:1]).astype(np.float32)
            keep.append(helper.make_tensor_value_info(info.name, TensorProto.FLOAT, found.shape))
            continue
        if not info.name:
            return None
        graph.initializer.append(numpy_helper.from_array(_constant(array), info.name))
    if found is None:
        return None
    del graph.input[:]
    graph.input.extend(keep)
    for output in graph.output:
        if output.type.WhichOneof("value") != "tensor_type":
            return None
        if output.type.tensor_type.elem_type in FLOATS:
            output.type.tensor_type.elem_type = TensorProto.FLOAT
        output.type.tensor_type.ClearField("shape")
    return Case(name, model, found)


def _constant(array: np.ndarray) -> np.ndarray:
    return array.astype(np.float32) if array.dtype in (np.float16, np.float64) else array
