"""The inputs of an ONNX model: their types and sizes, and which axis of each holds the channels."""

from __future__ import annotations

from pathlib import Path

import onnx
from onnx import TensorProto, numpy_helper

from fpga_gen.errors import UnsupportedModel
from fpga_gen_host.model_input import InputPart

MAX_SIZE = 1 << 16  # of a map's axis: larger ones come from damaged files
FLOAT_TYPES = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.BFLOAT16)
INPUT_TYPES = (*FLOAT_TYPES, TensorProto.UINT8, TensorProto.INT8)
ORDERLESS = frozenset(  # operators that leave the order of the axes open
    """Abs Add Cast Clip DequantizeLinear Div Identity Mul Neg Pad QuantizeLinear Relu Sub Unsqueeze
    Squeeze""".split()
)


def model_inputs(
    path: Path, model: onnx.ModelProto, given: tuple[int, ...] | None
) -> tuple[InputPart, ...]:
    """The model's inputs; several must have one size, as they become channels of one map."""
    constants = {t.name for t in model.graph.initializer}
    found = [i for i in model.graph.input if i.name not in constants]
    if not found:
        raise UnsupportedModel(f"{path}: the model has no input; export it with one")
    if len(found) > 1 and given is not None:
        raise UnsupportedModel(
            f"{path}: --input-shape is for one input, the model has {len(found)}; export it with "
            "fixed sizes"
        )
    parts = tuple(_input(path, model, info, given) for info in found)
    if len({part.shape[1:] for part in parts}) > 1:
        shown = ", ".join(f"'{p.name}' {p.array_shape}" for p in parts)
        raise UnsupportedModel(
            f"{path}: several inputs must have one height and width, it has {shown}; make the "
            "others constants before exporting"
        )
    return parts


def _input(
    path: Path, model: onnx.ModelProto, info: onnx.ValueInfoProto, given: tuple[int, ...] | None
) -> InputPart:
    """One input; an open batch size becomes 1."""
    name, tensor = info.name, info.type.tensor_type
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
    if not last and _is_one_channel(model, name, len(dims)):
        height, width = ([1] + dims[1:])[-2:]
        return InputPart(name, (1, height, width), tuple(dims))
    return InputPart(name, _as_map(dims, last=last), tuple(dims), last)


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
            shape = next(i for i in model.graph.input if i.name == name).type.tensor_type.shape
            return rank > 2 and len(shape.dim) == rank and shape.dim[rank - 1].dim_value == 1
        if node.op_type not in ORDERLESS:
            return False
        followed.update(node.output)
    return False


def _is_one_channel(model: onnx.ModelProto, name: str, rank: int) -> bool:
    """Whether all axes of an input of two or three are pixels: the model gives it a channel, as it
    does with the samples of a sound or its spectrum."""
    if rank == 4:
        return False
    order: list[int | None] = list(range(rank))  # axes of the input; None: of one element
    value = name
    constants = _constants(model)
    for node in model.graph.node:
        if value not in node.input:
            continue
        given = [a for a in node.attribute if a.name in ("axes", "perm")]
        numbers = list(given[0].ints) if given else []
        if not numbers and len(node.input) > 1:
            numbers = constants.get(node.input[1], [])
        match node.op_type:
            case "Unsqueeze":
                size = len(order) + len(numbers)
                for axis in sorted(axis % size for axis in numbers):
                    order.insert(axis, None)
            case "Reshape":
                if len(numbers) != rank + 1 or 1 not in (numbers[1], numbers[-1]):
                    return False
                order.insert(1 if numbers[1] == 1 else rank, None)
            case "Transpose":
                if sorted(numbers) != list(range(len(order))):
                    return False
                order = [order[axis] for axis in numbers]
            case kind if kind not in ORDERLESS or kind == "Squeeze":
                break
        value = node.output[0]
    pixels = [axis for axis in order[2:] if axis is not None]
    return len(order) > rank and order[:2] == [0, None] and pixels == list(range(1, rank))


def _constants(model: onnx.ModelProto) -> dict[str, list[int]]:
    """Short lists of whole numbers by name."""
    tensors: list[tuple[str, onnx.TensorProto]] = [(t.name, t) for t in model.graph.initializer]
    for node in model.graph.node:
        if node.op_type == "Constant":
            tensors += [(node.output[0], a.t) for a in node.attribute if a.name == "value"]
    short = [(n, t) for n, t in tensors if t.data_type == TensorProto.INT64 and sum(t.dims) < 9]
    return {n: _numbers(t) for n, t in short}


def _numbers(tensor: onnx.TensorProto) -> list[int]:
    try:
        return numpy_helper.to_array(tensor).reshape(-1).tolist()
    except ValueError:  # damaged: whoever needs it says so
        return []
