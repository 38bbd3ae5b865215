"""The operators at the end of a network that run on the processor, in float32."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Protocol

import numpy as np

from fpga_gen_host.resample import exact_scale, resize_rows

KINDS = ("reshape", "clip", "sigmoid", "softmax", "argmax", "resize")
SINGLE_THREAD_MACS = 1 << 18  # what OpenBLAS computes in one thread (interface/gemm.c)


@dataclass(frozen=True)
class HostOp:
    """An operator at the very end of the network. kind: one of `KINDS`; attributes: JSON-able, see
    `run_host_op`. Applied in order to the tensor `target`."""

    kind: str
    target: str
    attributes: dict = field(default_factory=dict)
    onnx_name: str = ""


class Tail(Protocol):
    """The end of a network: its output tensors, their names in the model, operators on them."""

    @property
    def outputs(self) -> tuple[str, ...]: ...

    @property
    def output_names(self) -> tuple[str, ...]: ...

    @property
    def host_ops(self) -> tuple[HostOp, ...]: ...


def mask_threshold(tail: Tail) -> float:
    """Above it a pixel of the first output is foreground: 0.5 for a probability, 0 for a logit."""
    kinds = [op.kind for op in tail.host_ops if op.target == tail.outputs[0]]
    return 0.5 if "sigmoid" in kinds else 0.0


def run_host_ops(tail: Tail, maps: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Model outputs by name, in their ONNX shapes, float32 (argmax: int64).

    maps: at least every tensor of `tail.outputs`, real numbers (C, H, W).
    """
    result = {}
    for tensor, name in zip(tail.outputs, tail.output_names, strict=True):
        value = np.asarray(maps[tensor], np.float32)[None]
        for op in tail.host_ops:
            if op.target == tensor:
                value = run_host_op(op, value)
        result[name] = value
    return result


def run_host_op(op: HostOp, x: np.ndarray) -> np.ndarray:
    """One host operator on an array that carries the batch axis (first input: (1, C, H, W)).

    Attributes: reshape {shape}; clip {lo, hi; None is open}; softmax {axis}; argmax {axis,
    keepdims}; resize {size (H, W), scales (y, x), mode, coordinate_transformation_mode,
    nearest_mode}; sigmoid none. Axes count the batch axis.

    Raises:
        ValueError: its kind or a mode is unknown.
    """
    a = op.attributes
    if op.kind == "reshape":
        return x.reshape(a["shape"])
    if op.kind == "clip":
        lo = -np.inf if a["lo"] is None else a["lo"]
        hi = np.inf if a["hi"] is None else a["hi"]
        return np.clip(x, lo, hi).astype(np.float32)
    if op.kind == "sigmoid":  # no overflow for any x
        return np.float32(0.5) * (np.float32(1) + np.tanh(np.float32(0.5) * x))
    if op.kind == "softmax":
        e = np.exp(x - x.max(a["axis"], keepdims=True))
        return e / e.sum(a["axis"], keepdims=True)
    if op.kind == "argmax":
        return np.asarray(np.argmax(x, a["axis"], keepdims=bool(a["keepdims"])))
    if op.kind == "resize":
        return _resize(a, x)
    raise ValueError(f"host operator '{op.kind}' is unknown")


def _resize(a: dict, x: np.ndarray) -> np.ndarray:
    """Rows, then columns, each one matrix product."""
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
