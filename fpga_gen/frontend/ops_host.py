"""Operators of the tail on the host: those that the engine has not, and all that follow them."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import reduce

import numpy as np
import onnx
from onnx import TensorProto

from fpga_gen.frontend import ops_parts, ops_resize, ops_shape
from fpga_gen.frontend.call import Call
from fpga_gen.frontend.host_tail import TailBuilder, tail_of
from fpga_gen.frontend.inputs import FLOAT_TYPES
from fpga_gen.frontend.problems import Refused
from fpga_gen.frontend.values import HostValue, Value

AGAIN = "export the model again"
LARGEST = float(np.finfo(np.float32).max)  # a Clip without bounds makes infinities finite
MAX_WEIGHTS = 1 << 8  # of a convolution or matrix that the host may compute

UNARY = {
    "Abs": "abs", "Ceil": "ceil", "Exp": "exp", "Floor": "floor", "Log": "log", "Neg": "neg",
    "Not": "not", "Reciprocal": "reciprocal", "Round": "round", "Sigmoid": "sigmoid",
    "Sign": "sign", "Softplus": "softplus", "Softsign": "softsign", "Sqrt": "sqrt", "Tanh": "tanh",
}  # fmt: skip
BINARY = {
    "Add": "add", "And": "and", "Div": "div", "Equal": "equal", "Greater": "greater",
    "GreaterOrEqual": "greater_equal", "Less": "less", "LessOrEqual": "less_equal", "Max": "max",
    "Min": "min", "Mul": "mul", "Or": "or", "Pow": "pow", "Sub": "sub", "Sum": "add",
}  # fmt: skip
REDUCTIONS = {
    "ReduceL1": "l1", "ReduceL2": "l2", "ReduceLogSum": "log_sum",
    "ReduceLogSumExp": "log_sum_exp", "ReduceMax": "max",
    "ReduceMean": "mean", "ReduceMin": "min", "ReduceProd": "prod", "ReduceSum": "sum",
    "ReduceSumSquare": "sum_square",
}  # fmt: skip
# Whose result of one element is that element.
KEPT = ("ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum")


def _values(call: Call) -> tuple[TailBuilder, list[HostValue]]:
    """Where the node's operators go, and its inputs as values of the host."""
    tail = tail_of(call)
    return tail, [tail.of(v) for v in call.values if v is not None]


def _axis(call: Call, default: int, rank: int) -> int:
    return call.axes([call.integer("axis", default)], rank)[0]


def _unary(call: Call) -> list[Value]:
    tail, (x,) = _values(call)
    return [tail.run(UNARY[call.op], x)]


def _binary(call: Call) -> list[Value]:
    exponent = call.values[-1] if call.op == "Pow" else None
    if isinstance(exponent, np.ndarray) and not np.isfinite(exponent).all():
        # 0, 1 or infinity by the last bit of what is raised
        raise Refused("has an exponent that is not finite", "repair the model")
    tail, values = _values(call)
    return [reduce(lambda a, b: tail.run(BINARY[call.op], a, b), values)]


def _clip(call: Call) -> list[Value]:
    tail = tail_of(call)
    x = tail.of(call.values[0])
    if call.op == "Relu":
        return [tail.run("clip", x, lo=0.0, hi=None)]
    if call.opset < 11:
        ends = [call.number("min", -LARGEST), call.number("max", LARGEST)]
    else:
        ends = [
            call.scalar(i, "bound") if call.has(i) else default
            for i, default in ((1, -LARGEST), (2, LARGEST))
        ]
    if not ends[0] < math.inf or not ends[1] > -math.inf:  # nor NaN
        raise Refused(f"has the bounds {ends[0]}, {ends[1]}", "repair the model")
    lo, hi = (e if math.isfinite(e) else None for e in ends)
    return [tail.run("clip", x, lo=lo, hi=hi)]


def _leaky(call: Call) -> list[Value]:
    tail, (x,) = _values(call)
    return [tail.run("leaky", x, slope=call.number("alpha", 0.01))]


def _hard_sigmoid(call: Call) -> list[Value]:
    tail, (x,) = _values(call)
    alpha, beta = call.number("alpha", 0.2), call.number("beta", 0.5)
    return [tail.run("hard_sigmoid", x, alpha=alpha, beta=beta)]


def _hard_swish(call: Call) -> list[Value]:
    tail, (x,) = _values(call)
    return [tail.run("mul", x, tail.run("hard_sigmoid", x, alpha=1 / 6, beta=0.5))]


def _softmax(call: Call) -> list[Value]:
    tail, (x,) = _values(call)
    log = call.op == "LogSoftmax"
    if call.opset >= 13:
        return [tail.run("softmax", x, axis=_axis(call, -1, len(x.shape)), log=log)]
    axis = _axis(call, 1, len(x.shape))
    if math.prod(x.shape[axis + 1 :]) == 1:
        return [tail.run("softmax", x, axis=axis, log=log)]
    # Before opset 13 all axes from `axis` on are one.
    flat = tail.run("reshape", x, shape=[math.prod(x.shape[:axis]), math.prod(x.shape[axis:])])
    flat = tail.run("softmax", flat, axis=1, log=log)
    return [tail.run("reshape", flat, shape=list(x.shape))]


