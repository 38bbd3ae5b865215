"""QuantizeLinear and DequantizeLinear of models that were quantised elsewhere (QDQ format).

A pair on a feature map becomes what it does to real numbers: saturation at the ends of the
integer range. The rounding, its scale and zero point, is kept as a `TensorHint` of the map for
the quantiser. A dequantised constant becomes float again and its step a `Grid`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx

from fpga_gen.frontend.call import Call
from fpga_gen.frontend.gather import without_pads
from fpga_gen.frontend.problems import Refused
from fpga_gen.frontend.values import Builder, Feature, Grid, HostValue, Quantised, Value
from fpga_gen.frontend.view import View, padded
from fpga_gen.graph.ir import Activation, TensorHint
from fpga_gen.graph.passes.canonical import is_copy

OPERATORS = ("QuantizeLinear", "DequantizeLinear")
DOMAINS = (  # onnxruntime has its own copies for older opsets, AMD's quantisers theirs
    "", "com.microsoft", "com.amd.quark", "com.vai.quantize",
)  # fmt: skip
SPELLINGS = {
    f"{prefix}{kind}": kind for prefix in ("Extended", "Vitis", "VitisExtended")
    for kind in OPERATORS
}  # fmt: skip
# Operators that may stand between QuantizeLinear and DequantizeLinear.
BOUNDED = frozenset(("Clip", "Max", "Min"))
LEVELS = BOUNDED | frozenset(
    """Concat Dropout Flatten Gather GlobalMaxPool Identity MaxPool Relu Reshape Slice Split Squeeze
    Transpose Unsqueeze""".split()
)
MAP_TYPES = tuple(np.dtype(t) for t in (np.int8, np.uint8, np.int16, np.uint16))
CONSTANT_TYPES = (*MAP_TYPES, np.dtype(np.int32))
FLOAT_TYPES = tuple(np.dtype(t) for t in (np.float32, np.float16, np.float64))
PER_TENSOR = "quantise feature maps per tensor, with one scale"
AGAIN = "quantise the model again with constant scales"


def is_qdq(node: onnx.NodeProto) -> bool:
    """Whether a node is a QuantizeLinear or a DequantizeLinear."""
    kind = SPELLINGS.get(node.op_type, node.op_type) if node.domain else node.op_type
    return kind in OPERATORS and node.domain in DOMAINS


def convert(call: Call) -> list[Value]:
    """Value of either operator; Refused names what is malformed."""
    if not call.has(0):
        raise Refused("has no input", "export the model again")
    if call.integer("block_size", 0):
        raise Refused("has one scale per block", "quantise per tensor or per channel")
    source = call.values[0]
    if call.op.endswith("QuantizeLinear") and not call.op.endswith("DequantizeLinear"):
        if isinstance(source, np.ndarray):
            return [_round_constant(call, source)]
        return [_quantise(call)]
    if isinstance(source, np.ndarray):
        return [_dequantise_constant(call, _as_bytes(source))]
    return [_dequantise(call, source)]


def _scale(call: Call) -> np.ndarray:
    """Positive scale () or (n,), float64 holding the model's float."""
    if not call.has(1):
        raise Refused("has no scale", AGAIN)
    scale = call.const(1, f"scale '{call.node.input[1]}'")
    _need_type(scale.dtype, FLOAT_TYPES)
    scale = scale.astype(np.float64)
    if scale.ndim > 1 or not (np.isfinite(scale).all() and (scale > 0).all()) or not scale.size:
        raise Refused(f"its scale '{call.node.input[1]}' is not positive and finite", AGAIN)
    return scale.reshape(()) if scale.size == 1 else scale


def _zero(call: Call, scale: np.ndarray, default: np.dtype) -> tuple[np.ndarray, np.dtype]:
    """Zero point, int64 in the scale's shape, and the integer type it stands for."""
    if not call.has(2):
        return np.zeros(scale.shape, np.int64), default
    zero = _as_bytes(call.const(2, f"zero point '{call.node.input[2]}'"))
    _need_type(zero.dtype, CONSTANT_TYPES)
    if zero.size != scale.size:
        raise Refused(
            f"its zero point has {zero.size} values, its scale {scale.size}",
            "give each scale one zero point",
        )
    return zero.astype(np.int64).reshape(scale.shape), zero.dtype


