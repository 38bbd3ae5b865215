"""Reads an ONNX file: format, external data, opset, functions, the one input and its shape."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError, Message
from onnx import TensorProto, numpy_helper

from fpga_gen.errors import UnsupportedModel
from fpga_gen.frontend.budget import Budget
from fpga_gen.frontend.constants import dense_array
from fpga_gen.frontend.functions import inlined
from fpga_gen.frontend.inputs import FLOAT_TYPES, model_inputs
from fpga_gen.frontend.model_file import check_model_file
from fpga_gen.frontend.old_opsets import MODERN_OPSET, modernised
from fpga_gen.frontend.operator_oriented import to_qdq
from fpga_gen.frontend.problems import Refused
from fpga_gen.frontend.view import View, transposed, whole
from fpga_gen.worker import need_memory
from fpga_gen_host.model_input import HostInput, InputPart

MIN_OPSET = 7  # older opsets broadcast by other rules: their models are converted
OLDEST_OPSET = 2  # that onnx can convert
LARGE_WEIGHTS = 1 << 20  # bytes of a constant


@dataclass(frozen=True, eq=False)
class LoadedModel:
    """A checked model without local functions. integers: whether its inputs are integers."""

    path: Path
    model: onnx.ModelProto
    opset: int
    inputs: tuple[InputPart, ...]
    integers: bool

    @property
    def input(self) -> str:
        """Name of the map that holds all inputs."""
        return self.inputs[0].name if len(self.inputs) == 1 else "inputs"

    @property
    def host_input(self) -> HostInput:
        """How the host makes that map."""
        first = self.inputs[0]
        if len(self.inputs) == 1:
            return HostInput(
                first.shape, array_shape=first.array_shape, channels_last=first.channels_last
            )
        channels = sum(part.shape[0] for part in self.inputs)
        return HostInput((channels, *first.shape[1:]), parts=self.inputs)

    def views(self) -> Iterator[tuple[str, View]]:
        """Each input as the model sees it, of the map that begins at address 0."""
        base = 0
        for part in self.inputs:
            channels, *size = part.shape
            if part.channels_last:
                pixels = size if len(part.array_shape) == 4 else size[1:]
                order = [0, *range(2, len(part.array_shape)), 1]
                yield part.name, transposed(whole(base, (1, channels, *pixels)), order)
            else:
                yield part.name, whole(base, part.array_shape)
            base += math.prod(part.shape)


def load_model(path: Path, input_shape: tuple[int, ...] | None) -> LoadedModel:
    """Read and check a file. UnsupportedModel names what is wrong with it.

    input_shape: (C, H, W) or (1, C, H, W), needed where the model leaves sizes open.
    """
    path = Path(path)
    model = _read(path)
    _load_external_data(path, model)
    model = inlined(str(path), model)
    for entry in (*model.opset_import, *model.graph.node):
        if entry.domain == "ai.onnx":  # two spellings of one domain
            entry.domain = ""
    model, opset = _modern(path, model, _opset(path, model))
    _check(path, model)
    model = to_qdq(model)
    inputs = model_inputs(path, model, input_shape)
    kinds = {i.name: i.type.tensor_type.elem_type for i in model.graph.input}
    integers = any(kinds[part.name] not in FLOAT_TYPES for part in inputs)
    return LoadedModel(path, model, opset, inputs, integers)


def _read(path: Path) -> onnx.ModelProto:
    check_model_file(path)
    try:
        need_memory(path.stat().st_size)
        model = onnx.ModelProto.FromString(path.read_bytes())
    except (DecodeError, ValueError):
        raise UnsupportedModel(
            f"{path}: not an ONNX file or truncated; export or copy the model again"
        ) from None
    except OSError as error:
        raise UnsupportedModel(f"{path}: cannot be read: {error.strerror}") from None
    if not (model.ir_version and model.graph.node and model.graph.output):
        raise UnsupportedModel(f"{path}: holds no ONNX graph; export or copy the model again")
    if not _is_text(model):
        raise UnsupportedModel(f"{path}: a name in it is not UTF-8; export the model again")
    return model


def _is_text(message: Message) -> bool:
    """Whether every string of a message is one: protobuf gives the bytes of the others."""
    for field, value in message.ListFields():
        if field.type not in (FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_MESSAGE):
            continue
        parts: Any = (value,) if isinstance(value, str | bytes | Message) else value
        if field.type == FieldDescriptor.TYPE_MESSAGE:
            if not all(map(_is_text, parts)):
                return False
        elif any(isinstance(text, bytes) for text in parts):
            return False
    return True


def _tensors(message: onnx.GraphProto | onnx.FunctionProto) -> Iterator[TensorProto]:
    """Every tensor of a graph, those in attributes and subgraphs included."""
    yield from getattr(message, "initializer", ())
    for sparse in getattr(message, "sparse_initializer", ()):
        yield from (sparse.values, sparse.indices)
    for node in message.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.TENSOR:
                yield attribute.t
            yield from attribute.tensors
            for graph in (attribute.g, *attribute.graphs):
                yield from _tensors(graph)


def _load_external_data(path: Path, model: onnx.ModelProto) -> None:
    """Bring external tensors in; every location is checked before a byte is read."""
    sources = [model.graph, *model.functions]
    external = [t for s in sources for t in _tensors(s) if t.data_location == TensorProto.EXTERNAL]
    files = [_external_file(path, t) for t in external]
    for tensor, file in zip(external, files, strict=True):
        info = {e.key: e.value for e in tensor.external_data}
        try:
            offset = int(info.get("offset", 0))
            item = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
            bits = 4 if item == 1 and "4" in TensorProto.DataType.Name(tensor.data_type) else 8
            size = -(-int(np.prod(tensor.dims, dtype=object)) * item * bits // 8)
            length = int(info.get("length", size))
        except (ValueError, KeyError, TypeError):
            raise UnsupportedModel(
                f"{path}: external data of tensor '{tensor.name}' is malformed; export again"
            ) from None
        available = file.stat().st_size
        if min(offset, size) < 0 or length != size or offset + length > available:
            raise UnsupportedModel(
                f"{path}: external data '{info['location']}' of tensor '{tensor.name}' is too "
                "short or of the wrong size; copy the data file again"
            )
        need_memory(length)
        with file.open("rb") as stream:
            stream.seek(offset)
            tensor.raw_data = stream.read(length)
        tensor.data_location = TensorProto.DEFAULT
        del tensor.external_data[:]


def _external_file(path: Path, tensor: TensorProto) -> Path:
    location = {e.key: e.value for e in tensor.external_data}.get("location", "")
    folder = path.resolve().parent
    where = f"{path}: external data '{location}' of tensor '{tensor.name}'"
    try:
        target = (folder / location).resolve()
        exists = target.is_file()  # OSError: a name that is too long
    except (OSError, ValueError, RuntimeError):
        raise UnsupportedModel(f"{where} is no valid path; export again") from None
    parts = location.replace("\\", "/").split("/")
    if not location or ".." in parts or not target.is_relative_to(folder) or parts[0] == "":
        raise UnsupportedModel(
            f"{where} points outside the model's folder; put the data file beside the model"
        )
    if not exists:
        raise UnsupportedModel(f"{where} is missing; copy the data file beside the model")
    return target


def _opset(path: Path, model: onnx.ModelProto) -> int:
    versions = [o.version for o in model.opset_import if o.domain == ""]
    newest = onnx.defs.onnx_opset_version()
    if not versions:
        raise UnsupportedModel(f"{path}: names no ONNX opset; export or copy the model again")
    if len(set(versions)) > 1:
        raise UnsupportedModel(
            f"{path}: names opset {versions[0]} and opset {versions[1]}, whose operators differ; "
            "export the model again"
        )
    if not OLDEST_OPSET <= versions[0] <= newest:
        raise UnsupportedModel(
            f"{path}: opset {versions[0]} is not supported; export with opset "
            f"{MIN_OPSET} to {newest}"
        )
    return versions[0]


def _modern(path: Path, model: onnx.ModelProto, opset: int) -> tuple[onnx.ModelProto, int]:
    """A model of an opset whose rules are those of today, and the opset."""
    if opset >= MIN_OPSET:
        return model, opset
    try:
        return modernised(model), MODERN_OPSET
    except Exception as error:  # of onnx's C++ code, for operators that it does not convert
        line = str(error).strip().splitlines()[:1] or [type(error).__name__]
        raise UnsupportedModel(
            f"{path}: opset {opset} cannot be converted ({line[0]}); export with opset "
            f"{MIN_OPSET} or later"
        ) from None


def _check(path: Path, model: onnx.ModelProto) -> None:
    """Structure of the file; operators that ONNX does not know are left to the importer, and with
    them what only the whole graph shows."""
    known = {s.name for s in onnx.defs.get_all_schemas() if s.domain == ""}
    foreign = any(n.domain or n.op_type not in known for n in model.graph.node)
    for output in model.graph.output:  # the checker wants a shape, the importer finds its own
        if not output.type.tensor_type.HasField("shape"):
            output.type.tensor_type.shape.SetInParent()
    names = [o.name for o in model.graph.output]
    for name in names:
        if names.count(name) > 1:
            raise UnsupportedModel(f"{path}: output '{name}' is listed twice; list it once")
    context = onnx.checker.C.CheckerContext()
    context.ir_version = model.ir_version
    context.opset_imports = {o.domain: o.version for o in model.opset_import}
    try:
        for node in model.graph.node:
            _check_attributes(node)
            if foreign and not node.domain and node.op_type in known:
                onnx.checker.check_node(node, context)
        if not foreign:
            onnx.checker.check_model(_without_large_weights(model))
    except (onnx.checker.ValidationError, ValueError) as error:
        # Python before 3.11.4 drops a message that is not UTF-8, as one with a damaged name is.
        lines = str(error).strip().splitlines() or ["a name in it is damaged"]
        raise UnsupportedModel(
            f"{path}: not a valid ONNX model: {lines[0]}; export again"
        ) from None


def _without_large_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with inputs in the place of large constants: the checker copies all bytes, and
    `initializer_arrays` looks at the weights themselves."""
    if all(len(t.raw_data) < LARGE_WEIGHTS for t in model.graph.initializer):
        return model
    light = onnx.ModelProto()
    _copy(model, light, "graph")
    _copy(model.graph, light.graph, "initializer")
    declared = {value.name for value in model.graph.input}
    for tensor in model.graph.initializer:
        if len(tensor.raw_data) < LARGE_WEIGHTS:
            light.graph.initializer.add().CopyFrom(tensor)
        elif tensor.name not in declared:
            value = onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
            light.graph.input.append(value)
    return light