def _argmax(call: Call) -> list[Value]:
    tail, (x,) = _values(call)
    how = {"keepdims": call.flag("keepdims", True), "last": call.flag("select_last_index", False)}
    return [tail.run(call.op.lower(), x, axis=_axis(call, 0, len(x.shape)), **how)]


def _reduction(call: Call) -> list[Value]:
    tail = tail_of(call)
    x = tail.of(call.values[0])
    axes = call.ints(1, "axes")
    if not axes:
        if call.flag("noop_with_empty_axes", False):
            if call.op not in KEPT:
                raise Refused(
                    f"has no axes and noop_with_empty_axes, where {call.op} of one element is not "
                    "the same to ONNX and onnxruntime",
                    AGAIN,
                )
            return [x]
        axes = list(range(len(x.shape)))
    axes, keep = call.axes(axes, len(x.shape)), call.flag("keepdims", True)
    return [tail.run("reduce", x, function=REDUCTIONS[call.op], axes=axes, keepdims=keep)]


def _top_k(call: Call) -> list[Value]:
    tail = tail_of(call)
    x = tail.of(call.values[0])
    count = call.integer("k", 0) if call.opset < 10 else call.whole_number(1, "k")
    axis, largest = _axis(call, -1, len(x.shape)), call.flag("largest", True)
    both = (False, True)
    return [tail.run("top_k", x, axis=axis, k=count, largest=largest, indices=i) for i in both]


def _suppression(call: Call) -> list[Value]:
    tail = tail_of(call)
    boxes, scores = tail.of(call.values[0]), tail.of(call.values[1])

    def number(index: int) -> float | None:
        return call.scalar(index, "limit") if call.has(index) else None

    most = call.whole_number(2, "limit") if call.has(2) else 0
    overlap = number(3) or 0.0
    centred = call.flag("center_point_box", False)
    value = tail.run(
        "suppress", boxes, scores, most=min(most, 1 << 30), overlap=overlap, least=number(4),
        centred=centred,
    )  # fmt: skip
    return [HostValue(value.name, (0, 3), value.dtype, value.origin)]


def _elements(kind: str) -> Callable[[Call], list[Value]]:
    def convert(call: Call) -> list[Value]:
        tail, values = _values(call)
        rank = len(values[0].shape)
        if kind == "gather_nd":
            if call.integer("batch_dims", 0):
                raise Refused("has batch axes", AGAIN)
            return [tail.run(kind, *values)]
        axis, index = _axis(call, 0, rank), call.values[1]
        if isinstance(index, np.ndarray) and index.size:
            reach = max(int(index.max()) + 1, -int(index.min()))
            if reach > values[0].shape[axis] > 0:
                raise Refused(f"gathers beyond {values[0].shape[axis]} elements", AGAIN)
        return [tail.run(kind, *values, axis=axis)]

    return convert


def _mean(call: Call) -> list[Value]:
    """The mean of several values."""
    tail, values = _values(call)
    total = reduce(lambda a, b: tail.run("add", a, b), values)
    return [tail.run("div", total, tail.of(np.array(len(values), np.float32)))]


def _cast_like(call: Call) -> list[Value]:
    target = call.values[1]
    dtype = target.dtype.name if isinstance(target, np.ndarray) else "float32"
    if dtype not in ("float32", "float64", "float16"):
        raise Refused(f"casts to {dtype}", "take the values as they are and cast on the host")
    return [tail_of(call).of(call.values[0])]


def _concat(call: Call) -> list[Value]:
    tail, values = _values(call)
    axis = _axis(call, 1, len(values[0].shape))
    return [tail.run("concat", *values, axis=axis)]


def _expand(call: Call) -> list[Value]:
    tail = tail_of(call)
    x = tail.of(call.values[0])
    shape = call.whole_numbers(1, "shape")
    return [tail.run("expand", x, shape=shape)]


def _tile(call: Call) -> list[Value]:
    tail = tail_of(call)
    x = tail.of(call.values[0])
    return [tail.run("tile", x, repeats=call.whole_numbers(1, "repeats"))]


def _where(call: Call) -> list[Value]:
    tail, values = _values(call)
    return [tail.run("where", *values)]


def _cast(call: Call) -> list[Value]:
    tail, (x,) = _values(call)
    target = call.integer("to", TensorProto.UNDEFINED)
    whole = (TensorProto.INT32, TensorProto.INT64)
    if target not in (*FLOAT_TYPES, *whole, TensorProto.BOOL):
        names = {number: kind for kind, number in TensorProto.DataType.items()}
        raise Refused(
            f"casts to {names.get(target, target)}",
            "take the values as they are and cast on the host",
        )
    dtype = "float32" if target in FLOAT_TYPES else "int64" if target in whole else "bool"
    return [x if x.dtype == dtype else tail.run("cast", x, dtype=dtype)]


