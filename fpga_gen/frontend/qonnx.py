"""Quant of QONNX, as Brevitas and QKeras write it: real numbers in, real numbers on a grid out.

On a constant the grid is that of the weights, on a map it is a QuantizeLinear and a
DequantizeLinear in one. Source: qonnx, docs/qonnx-custom-ops (Quant).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx

from fpga_gen.frontend.call import Call
from fpga_gen.frontend.problems import Refused
from fpga_gen.frontend.qdq import saturated
from fpga_gen.frontend.values import Feature, Grid, HostValue, Value
from fpga_gen.graph.ir import TensorHint

DOMAINS = ("qonnx.custom_op.general", "finn.custom_op.general", "onnx.brevitas")
REFUSED = {
    "BipolarQuant": (
        "has weights or maps of two levels without zero",
        "train with at least 2 bits",
    ),
    "FloatQuant": ("rounds to a small floating-point format", "quantise to integers"),
    "IntQuant": ("", ""),
    "Trunc": ("drops low bits of a sum", "export an average pool without Trunc"),
}
MOST_BITS = 8
PER_TENSOR = "quantise feature maps per tensor, with one scale"


@dataclass(frozen=True)
class _Levels:
    """Integers lo..hi; real = scale * (integer - zero)."""

    scale: np.ndarray
    zero: np.ndarray
    lo: int
    hi: int


def is_qonnx(node: onnx.NodeProto) -> bool:
    """Whether a node is of QONNX."""
    return node.domain in DOMAINS


def convert(call: Call) -> list[Value]:
    """Value of a Quant; Refused for its relatives."""
    reason, remedy = REFUSED.get(call.op, ("is no operator of QONNX that is known", "use Quant"))
    if call.op != "Quant" and reason:
        raise Refused(f"operator {call.op} is not supported: it {reason}", remedy)
    levels = _levels(call)
    source = call.values[0]
    if isinstance(source, np.ndarray):
        return [_constant(call, source, levels)]
    if isinstance(source, HostValue):
        call.builder.imported.notes.append((call.node.input[0], "computed on the host in float"))
        return [source]
    return [_map(call, levels)]


def _levels(call: Call) -> _Levels:
    scale = call.weight(1, "scale").astype(np.float64)
    zero = call.weight(2, "zero point").astype(np.float64)
    bits = float(call.weight(3, "bit width").reshape(-1)[0])
    if not (scale > 0).all():
        raise Refused("its scale is not positive", "quantise the model again")
    if bits != int(bits) or not 2 <= bits <= 16:
        raise Refused(f"has {bits:g} bits", "quantise to 2 to 16 bits")
    if call.text("rounding_mode", "ROUND").upper() not in ("ROUND", "HALF_EVEN"):
        raise Refused("rounds in another way than to nearest even", "use ROUND")
    signed, narrow = call.flag("signed", True), call.flag("narrow", False)
    top = 2 ** int(bits)
    lo, hi = (-top // 2, top // 2 - 1) if signed else (0, top - 1)
    if narrow:
        lo, hi = (lo + 1, hi) if signed else (lo, hi - 1)
    return _Levels(scale, zero, lo, hi)


def _constant(call: Call, array: np.ndarray, levels: _Levels) -> np.ndarray:
    try:
        steps = np.rint(array.astype(np.float64) / levels.scale + levels.zero)
    except ValueError:
        raise Refused(
            f"its scale of shape {list(levels.scale.shape)} does not fit its input",
            "export the model again",
        ) from None
    if not np.isfinite(steps).all():
        raise Refused("quantises NaN or infinite values", "repair the weights")
    integers = np.clip(steps, levels.lo, levels.hi)
    call.builder.budget.make(steps.shape, 4)
    long = [k for k, n in enumerate(levels.scale.shape) if n > 1]
    if len(long) <= 1 and max(-levels.lo, levels.hi) < 256:
        axis = (long[0] + array.ndim - levels.scale.ndim) if long else 0
        steps_of = levels.scale.reshape(-1) if long else levels.scale.reshape(-1)[0]
        call.builder.imported.grids[call.output] = Grid(np.asarray(steps_of), axis)
    real = (integers - levels.zero) * levels.scale
    return real.astype(np.float32)


def _map(call: Call, levels: _Levels) -> Feature:
    if levels.scale.size > 1 or levels.zero.size > 1:
        raise Refused("has one scale per channel of a feature map", PER_TENSOR)
    scale, zero = float(levels.scale.reshape(-1)[0]), float(levels.zero.reshape(-1)[0])
    if zero != int(zero):
        raise Refused(f"has the zero point {zero:g}", "use a whole one")
    x, imported = call.feature(), call.builder.imported
    low, high = (levels.lo - zero) * scale, (levels.hi - zero) * scale
    tensor = saturated(call, x.tensor, low, high, scale / 2)
    wide = levels.hi - levels.lo > 255
    hint = TensorHint(scale, int(zero), levels.lo < 0, 16 if wide else MOST_BITS)
    if imported.hints.setdefault(tensor, hint) != hint:
        imported.notes.append(
            (call.node.input[0], "quantised a second time with another scale: the first is kept")
        )
    return Feature(tensor, x.shape)