def _target(call: Call) -> np.dtype:
    """Type of a QuantizeLinear without zero point (ONNX: output_dtype, else uint8)."""
    code = call.integer("output_dtype", 0)
    if not code:
        return np.dtype(np.uint8)
    known: dict[int, np.dtype] = {
        onnx.helper.np_dtype_to_tensor_dtype(t): t for t in CONSTANT_TYPES
    }
    if code not in known:
        raise Refused(f"has the output_dtype {code}", "quantise to int8 or uint8")
    return known[code]


def _as_bytes(array: np.ndarray) -> np.ndarray:
    """Integers of fewer than eight bits in a byte each."""
    known = {"int4": np.int8, "uint4": np.uint8, "int2": np.int8, "uint2": np.uint8}
    return array.astype(known[array.dtype.name]) if array.dtype.name in known else array


def _need_type(dtype: np.dtype, allowed: tuple[np.dtype, ...]) -> None:
    if dtype not in allowed:
        names = ", ".join(d.name for d in allowed)
        raise Refused(f"has the type {dtype.name}", f"use one of {names}")


def _along(call: Call, array: np.ndarray, scale: np.ndarray) -> tuple[int, tuple[int, ...]]:
    """(axis of the scale, shape in which scale and zero point broadcast against a constant)."""
    if not scale.ndim:
        return 0, ()
    axis = call.integer("axis", 1)
    rank = array.ndim
    axis = axis + rank if axis < 0 else axis
    if not 0 <= axis < rank or array.shape[axis] != scale.size:
        raise Refused(
            f"has {scale.size} scales along axis {axis} of a constant of shape {list(array.shape)}",
            "give one scale per output channel along the right axis",
        )
    return axis, tuple(-1 if i == axis else 1 for i in range(rank))


def _round_constant(call: Call, array: np.ndarray) -> np.ndarray:
    """Integers of a constant (models that keep float weights before the pair)."""
    _need_type(array.dtype, FLOAT_TYPES)
    scale = _scale(call)
    zero, dtype = _zero(call, scale, _target(call))
    _, shape = _along(call, array, scale)
    steps = np.rint(array.astype(np.float64) / scale.reshape(shape)) + zero.reshape(shape)
    if not np.isfinite(steps).all():
        raise Refused("quantises NaN or infinite values", "repair the weights")
    info = np.iinfo(dtype)
    call.builder.budget.make(array.shape, dtype.itemsize)
    return np.clip(steps, info.min, info.max).astype(dtype)


def _dequantise_constant(call: Call, array: np.ndarray) -> np.ndarray:
    """Real values of an integer constant; 8-bit ones leave their steps as a grid."""
    scale = _scale(call)
    zero, dtype = _zero(call, scale, array.dtype)
    _need_type(array.dtype, CONSTANT_TYPES)
    if dtype != array.dtype:
        raise Refused(
            f"its zero point is {dtype.name}, its input {array.dtype.name}", "use one type for both"
        )
    if dtype == np.int32 and zero.any():
        raise Refused("has an int32 input with a zero point", "quantise biases symmetrically")
    axis, shape = _along(call, array, scale)
    if dtype.itemsize == 1:
        call.builder.imported.grids[call.output] = Grid(scale, axis)
    call.builder.budget.make(array.shape, 4)
    levels = (array.astype(np.int64) - zero.reshape(shape)).astype(np.float32)
    return levels * scale.reshape(shape).astype(np.float32)


def _hint(call: Call, default: np.dtype) -> TensorHint:
    scale = _scale(call)
    if scale.ndim:
        raise Refused("has one scale per channel of a feature map", PER_TENSOR)
    zero, dtype = _zero(call, scale, default)
    _need_type(dtype, MAP_TYPES)
    return TensorHint(float(scale), int(zero), dtype.kind == "i", 8 * dtype.itemsize)


