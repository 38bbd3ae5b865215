"""The operators at the end of a network that run on the processor, in float32."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np

from fpga_gen_host.deployment import Deployment, HostOperator
from fpga_gen_host.errors import DeployError

KINDS = ("reshape", "clip", "sigmoid", "softmax", "argmax", "resize")
HALF = Fraction(1, 2)
SINGLE_THREAD_MACS = 1 << 18  # what OpenBLAS computes in one thread (interface/gemm.c)


class HostTail:
    """Model outputs from stored output maps; tables of resizes are made once."""

    def __init__(self, deployment: Deployment) -> None:
        self._deployment = deployment
        self._matrices: dict[tuple, np.ndarray] = {}
        for op in deployment.host_ops:
            if op.kind not in KINDS:
                raise DeployError(
                    f"{deployment.path / 'layout.json'}: host operator '{op.kind}' is unknown: "
                    "use the host package of the fpga-gen that built it"
                )

    def __call__(self, stored: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Model outputs by name, in the model's shapes, float32 (argmax: int64).

        stored: integer maps (C, H, W) by tensor name.
        """
        outputs = {}
        d = self._deployment
        for tensor, name in zip(d.output_tensors, d.output_names, strict=True):
            real = (stored[tensor.name].astype(np.float64) - tensor.zero) * tensor.scale
            value = real.astype(np.float32)[None]
            for op in d.host_ops:
                if op.target == tensor.name:
                    value = self._run(op, value)
            outputs[name] = value
        return outputs

    def _run(self, op: HostOperator, x: np.ndarray) -> np.ndarray:
        """One operator; axes count the batch axis."""
        a = op.attributes
        if op.kind == "reshape":
            return x.reshape(a["shape"])
        if op.kind == "clip":
            lo = -np.inf if a["lo"] is None else a["lo"]
            hi = np.inf if a["hi"] is None else a["hi"]
            return np.clip(x, lo, hi).astype(np.float32)
        if op.kind == "sigmoid":
            return np.float32(0.5) * (np.float32(1) + np.tanh(np.float32(0.5) * x))
        if op.kind == "softmax":
            e = np.exp(x - x.max(a["axis"], keepdims=True))
            return e / e.sum(a["axis"], keepdims=True)
        if op.kind == "argmax":
            index = np.argmax(x, a["axis"])
            return np.expand_dims(index, a["axis"]) if a["keepdims"] else index
        return self._resize(a, x)

    def _resize(self, a: dict, x: np.ndarray) -> np.ndarray:
        """Rows, then columns, each one matrix product."""
        rows, columns = (
            self._matrix(x.shape[axis], size, scale, a)
            for axis, size, scale in zip((2, 3), a["size"], a["scales"], strict=True)
        )
        return _product(_product(rows, x), columns.T)

    def _matrix(self, in_size: int, out_size: int, scale: float, a: dict) -> np.ndarray:
        modes = (a["mode"], a["coordinate_transformation_mode"], a["nearest_mode"])
        key = (in_size, out_size, scale, *modes)
        if key not in self._matrices:
            self._matrices[key] = resize_matrix(in_size, out_size, scale, *modes)
        return self._matrices[key]


def _product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """np.matmul in pieces too small for OpenBLAS to start threads, which cost more than they give
    while other stages are busy."""
    step = max(1, SINGLE_THREAD_MACS // (b.shape[-2] * b.shape[-1]))
    pieces = range(0, a.shape[-2], step)
    return np.concatenate([np.matmul(a[..., i : i + step, :], b) for i in pieces], axis=-2)


def resize_matrix(
    in_size: int, out_size: int, scale: float, mode: str, coordinates: str, nearest_mode: str
) -> np.ndarray:
    """float32 (out_size, in_size) of ONNX Resize-19 along one axis; mode: nearest or linear."""
    exact = _exact_scale(scale, in_size, out_size)
    matrix = np.zeros((out_size, in_size), np.float32)
    for i in range(out_size):
        x = _source(i, in_size, out_size, exact, coordinates)
        if mode == "nearest":
            matrix[i, min(max(_nearest(x, nearest_mode, exact), 0), in_size - 1)] = 1
            continue
        x = min(max(x, Fraction(0)), Fraction(in_size - 1))
        low = math.floor(x)
        matrix[i, low] = float(1 - (x - low))
        if x > low:
            matrix[i, low + 1] = float(x - low)
    return matrix


def _exact_scale(scale: float, in_size: int, out_size: int) -> Fraction:
    """The ratio that a float32 scale stands for: out/in or a short fraction, if near."""
    for guess in (Fraction(out_size, in_size), Fraction(scale).limit_denominator(1000)):
        if guess > 0 and abs(float(guess) - scale) <= 2.0**-23 * scale:
            return guess
    return Fraction(scale)


def _source(i: int, n: int, m: int, scale: Fraction, mode: str) -> Fraction:
    """Coordinate in the input (n elements) of output element i of m."""
    if mode == "half_pixel" or (mode == "pytorch_half_pixel" and m > 1):
        return (i + HALF) / scale - HALF
    if mode == "half_pixel_symmetric":
        return Fraction(n, 2) * (1 - m / (scale * n)) + (i + HALF) / scale - HALF
    if mode == "align_corners":
        return Fraction(i * (n - 1), m - 1) if m > 1 else Fraction(0)
    if mode == "asymmetric":
        return i / scale
    if mode == "tf_half_pixel_for_nn":
        return (i + HALF) / scale
    if mode == "pytorch_half_pixel":
        return Fraction(0)
    raise DeployError(f"resize: unknown coordinate transformation '{mode}'")


def _nearest(x: Fraction, mode: str, scale: Fraction) -> int:
    if mode == "round_prefer_floor":
        return math.ceil(x - HALF)
    if mode == "round_prefer_ceil":
        return math.floor(x + HALF)
    if mode == "floor" or (mode == "simple" and scale >= 1):
        return math.floor(x)
    if mode in ("ceil", "simple"):
        return math.ceil(x)
    raise DeployError(f"resize: unknown nearest mode '{mode}'")
