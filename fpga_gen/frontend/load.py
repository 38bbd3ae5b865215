"""Reads an ONNX file: format, external data, opset, functions, the one input and its shape."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import TensorProto, numpy_helper

from fpga_gen.errors import UnsupportedModel
from fpga_gen.frontend.budget import Budget
from fpga_gen.frontend.constants import dense_array
from fpga_gen.frontend.functions import inlined
from fpga_gen.frontend.model_file import check_model_file
from fpga_gen.frontend.operator_oriented import to_qdq
from fpga_gen.frontend.problems import Refused
from fpga_gen.frontend.view import View, transposed, whole
from fpga_gen.worker import need_memory
from fpga_gen_host.model_input import HostInput

MIN_OPSET = 7  # older opsets broadcast by other rules
MAX_SIZE = 1 << 16  # of a map's axis: larger ones come from damaged files
FLOAT_TYPES = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.BFLOAT16)
INPUT_TYPES = (*FLOAT_TYPES, TensorProto.UINT8, TensorProto.INT8)
ORDERLESS = frozenset(  # operators that leave the order of the axes open
    """Add Cast Clip DequantizeLinear Div Identity Mul Pad QuantizeLinear Relu Sub Unsqueeze
    Squeeze""".split()
)


@dataclass(frozen=True, eq=False)
class LoadedModel:
    """A checked model without local functions; shape is the input's own, batch included."""

    path: Path
    model: onnx.ModelProto
    opset: int
    input: str
    shape: tuple[int, ...]
    host_input: HostInput
    integer_input: bool = False

    @property
    def input_view(self) -> View:
        """The input as the model sees it, of the map that begins at address 0."""
        channels, *size = self.host_input.model_shape
        if not self.host_input.channels_last:
            return whole(0, self.shape)
        order = [0, *range(2, len(self.shape)), 1]
        pixels = size if len(self.shape) == 4 else size[1:]
        return transposed(whole(0, (1, channels, *pixels)), order)


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
    opset = _opset(path, model)
    _check(path, model)
    model = to_qdq(model)
    name, shape, host_input = _input(path, model, input_shape)
    kinds = {i.name: i.type.tensor_type.elem_type for i in model.graph.input}
    integers = kinds[name] not in FLOAT_TYPES
    return LoadedModel(path, model, opset, name, shape, host_input, integers)


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
    return model


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
    if not MIN_OPSET <= versions[0] <= newest:
        raise UnsupportedModel(
            f"{path}: opset {versions[0]} is not supported; export with opset "
            f"{MIN_OPSET} to {newest}"
        )
    return versions[0]


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
            onnx.checker.check_model(model)
    except (onnx.checker.ValidationError, ValueError) as error:
        # Python before 3.11.4 drops a message that is not UTF-8, as one with a damaged name is.
        lines = str(error).strip().splitlines() or ["a name in it is damaged"]
        raise UnsupportedModel(
            f"{path}: not a valid ONNX model: {lines[0]}; export again"
        ) from None


def _check_attributes(node: onnx.NodeProto) -> None:
    """What ONNX's checker lets pass: attributes that refer to a function's, outside of one."""
    for attribute in node.attribute:
        if attribute.ref_attr_name:
            raise ValueError(
                f"attribute '{attribute.name}' of {node.op_type} '{node.name}' refers to that of a "
                "function"
            )


def _input(
    path: Path, model: onnx.ModelProto, given: tuple[int, ...] | None
) -> tuple[str, tuple[int, ...], HostInput]:
    """Name, shape and preparation of the only input; an open batch size becomes 1."""
    constants = {t.name for t in model.graph.initializer}
    inputs = [i for i in model.graph.input if i.name not in constants]
    if len(inputs) != 1:
        names = ", ".join(f"'{i.name}'" for i in inputs) or "none"
        raise UnsupportedModel(
            f"{path}: the model must have exactly one input, it has {names}; make the others "
            "constants before exporting"
        )
    name, tensor = inputs[0].name, inputs[0].type.tensor_type
    if tensor.elem_type not in INPUT_TYPES:
        names = {number: kind for kind, number in TensorProto.DataType.items()}
        kind = names.get(tensor.elem_type, tensor.elem_type)
        raise UnsupportedModel(
            f"{path}: input '{name}' has type {kind}; export the model with a float32 input"
        )
    if not tensor.HasField("shape"):
        dims: list[int] = [0] * 4
    else:
        dims = [d.dim_value if d.HasField("dim_value") else 0 for d in tensor.shape.dim]
    if len(dims) not in (2, 3, 4):
        raise UnsupportedModel(
            f"{path}: input '{name}' has {len(dims)} dimensions; an image input of "
            "(1, channels, height, width) is needed, or (1, channels, length), or (1, values)"
        )
    last = _channels_last(model, name, len(dims))
    dims[0] = max(dims[0], 0) or 1
    if given is not None:
        dims = _given_shape(path, name, dims, given, last=last)
    if dims[0] != 1:
        raise UnsupportedModel(
            f"{path}: input '{name}' has batch size {dims[0]}; export the model with batch size 1"
        )
    if max(dims) > MAX_SIZE:
        raise UnsupportedModel(
            f"{path}: input '{name}' of shape {tuple(dims)} is too large; the limit is {MAX_SIZE} "
            "per axis"
        )
    if min(dims) < 1:
        raise UnsupportedModel(
            f"{path}: input '{name}' leaves its size open; give --input-shape C,H,W"
        )
    return name, tuple(dims), HostInput(_as_map(dims, last=last), array_shape=tuple(dims),
                                        channels_last=last)  # fmt: skip


def _as_map(dims: list[int], *, last: bool) -> tuple[int, int, int]:
    """(channels, height, width) of an input."""
    channels, *pixels = [dims[-1], *dims[1:-1]] if last else dims[1:]
    height, width = ([1, 1] + pixels)[-2:]
    return channels, height, width


def _given_shape(
    path: Path, name: str, dims: list[int], given: tuple[int, ...], *, last: bool
) -> list[int]:
    """The shape that the user gives, in the model's order or as C,H,W."""
    whole = list(given) if len(given) == len(dims) else [1, *given]
    orders = [whole, [whole[0], *whole[2:], whole[1]]] if last and len(whole) > 2 else [whole]
    for want in orders:
        fits = len(want) == len(dims) and min(want) >= 1
        if fits and all(d <= 0 or d == w for d, w in zip(dims, want, strict=True)):
            return want
    shown = tuple(d if d > 0 else "?" for d in dims)
    raise UnsupportedModel(
        f"{path}: --input-shape {tuple(given)} does not fit input '{name}' of shape {shown}"
    )


def _channels_last(model: onnx.ModelProto, name: str, rank: int) -> bool:
    """Whether the first thing that depends on the order of the input's axes brings its last one to
    the front, as exporters of channels-last frameworks write it."""
    followed = {name}
    for node in model.graph.node:
        if not followed.intersection(node.input):
            continue
        if node.op_type == "Transpose":
            order = next((list(a.ints) for a in node.attribute if a.name == "perm"), [])
            return rank > 2 and order == [0, rank - 1, *range(1, rank - 1)]
        if node.op_type == "Reshape":  # a transposition where there is but one channel
            shape = model.graph.input[0].type.tensor_type.shape
            return rank == 4 and len(shape.dim) == 4 and shape.dim[3].dim_value == 1
        if node.op_type not in ORDERLESS:
            return False
        followed.update(node.output)
    return False


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
