"""What each kind of host operator computes: attributes and arrays -> array, in numpy.

Axes count the batch axis. Arrays of real numbers are float32, indices int64, decisions bool.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np

from fpga_gen_host.host_detect import suppress, top_k
from fpga_gen_host.resample import exact_scale, resize_rows

Kind = Callable[..., np.ndarray]
SINGLE_THREAD_MACS = 1 << 18  # what OpenBLAS computes in one thread (interface/gemm.c)
CONSTANT_TYPES = ("float32", "int64", "bool")
MAX_CONSTANT = 1 << 22  # elements


# --- where elements lie ---------------------------------------------------------------------


def _reshape(a: dict, x: np.ndarray) -> np.ndarray:
    """shape."""
    return x.reshape(a["shape"])


def _transpose(a: dict, x: np.ndarray) -> np.ndarray:
    """order: of the axes."""
    return np.ascontiguousarray(x.transpose(a["order"]))


def _slice(a: dict, x: np.ndarray) -> np.ndarray:
    """starts, stops, steps: by axis, as of range(); a stop of None is the end."""
    part = (slice(*s) for s in zip(a["starts"], a["stops"], a["steps"], strict=True))
    return np.ascontiguousarray(x[tuple(part)])


def _concat(a: dict, *values: np.ndarray) -> np.ndarray:
    """axis."""
    return np.concatenate(values, axis=a["axis"])


def _gather(a: dict, x: np.ndarray, index: np.ndarray) -> np.ndarray:
    """axis: elements of x along it, for every index (ONNX Gather)."""
    return np.take(x, index.astype(np.int64), axis=a["axis"])


def _gather_elements(a: dict, x: np.ndarray, index: np.ndarray) -> np.ndarray:
    """axis (ONNX GatherElements)."""
    return np.take_along_axis(x, index.astype(np.int64), axis=a["axis"])


def _gather_nd(a: dict, x: np.ndarray, index: np.ndarray) -> np.ndarray:
    """No attributes (ONNX GatherND without batch axes)."""
    return x[tuple(np.moveaxis(index.astype(np.int64), -1, 0))]


def _expand(a: dict, x: np.ndarray) -> np.ndarray:
    """shape: to which x is broadcast (ONNX Expand)."""
    return np.ascontiguousarray(np.broadcast_to(x, np.broadcast_shapes(x.shape, a["shape"])))


def _tile(a: dict, x: np.ndarray) -> np.ndarray:
    """repeats: by axis."""
    return np.tile(x, a["repeats"])


def _pad(a: dict, x: np.ndarray) -> np.ndarray:
    """before, after: by axis; value."""
    return np.pad(x, list(zip(a["before"], a["after"], strict=True)), constant_values=a["value"])


def _view(a: dict, *maps: np.ndarray) -> np.ndarray:
    """Elements of the maps, which lie one behind the other in row-major order.

    Either start, sizes, steps and shape: element (i, j, ...) of `sizes` is at start + i * steps[0]
    + j * steps[1] + ..., seen as `shape`. Or axes: element (i, j, ...) is at axes[0][i] +
    axes[1][j] + ...; below zero it is 0.
    """
    first, *others = (m.reshape(-1) for m in maps)
    flat = np.concatenate([first, *others]) if others else first
    if "sizes" in a:
        sizes, steps, start = a["sizes"], a["steps"], a["start"]
        reach = [(n - 1) * s for n, s in zip(sizes, steps, strict=True)]
        low = start + sum(r for r in reach if r < 0)
        high = start + sum(r for r in reach if r > 0)
        if min(sizes) < 1 or low < 0 or high >= flat.size:
            raise ValueError("a view reaches beyond its maps")
        strides = [s * flat.itemsize for s in steps]
        part = np.lib.stride_tricks.as_strided(flat[start:], sizes, strides, writeable=False)
        return np.ascontiguousarray(part).reshape(a["shape"])
    address = np.zeros((), np.int64)
    for axis in a["axes"]:
        address = np.add.outer(address, np.array(axis, np.int64))
    outside = address < 0
    return np.where(outside, np.float32(0), flat[np.where(outside, 0, address)])


def _constant(a: dict) -> np.ndarray:
    """dtype: one of CONSTANT_TYPES; shape; data: its bytes, little endian, in base64."""
    return _decoded(a["dtype"], tuple(a["shape"]), a["data"])


@lru_cache(maxsize=256)
def _decoded(dtype: str, shape: tuple[int, ...], data: str) -> np.ndarray:
    if dtype not in CONSTANT_TYPES or math.prod(shape) > MAX_CONSTANT:
        raise ValueError(f"a constant of {dtype} {shape}")
    little = np.dtype(dtype).newbyteorder("<")
    array = np.frombuffer(base64.b64decode(data, validate=True), little)
    return array.reshape(shape).astype(dtype, copy=False)


def constant_attributes(array: np.ndarray) -> dict:
    """Attributes of the operator that makes a constant; ValueError if it is too large."""
    kind = {"f": "float32", "i": "int64", "u": "int64", "b": "bool"}.get(array.dtype.kind)
    if kind is None or array.size > MAX_CONSTANT:
        raise ValueError(f"a constant of {array.dtype} {array.shape}")
    little = np.ascontiguousarray(array.astype(np.dtype(kind).newbyteorder("<")))
    data = base64.b64encode(little.tobytes()).decode()
    return {"dtype": kind, "shape": list(array.shape), "data": data}


# --- arithmetic -----------------------------------------------------------------------------


def _clip(a: dict, x: np.ndarray) -> np.ndarray:
    """lo, hi: None is open."""
    lo = -np.inf if a["lo"] is None else a["lo"]
    hi = np.inf if a["hi"] is None else a["hi"]
    return np.clip(x, lo, hi).astype(np.float32)


def _sigmoid(a: dict, x: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-x)), without overflow for any x, to the last places where it is next to 0."""
    small = np.exp(-np.abs(x))
    return np.where(x < 0, small, np.float32(1)) / (np.float32(1) + small)