def _copy(source: Message, target: Message, without: str) -> None:
    """All fields but one."""
    for field, value in source.ListFields():
        if field.name == without:
            continue
        if isinstance(value, Message):
            getattr(target, field.name).CopyFrom(value)
        elif isinstance(value, int | float | str | bytes):
            setattr(target, field.name, value)
        else:
            getattr(target, field.name).extend(value)


def _check_attributes(node: onnx.NodeProto) -> None:
    """What ONNX's checker lets pass: attributes that refer to a function's, outside of one."""
    for attribute in node.attribute:
        if attribute.ref_attr_name:
            raise ValueError(
                f"attribute '{attribute.name}' of {node.op_type} '{node.name}' refers to that of a "
                "function"
            )


def initializer_arrays(source: LoadedModel) -> tuple[dict[str, np.ndarray], Budget]:
    """Constant tensors of the graph by name, and what is left for those that folding makes."""
    name = ""
    try:
        arrays = {}
        for tensor in source.model.graph.initializer:
            name = tensor.name
            arrays[name] = numpy_helper.to_array(tensor)
        budget = Budget.beside(sum(a.nbytes for a in arrays.values()))
        for sparse in source.model.graph.sparse_initializer:
            name = sparse.values.name
            arrays[name] = dense_array(sparse, budget)
    except Refused as refused:
        raise UnsupportedModel(
            f"{source.path}: tensor '{name}' {refused.reason}; {refused.remedy}"
        ) from None
    except (ValueError, TypeError, KeyError, IndexError, MemoryError):
        raise UnsupportedModel(
            f"{source.path}: the data of tensor '{name}' do not fit its shape and type; export "
            "or copy the model again"
        ) from None
    return arrays, budget