def _quantise(call: Call) -> Quantised:
    """The map, saturated, with its hint; a value on the host stays float."""
    hint = _hint(call, _target(call))
    value = call.values[0]
    imported = call.builder.imported
    if isinstance(value, HostValue):
        imported.notes.append((call.node.input[0], "computed on the host in float"))
        return Quantised(value, hint)
    if isinstance(value, Quantised):
        raise Refused("reads a quantised map", "put DequantizeLinear before it")
    if isinstance(value, View) and value.padded and len(value.shape) == 4:
        inner, pads = without_pads(value)  # a zero stays one
        found = _quantise(call.with_values((call.builder.settled(inner), *call.values[1:])))
        assert isinstance(found.value, Feature)
        again = padded(call.builder.view(found.value), (0, 0, *pads[:2]), (0, 0, *pads[2:]))
        return Quantised(again, hint)
    x = call.feature()
    tensor = _saturated(call, x.tensor, hint)
    if imported.hints.setdefault(tensor, hint) != hint:
        imported.notes.append(
            (call.node.input[0], "quantised a second time with another scale: the first is kept")
        )
    source = _copied(call.builder, tensor)
    while source is not None:
        if imported.hints.get(source) == hint:  # clipping levels gives levels
            imported.same[source] = tensor
        source = _copied(call.builder, source)
    return Quantised(Feature(tensor, x.shape), hint)


def _copied(builder: Builder, tensor: str) -> str | None:
    """The map of which `tensor` is a (clipped) copy."""
    node = builder.producers.get(tensor)
    return node.input if node is not None and is_copy(node) else None


def _dequantise(call: Call, source: Value | None) -> Feature | View | HostValue:
    if isinstance(source, Feature | View) and call.builder.integer_input:
        return _integers(call)
    if not isinstance(source, Quantised):
        raise Refused("reads a map that is not quantised", "put QuantizeLinear before it")
    if source.hint is None:
        return source.value
    dtype = np.dtype(f"{'int' if source.hint.signed else 'uint'}{source.hint.bits}")
    if _hint(call, dtype) != source.hint:
        raise Refused(
            "has another scale, zero point or type than the QuantizeLinear before it",
            "use the same in both",
        )
    return source.value


def _integers(call: Call) -> Feature:
    """Real values of integers that the model itself gets."""
    hint = _hint(call, np.dtype(np.uint8))
    x, builder = call.feature(), call.builder
    scale, offset = np.full(1, hint.scale), np.full(1, -hint.zero_point * hint.scale)
    return Feature(builder.affine(x.tensor, call.output, scale, offset, call.name), x.shape)


def _saturated(call: Call, tensor: str, hint: TensorHint) -> str:
    """The tensor, which cannot leave the hint's range, or its clipped copy."""
    least = -(2 ** (hint.bits - 1)) if hint.signed else 0
    lo = (least - hint.zero_point) * hint.scale
    hi = (least + 2**hint.bits - 1 - hint.zero_point) * hint.scale
    return saturated(call, tensor, lo, hi, hint.scale / 2)


def saturated(call: Call, tensor: str, lo: float, hi: float, slack: float) -> str:
    """The tensor itself if it cannot leave lo..hi by more than `slack` (what rounding to the levels
    does not move), else a clipped copy, which the optimiser fuses into the layer before it."""
    builder = call.builder
    have = builder.value_range(tensor)
    if have is None or (have.lo >= lo - slack and have.hi <= hi + slack):
        return tensor
    key = (tensor, lo, hi)
    if key not in builder.imported.clipped:
        name = f"{tensor}.saturated"
        builder.imported.clipped[key] = builder.copy(
            tensor, name, call.name, activation=Activation(lo, hi)
        )
    return builder.imported.clipped[key]


def on_levels(call: Call, operator: Callable[[Call], list[Value]]) -> list[Value]:
    """An operator on quantised maps that moves or compares levels: its result has the same ones."""
    hints = [v.hint for v in call.values if isinstance(v, Quantised)]
    if any(hint != hints[0] for hint in hints):
        raise Refused("joins maps of different scales", "put DequantizeLinear before it")
    hint, values = hints[0], list(call.values)
    for i, value in enumerate(values):
        if isinstance(value, Quantised):
            values[i] = value.value
        elif isinstance(value, np.ndarray) and call.op in BOUNDED and i > 0 and hint is not None:
            real = (value.astype(np.float64) - hint.zero_point) * hint.scale
            values[i] = np.asarray(real, np.float32)
    if call.op == "Relu" and hint is not None and hint.zero_point:
        raise Refused("clips levels at zero", "put DequantizeLinear before it")
    return [Quantised(r, hint) if isinstance(r, Feature | View | HostValue) else r
            for r in operator(call.with_values(tuple(values)))]  # fmt: skip