def _softmax(a: dict, x: np.ndarray) -> np.ndarray:
    """axis; log: whether its logarithm is wanted."""
    shifted = x - x.max(a["axis"], keepdims=True)
    e = np.exp(shifted)
    total = e.sum(a["axis"], keepdims=True)
    return shifted - np.log(total) if a.get("log") else e / total


def _leaky(a: dict, x: np.ndarray) -> np.ndarray:
    """slope: of what is negative."""
    return np.where(x < 0, np.float32(a["slope"]) * x, x)


def _softplus(a: dict, x: np.ndarray) -> np.ndarray:
    """log(1 + exp(x))."""
    return np.logaddexp(np.float32(0), x).astype(np.float32)


def _hard_sigmoid(a: dict, x: np.ndarray) -> np.ndarray:
    """alpha, beta: clip(alpha * x + beta, 0, 1)."""
    return np.clip(np.float32(a["alpha"]) * x + np.float32(a["beta"]), 0, 1).astype(np.float32)


def _cast(a: dict, x: np.ndarray) -> np.ndarray:
    """dtype: float32, int64 or bool; real numbers lose their fraction."""
    return x.astype(np.dtype(a["dtype"]))


def _unary(function: Callable[[np.ndarray], np.ndarray]) -> Kind:
    def run(a: dict, x: np.ndarray) -> np.ndarray:
        """No attributes."""
        with np.errstate(all="ignore"):  # as on any processor: infinities and NaN
            return function(x)

    return run


