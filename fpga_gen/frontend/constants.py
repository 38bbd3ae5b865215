"""Evaluates the constant nodes that exporters leave behind (shape arithmetic, weight reshapes)."""

from __future__ import annotations

import math
import warnings

import numpy as np
import onnx
from onnx import TypeProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from onnx.shape_inference import infer_node_outputs

from fpga_gen.frontend.budget import AGAIN, Budget
from fpga_gen.frontend.problems import Refused

FOLDABLE = frozenset(
    """Abs Add And Cast CastLike Ceil Clip Concat Constant ConstantOfShape Div Equal Exp Expand
    Flatten Floor Gather GatherElements GatherND Greater GreaterOrEqual Identity Less LessOrEqual
    Log MatMul Max Min Mod Mul Neg Not Or Pow Range Reciprocal ReduceMax ReduceMin ReduceProd
    ReduceSum Reshape Round ScatterND Shape Sign Size Slice Split Sqrt Squeeze Sub Sum Tile
    Transpose Unsqueeze Where""".split()
)
ELEMENT_BY_ELEMENT = frozenset(("GatherElements", "GatherND", "ScatterND"))  # loops in Python
SLOW = 500  # what such an element costs, in elements of an array operation
SHAPE_ELEMENTS = 1024  # a longer constant is no shape, axis or index that decides about sizes

IR_VERSION = 8


def fold(
    node: onnx.NodeProto, inputs: list[np.ndarray | None], opset: int, budget: Budget
) -> list[np.ndarray]:
    """Outputs of a node whose inputs are all constant. Refused if it cannot be evaluated, or
    before anything is computed if that takes more than the budget."""
    if node.op_type == "Constant":
        return [_constant(node, budget)]
    if node.op_type not in FOLDABLE:
        raise Refused("works on constants only", "fold constants before exporting (onnxsim)")
    feeds = {n: v for n, v in zip(node.input, inputs, strict=True) if n and v is not None}
    types = _result_types(node, feeds, opset)
    for shape, dtype in types.values():
        budget.make(shape, dtype.itemsize)
    budget.compute(_work(node, feeds, [shape for shape, _ in types.values()]))
    found = _evaluate(node, feeds, opset, list(types))
    results = dict(zip(types, found, strict=True))
    for name, (shape, dtype) in types.items():
        if results[name].shape != shape or results[name].dtype != dtype:
            raise Refused(
                f"constant cannot be evaluated: its result is {results[name].dtype} "
                f"{list(results[name].shape)}, not {dtype} {list(shape)}",
                AGAIN,
            )
    return [results.get(name, np.zeros(0)) for name in node.output]


def _result_types(
    node: onnx.NodeProto, feeds: dict[str, np.ndarray], opset: int
) -> dict[str, tuple[tuple[int, ...], np.dtype]]:
    """Shape and type of every named output, by ONNX's own rules for the model's opset."""
    small = {n: v for n, v in feeds.items() if v.size <= SHAPE_ELEMENTS}
    try:
        schema = onnx.defs.get_schema(node.op_type, opset, "")
        found = infer_node_outputs(
            schema,
            node,
            {n: _type(v) for n, v in feeds.items()},
            {n: numpy_helper.from_array(v, n) for n, v in small.items()},
            opset_imports=[helper.make_opsetid("", opset)],
            ir_version=IR_VERSION,
        )
        types = {}
        for name in filter(None, node.output):
            tensor = found[name].tensor_type
            if not all(d.HasField("dim_value") for d in tensor.shape.dim):
                raise ValueError("the size of its result is open")
            shape = tuple(d.dim_value for d in tensor.shape.dim)
            if not tensor.HasField("shape") or min(shape, default=0) < 0:
                raise ValueError("the size of its result is open")
            types[name] = (shape, helper.tensor_dtype_to_np_dtype(tensor.elem_type))
    except Exception as error:  # ONNX raises its own and the built-in ones for malformed nodes
        raise _cannot(error) from None
    return types


def _type(array: np.ndarray) -> TypeProto:
    code = helper.np_dtype_to_tensor_dtype(array.dtype)
    return helper.make_tensor_type_proto(code, array.shape)


def _work(node: onnx.NodeProto, feeds: dict[str, np.ndarray], shapes: list[tuple[int, ...]]) -> int:
    """Elements that an evaluation reads and writes, and its multiply-accumulates."""
    made = sum(math.prod(shape) for shape in shapes)
    work = made + sum(v.size for v in feeds.values())
    if node.op_type == "MatMul":
        work += made * next(iter(feeds.values())).shape[-1]
    return work * SLOW if node.op_type in ELEMENT_BY_ELEMENT else work


def _evaluate(
    node: onnx.NodeProto, feeds: dict[str, np.ndarray], opset: int, outputs: list[str]
) -> list[np.ndarray]:
    """Values of the named outputs: the node as a model of its own, so that the evaluator takes the
    operator of the model's opset."""
    graph = helper.make_graph(
        [node],
        "constant",
        [helper.make_value_info(n, _type(v)) for n, v in feeds.items()],
        [helper.make_value_info(n, TypeProto()) for n in outputs],
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=IR_VERSION
    )
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            return [np.asarray(r) for r in ReferenceEvaluator(model).run(None, feeds)]
    except Exception as error:  # whatever numpy raises for the values of a damaged model
        raise _cannot(error) from None


def _cannot(error: Exception) -> Refused:
    line = str(error).strip().splitlines()[:1] or [type(error).__name__]
    return Refused(f"constant cannot be evaluated: {line[0]}", AGAIN)


def _constant(node: onnx.NodeProto, budget: Budget) -> np.ndarray:
    if len(node.attribute) != 1:
        raise Refused(f"is a constant with {len(node.attribute)} values", AGAIN)
    attribute = node.attribute[0]
    try:
        if attribute.name == "sparse_value":
            return dense_array(attribute.sparse_tensor, budget)
        if attribute.name == "value":
            return numpy_helper.to_array(attribute.t)
        value = helper.get_attribute_value(attribute)
        kind = {"value_float": np.float32, "value_floats": np.float32}.get(attribute.name)
        if attribute.name.startswith("value_int"):
            kind = np.int64
        return np.array(value, kind)
    except (ValueError, TypeError, KeyError, IndexError) as error:
        raise _cannot(error) from None


def dense_array(sparse: onnx.SparseTensorProto, budget: Budget) -> np.ndarray:
    """A sparse constant with its zeros; Refused if it is malformed or takes too much."""
    values, indices = (numpy_helper.to_array(t) for t in (sparse.values, sparse.indices))
    shape = tuple(sparse.dims)
    if min(shape, default=1) < 0:
        raise ValueError(f"has the shape {list(shape)}")
    budget.make(shape, values.dtype.itemsize)
    flat = np.zeros(math.prod(shape), values.dtype)
    if indices.ndim == 2:
        indices = np.ravel_multi_index(tuple(indices.T), shape)
    flat[indices] = values
    return flat.reshape(shape)
