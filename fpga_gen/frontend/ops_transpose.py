"""ConvTranspose as phases: every output pixel meets only the taps that fall on input pixels.

Row s * t + p of the result reads rows t + (p + pad - k * dilation) / s for the taps k for which
that is whole: a convolution of stride one for each phase p, whose results interleave. Nothing is
stuffed with zeros. Source: ONNX ConvTranspose-11.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import product

import numpy as np

from fpga_gen.frontend.call import Call
from fpga_gen.frontend.inputs import MAX_SIZE
from fpga_gen.frontend.problems import Refused
from fpga_gen.frontend.values import Feature, Value
from fpga_gen.frontend.view import taken
from fpga_gen.graph.ir import PHASE_CHANNELS, Conv, ConvTerm, Interleave

AGAIN = "export the model again"
MAX_CHANNELS = 1 << 18  # of all phases, each of which is looked at


@dataclass(frozen=True)
class _Axis:
    """One axis: input size, stride, and of the result its size and the padding before it."""

    size: int
    stride: int
    dilation: int
    kernel: int
    out: int
    pad: int

    @property
    def steps(self) -> int:
        """Pixels of each phase."""
        return -(-self.out // self.stride)

    def taps(self, phase: int) -> tuple[tuple[int, int], ...]:
        """(tap, input pixel relative to the phase's) of all taps of a phase."""
        places = ((k, phase + self.pad - k * self.dilation) for k in range(self.kernel))
        return tuple((k, at // self.stride) for k, at in places if at % self.stride == 0)

    def window(self, taps: tuple[tuple[int, int], ...]) -> tuple[int, int, int]:
        """(kernel, padding before, padding after) of a convolution over these taps."""
        offsets = [offset for _, offset in taps]
        first, last = min(offsets), max(offsets)
        return last - first + 1, -first, self.steps + last - self.size


def conv_transpose(call: Call) -> list[Value]:
    x = call.map()
    weight, axes, group = _geometry(call, x)
    filters = weight.shape[1] * group
    bias = call.weight(2, "bias") if call.has(2) else np.zeros(filters, np.float32)
    if bias.shape != (filters,):
        raise Refused(f"its bias has shape {list(bias.shape)}", AGAIN)
    dense = _dense(weight, group)
    block = (axes[0].stride, axes[1].stride)
    phases = math.prod(block)
    depth = filters if phases == 1 else -(-filters // PHASE_CHANNELS) * PHASE_CHANNELS
    if phases * depth > MAX_CHANNELS:
        raise Refused(f"its stride {list(block)} makes {phases} phases", "use a smaller stride")
    terms = _terms(x.tensor, dense, axes, depth, _grid(call, group, filters, depth, phases))
    if not terms:
        raise Refused("its result depends on no input", AGAIN)
    size = (axes[0].steps, axes[1].steps)
    whole = np.tile(np.pad(bias, (0, depth - filters)), phases)
    name = call.output if phases == 1 else f"{call.output}.phases"
    tensor = call.builder.add(
        Conv, name, (phases * depth, *size), call.name, terms=terms, bias=whole
    )
    if phases > 1:
        shape = (filters, size[0] * block[0], size[1] * block[1])
        tensor = call.builder.add(
            Interleave, call.output, shape, call.name, input=tensor, block=block, channels=filters
        )
    view = call.builder.view(Feature(tensor, (1, *call.builder.shape(tensor))))
    for number, axis in enumerate(axes):
        view = taken(view, 2 + number, slice(axis.out))
    return [call.builder.settled(view)]


def _geometry(call: Call, x: Feature) -> tuple[np.ndarray, tuple[_Axis, _Axis], int]:
    """(weight (channels, filters of a group, kh, kw), axes, groups)."""
    weight, group = call.weight(1, "weight"), call.integer("group", 1)
    if weight.ndim != 4:
        raise Refused(f"its kernel has {weight.ndim - 2} dimensions", "use 1D or 2D convolutions")
    if group < 1 or x.shape[1] != weight.shape[0] or weight.shape[0] % group:
        raise Refused(
            f"its weight takes {weight.shape[0]} channels in {group} groups, its input has "
            f"{x.shape[1]}",
            AGAIN,
        )
    kernel = call.integers("kernel_shape") or list(weight.shape[2:])
    stride, dilation = call.integers("strides") or [1, 1], call.integers("dilations") or [1, 1]
    extra, pads = call.integers("output_padding") or [0, 0], call.integers("pads") or [0] * 4
    lengths = [len(kernel), len(stride), len(dilation), len(extra)]
    if lengths != [2] * 4 or len(pads) != 4 or tuple(kernel) != weight.shape[2:]:
        raise Refused("has attributes that do not fit its weight", AGAIN)
    if min(*stride, *dilation) < 1 or max(*stride, *dilation, *pads, *extra) > MAX_SIZE:
        raise Refused("has a stride or padding out of range", AGAIN)
    given, auto = call.integers("output_shape"), call.text("auto_pad", "NOTSET")
    if given and len(given) < 2:
        raise Refused("has an output_shape that does not fit its map", AGAIN)
    found = []
    for a in (0, 1):
        size = x.shape[2 + a]
        reach = (kernel[a] - 1) * dilation[a] + 1
        full = stride[a] * (size - 1) + extra[a] + reach
        out, before = full - pads[a] - pads[2 + a], pads[a]
        if given or auto in ("SAME_UPPER", "SAME_LOWER"):
            out = given[-2:][a] if given else size * stride[a]
            if not given and full < out:
                raise Refused(
                    f"pads by auto_pad with a stride beyond its kernel of {kernel[a]}, of which "
                    "ONNX and onnxruntime make different sizes",
                    "export it again with pads",
                )
            total = max(0, full - out)
            small = total // 2
            before = small if auto == "SAME_UPPER" else total - small
        elif auto == "VALID":
            out, before = full, 0
        if not 1 <= out <= MAX_SIZE or before < 0:
            raise Refused(f"its result has {out} pixels along an axis", AGAIN)
        step = stride[a] if size > 1 else 1  # one pixel has no distance to another
        found.append(_Axis(size, step, dilation[a], kernel[a], out, before))
    return weight, (found[0], found[1]), group


def _dense(weight: np.ndarray, group: int) -> np.ndarray:
    """(filters, channels, kh, kw) of (channels, filters of a group, kh, kw): groups by zeros."""
    channels, each = weight.shape[:2]
    if group == 1:
        return weight.transpose(1, 0, 2, 3)
    dense = np.zeros((each * group, channels, *weight.shape[2:]), np.float32)
    step = channels // group
    for g in range(group):
        part = slice(g * step, (g + 1) * step)
        dense[g * each : (g + 1) * each, part] = weight[part].transpose(1, 0, 2, 3)
    return dense


def _grid(call: Call, group: int, filters: int, depth: int, phases: int) -> np.ndarray | None:
    grid = call.grid(1, filters // group, 1)  # the filters of all groups have the same steps
    if grid is None:
        return None
    return np.tile(np.pad(np.tile(grid, group), (0, depth - filters), constant_values=1.0), phases)


def _terms(
    source: str,
    dense: np.ndarray,
    axes: tuple[_Axis, _Axis],
    depth: int,
    grid: np.ndarray | None,
) -> tuple[ConvTerm, ...]:
    """One convolution for all phases of equal windows."""
    filters, channels = dense.shape[:2]
    rows, columns = axes
    found: dict[tuple, np.ndarray] = {}
    for py, px in product(range(rows.stride), range(columns.stride)):
        ys, xs = rows.taps(py), columns.taps(px)
        if not ys or not xs:
            continue  # only the bias
        kh, top, bottom = rows.window(ys)
        kw, left, right = columns.window(xs)
        key = (kh, kw, (top, left, bottom, right))
        if key not in found:
            shape = (rows.stride * columns.stride * depth, channels, kh, kw)
            found[key] = np.zeros(shape, np.float32)
        first = (py * columns.stride + px) * depth
        part = found[key][first : first + filters]
        for (ky, dy), (kx, dx) in product(ys, xs):
            part[:, :, dy + top, dx + left] = dense[:, :, ky, kx]
    return tuple(
        ConvTerm(source, weight, (1, 1), pads, grid=grid, sparse=True)
        for (_, _, pads), weight in found.items()
    )