def _binary(function: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> Kind:
    def run(a: dict, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """No attributes; numpy's broadcasting."""
        with np.errstate(all="ignore"):
            return function(x, y)

    return run


def _divide(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Of whole numbers towards zero, as ONNX has it."""
    if x.dtype.kind == "f" or y.dtype.kind == "f":
        return np.divide(x, y)
    return np.trunc(np.divide(x, np.where(y == 0, 1, y))).astype(x.dtype)


def _power(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.power(x, y.astype(x.dtype))


def _where(a: dict, condition: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """No attributes."""
    return np.where(condition, x, y)


def _matmul(a: dict, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """No attributes (ONNX MatMul)."""
    return np.matmul(x, y)


def _pointwise(a: dict, x: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """weight (filters, channels): a 1x1 convolution over axis 1."""
    return np.moveaxis(np.tensordot(weight, x, (1, 1)), 0, 1)


# --- reductions and choices -----------------------------------------------------------------

REDUCTIONS: dict[str, Callable[..., np.ndarray]] = {
    "sum": np.sum,
    "mean": np.mean,
    "max": np.max,
    "min": np.min,
    "prod": np.prod,
    "l1": lambda x, **k: np.sum(np.abs(x), **k),
    "l2": lambda x, **k: np.sqrt(np.sum(np.square(x), **k)),
    "sum_square": lambda x, **k: np.sum(np.square(x), **k),
    "log_sum": lambda x, **k: np.log(np.sum(x, **k)),
    "log_sum_exp": lambda x, **k: np.logaddexp.reduce(x, **k),
}


def _reduce(a: dict, x: np.ndarray) -> np.ndarray:
    """function: a key of REDUCTIONS; axes; keepdims."""
    if a["function"] not in REDUCTIONS:
        raise ValueError(f"reduction '{a['function']}' is unknown")
    axes = tuple(a["axes"])
    return REDUCTIONS[a["function"]](x, axis=axes, keepdims=bool(a["keepdims"])).astype(x.dtype)


def _argmax(a: dict, x: np.ndarray) -> np.ndarray:
    """axis, keepdims; of equal values the first or, with `last`, the last."""
    if a.get("last"):
        flipped = np.flip(x, a["axis"])
        index = x.shape[a["axis"]] - 1 - np.argmax(flipped, a["axis"], keepdims=bool(a["keepdims"]))
    else:
        index = np.argmax(x, a["axis"], keepdims=bool(a["keepdims"]))
    return np.asarray(index)


def _argmin(a: dict, x: np.ndarray) -> np.ndarray:
    """As of argmax."""
    return _argmax(a, -x)


# --- resampling -----------------------------------------------------------------------------


def _resize(a: dict, x: np.ndarray) -> np.ndarray:
    """size (H, W), scales (y, x), mode, coordinate_transformation_mode, nearest_mode: rows, then
    columns, each one matrix product."""
    modes = (a["mode"], a["coordinate_transformation_mode"], a["nearest_mode"])
    rows, columns = (
        resize_matrix(x.shape[axis], size, scale, *modes)
        for axis, size, scale in zip((2, 3), a["size"], a["scales"], strict=True)
    )
    return _product(_product(rows, x), columns.T)


def _product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """np.matmul in pieces too small for OpenBLAS to start threads, which cost more than they give
    while other stages are busy."""
    step = max(1, SINGLE_THREAD_MACS // (b.shape[-2] * b.shape[-1]))
    pieces = range(0, a.shape[-2], step)
    return np.concatenate([np.matmul(a[..., i : i + step, :], b) for i in pieces], axis=-2)


@lru_cache(maxsize=32)
def resize_matrix(
    in_size: int, out_size: int, scale: float, mode: str, coordinates: str, nearest_mode: str
) -> np.ndarray:
    """float32 (out_size, in_size) of ONNX Resize-19 along one axis, read-only; mode: nearest or
    linear. ValueError for an unknown mode."""
    exact = exact_scale(scale, in_size, out_size)
    table = resize_rows(in_size, out_size, exact, mode, coordinates, nearest_mode)
    matrix = np.zeros((out_size, in_size), np.float32)
    for line, row in zip(matrix, table.rows, strict=True):
        for index, weight in row.items():
            line[index] = weight / table.denominator
    matrix.flags.writeable = False
    return matrix


KINDS: dict[str, Kind] = {
    "reshape": _reshape,
    "transpose": _transpose,
    "slice": _slice,
    "concat": _concat,
    "gather": _gather,
    "gather_elements": _gather_elements,
    "gather_nd": _gather_nd,
    "expand": _expand,
    "tile": _tile,
    "pad": _pad,
    "view": _view,
    "constant": _constant,
    "clip": _clip,
    "sigmoid": _sigmoid,
    "softmax": _softmax,
    "leaky": _leaky,
    "softplus": _softplus,
    "hard_sigmoid": _hard_sigmoid,
    "cast": _cast,
    "exp": _unary(np.exp),
    "log": _unary(np.log),
    "sqrt": _unary(np.sqrt),
    "tanh": _unary(np.tanh),
    "abs": _unary(np.abs),
    "sign": _unary(np.sign),
    "softsign": _unary(lambda x: x / (np.float32(1) + np.abs(x))),
    "neg": _unary(np.negative),
    "floor": _unary(np.floor),
    "ceil": _unary(np.ceil),
    "round": _unary(np.rint),
    "reciprocal": _unary(lambda x: np.float32(1) / x),
    "not": _unary(np.logical_not),
    "add": _binary(np.add),
    "sub": _binary(np.subtract),
    "mul": _binary(np.multiply),
    "div": _binary(_divide),
    "pow": _binary(_power),
    "max": _binary(np.maximum),
    "min": _binary(np.minimum),
    "greater": _binary(np.greater),
    "greater_equal": _binary(np.greater_equal),
    "less": _binary(np.less),
    "less_equal": _binary(np.less_equal),
    "equal": _binary(np.equal),
    "and": _binary(np.logical_and),
    "or": _binary(np.logical_or),
    "where": _where,
    "matmul": _matmul,
    "pointwise": _pointwise,
    "reduce": _reduce,
    "argmax": _argmax,
    "argmin": _argmin,
    "resize": _resize,
    "top_k": top_k,
    "suppress": suppress,
}
