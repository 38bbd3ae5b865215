"""Evaluates the constant nodes that exporters leave behind (shape arithmetic, weight reshapes)."""

from __future__ import annotations

import warnings

import numpy as np
import onnx
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator

from fpga_gen.frontend.problems import Refused

MAX_ELEMENTS = 1 << 27  # a constant larger than any weight tensor: a damaged or hostile model

FOLDABLE = frozenset(
    """Abs Add And Cast CastLike Ceil Clip Concat Constant ConstantOfShape Div Equal Exp Expand
    Flatten Floor Gather GatherElements GatherND Greater GreaterOrEqual Identity Less LessOrEqual
    Log MatMul Max Min Mod Mul Neg Not Or Pow Range Reciprocal ReduceMax ReduceMin ReduceProd
    ReduceSum Reshape Round ScatterND Shape Sign Size Slice Split Sqrt Squeeze Sub Sum Tile
    Transpose Unsqueeze Where""".split()
)


def fold(node: onnx.NodeProto, inputs: list[np.ndarray | None], opset: int) -> list[np.ndarray]:
    """Outputs of a node whose inputs are all constant. Refused if it cannot be evaluated."""
    if node.op_type == "Constant":
        return [_constant(node)]
    if node.op_type not in FOLDABLE:
        raise Refused("works on constants only", "fold constants before exporting (onnxsim)")
    if node.op_type in ("ConstantOfShape", "Expand", "Tile", "Range"):
        _check_size(node.op_type, inputs)
    feeds = {n: v for n, v in zip(node.input, inputs, strict=True) if n}
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            result = ReferenceEvaluator(node, opsets={"": opset}).run(None, feeds)
    except Exception as error:
        line = str(error).strip().splitlines()[:1] or [type(error).__name__]
        raise Refused(
            f"constant cannot be evaluated: {line[0]}", "export the model again"
        ) from None
    return [np.asarray(r) for r in result]


def _constant(node: onnx.NodeProto) -> np.ndarray:
    attribute = node.attribute[0]
    if attribute.name == "value":
        return numpy_helper.to_array(attribute.t)
    if attribute.name == "sparse_value":
        raise Refused("is a sparse constant", "export with dense constants")
    value = onnx.helper.get_attribute_value(attribute)
    kind = {"value_float": np.float32, "value_floats": np.float32}.get(attribute.name)
    if attribute.name.startswith("value_int"):
        kind = np.int64
    return np.array(value, kind)


def _check_size(op: str, inputs: list[np.ndarray | None]) -> None:
    arrays = [np.asarray(a, dtype=object) for a in inputs if a is not None]
    if op == "Range":
        start, stop, step = (a.item() for a in arrays)
        size = abs((stop - start) / step) if step else 0
    elif op == "ConstantOfShape":
        size = np.prod(arrays[0])
    else:
        size = np.prod(arrays[-1]) * arrays[0].size
    if size > MAX_ELEMENTS:
        raise Refused(f"makes a constant of {size} elements", "export the model again")