def _matrix(call: Call) -> list[Value]:
    """MatMul and Gemm with a small constant matrix, or of two values."""
    tail, values = _values(call)
    if call.op == "MatMul":
        return [tail.run("matmul", *values)]
    x, weight = values[:2]
    if call.integer("transA", 0):
        x = tail.run("transpose", x, order=[1, 0])
    if call.integer("transB", 0):
        weight = tail.run("transpose", weight, order=[1, 0])
    result = tail.run("matmul", x, weight)
    for name, index in (("alpha", None), ("beta", 2)):
        factor = call.number(name, 1.0)
        if index is None:
            if factor != 1:
                result = tail.run("mul", result, tail.of(np.array(factor, np.float32)))
        elif call.has(index):
            addend = np.float32(factor) * call.weight(index, "bias")
            result = tail.run("add", result, tail.of(addend))
    return [result]


def _pointwise(call: Call) -> list[Value]:
    """A small 1x1 convolution."""
    tail = tail_of(call)
    x, weight = tail.of(call.values[0]), call.weight(1, "weight")
    if call.integer("group", 1) != 1 or set(weight.shape[2:]) - {1}:
        raise Refused("is too large for the host", "leave it inside the network")
    if any(v != 1 for v in call.integers("strides") or []) or any(call.integers("pads") or []):
        raise Refused("is too large for the host", "leave it inside the network")
    result = tail.run("pointwise", x, tail.of(weight.reshape(weight.shape[:2])))
    if call.has(2):
        bias = call.weight(2, "bias").reshape(1, -1, *[1] * (len(x.shape) - 2))
        result = tail.run("add", result, tail.of(bias))
    return [result]


def _host_first(operator: Callable[[Call], list[Value]]) -> Callable[[Call], list[Value]]:
    """An operator of ops_shape, on its first input as a value of the host."""

    def convert(call: Call) -> list[Value]:
        first = tail_of(call).of(call.values[0])
        return operator(call.with_values((first, *call.values[1:])))

    return convert


HOST: dict[str, Callable[[Call], list[Value]]] = {
    **dict.fromkeys(UNARY, _unary),
    **dict.fromkeys(BINARY, _binary),
    **dict.fromkeys(REDUCTIONS, _reduction),
    "ArgMax": _argmax,
    "ArgMin": _argmax,
    "Cast": _cast,
    "CastLike": _cast_like,
    "Clip": _clip,
    "Concat": _concat,
    "Conv": _pointwise,
    "DepthToSpace": _host_first(ops_shape.depth_to_space),
    "Dropout": _host_first(ops_shape.dropout),
    "Expand": _expand,
    "Flatten": _host_first(ops_shape.flatten),
    "Gather": _host_first(ops_parts.gather),
    "GatherElements": _elements("gather_elements"),
    "GatherND": _elements("gather_nd"),
    "Gemm": _matrix,
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": _hard_swish,
    "Identity": _host_first(ops_shape.identity),
    "LeakyRelu": _leaky,
    "LogSoftmax": _softmax,
    "MatMul": _matrix,
    "Mean": _mean,
    "NonMaxSuppression": _suppression,
    "Pad": _host_first(ops_shape.pad),
    "Relu": _clip,
    "Reshape": _host_first(ops_shape.reshape),
    "Resize": _host_first(ops_resize.resize),
    "Shape": ops_shape.shape_of,
    "Size": ops_shape.size_of,
    "Slice": _host_first(ops_parts.slice_),
    "Softmax": _softmax,
    "SpaceToDepth": _host_first(ops_shape.space_to_depth),
    "Split": _host_first(ops_parts.split),
    "Squeeze": _host_first(ops_shape.squeeze),
    "Tile": _tile,
    "TopK": _top_k,
    "Transpose": _host_first(ops_shape.transpose),
    "Unsqueeze": _host_first(ops_shape.unsqueeze),
    "Upsample": _host_first(ops_resize.upsample),
    "Where": _where,
}

WEIGHED = ("Conv", "Gemm", "MatMul")
# At the end of the network, with no convolution behind them, the host does these, even where the
# engine could.
PREFERRED = frozenset(
    """ArgMax ArgMin Exp LogSoftmax NonMaxSuppression Reciprocal Sigmoid Softmax Softplus Sqrt Tanh
    TopK""".split()
)


def can_run(node: onnx.NodeProto, weights: dict[str, tuple[int, ...]]) -> bool:
    """Whether the host has the operator; weights: shapes of the constants by name."""
    if node.op_type not in HOST or node.domain not in ("", "ai.onnx"):
        return False
    if node.op_type in WEIGHED:
        shapes = [weights[name] for name in node.input[:2] if name in weights]
        small = all(math.prod(shape) <= MAX_WEIGHTS for shape in shapes)
        return small and all(set(shape[2:]) <= {1} for shape in shapes)
    return True
