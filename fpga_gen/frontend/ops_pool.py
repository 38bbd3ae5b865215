"""MaxPool, AveragePool and global pooling."""

from __future__ import annotations

import numpy as np

from fpga_gen.frontend.call import PADDED, Call
from fpga_gen.frontend.problems import Refused
from fpga_gen.frontend.values import Feature, Value
from fpga_gen.frontend.window import Window, add_pads, window_of
from fpga_gen.graph.axis import average_axis, identity_axis, mean_axes
from fpga_gen.graph.ir import Conv, ConvTerm, MaxPool, Resample

MAX_WINDOW = 1 << 16  # values of a maximum: more than a picture of 224 x 224 has
SMALLER = "use a pooling window or map size with exact 8-bit averages (127 values along an axis)"


def max_pool(call: Call) -> list[Value]:
    if call.extra_output:
        raise Refused("its Indices output is used", "max-unpooling is not supported")
    x = call.map(padded=True)
    window = _window(call, x)
    _need_small(window.kernel)
    bounds = call.builder.value_range(x.tensor)
    if any(x.pads) and (bounds is None or bounds.lo < 0):
        raise Refused("reads a zero-padded map that can be negative", PADDED)
    pads = add_pads(window.ceil_pads, x.pads)
    _, _, height, width = x.shape
    size = (height - x.pads[0] - x.pads[2], width - x.pads[1] - x.pads[3])
    for axis in (0, 1):
        _need_inside(window, axis, size[axis], pads[axis], empty=not any(x.pads))
    return call.result(_max_pool(call, x, window, pads))


def _max_pool(call: Call, x: Feature, window: Window, pads: tuple[int, int, int, int]) -> str:
    shape = (x.shape[1], *window.out)
    return call.builder.add(
        MaxPool, call.output, shape, call.name, input=x.tensor, kernel=window.kernel,
        stride=window.stride, pads=pads, dilation=window.dilation,
    )  # fmt: skip


def _window(call: Call, x: Feature) -> Window:
    kernel = call.integers("kernel_shape") or []
    size = (x.shape[2], x.shape[3])
    window = window_of(call, size, kernel, ceil=call.flag("ceil_mode", False))
    # onnxruntime takes SAME of the kernel without its gaps, and rounds the size of VALID up.
    auto, odd = call.text("auto_pad", "NOTSET"), False
    if auto.startswith("SAME"):
        odd = max(window.dilation) > 1
    elif auto == "VALID" and call.flag("ceil_mode", False):
        odd = any((size[a] - window.reach(a)) % window.stride[a] for a in (0, 1))
    if odd:
        raise Refused(
            "pads by auto_pad with gaps in its window or with ceil_mode, of which ONNX and "
            "onnxruntime make different sizes",
            "export it again with pads",
        )
    if any(pad >= window.reach(i % 2) for i, pad in enumerate(window.pads)):
        raise Refused("a window lies wholly in the padding", "reduce the padding")
    return window


def _need_small(kernel: tuple[int, int]) -> None:
    if kernel[0] * kernel[1] > MAX_WINDOW:
        raise Refused(
            f"takes the maximum of {kernel[0]} x {kernel[1]} values", "pool in several steps"
        )


def _need_inside(window: Window, axis: int, size: int, pad: int, *, empty: bool) -> None:
    """Refuse windows without any tap inside: their maximum would be the padding itself."""
    dilation = window.dilation[axis]
    starts = np.arange(window.out[axis]) * window.stride[axis] - pad
    first = np.where(starts < 0, starts % dilation, starts)  # the first tap from 0 on
    if (first >= np.minimum(size, starts + window.reach(axis))).any():
        hint = "reduce the padding" if empty else PADDED
        raise Refused("a window lies wholly in the padding", hint)


def global_max_pool(call: Call) -> list[Value]:
    x = call.map()
    return call.result(maximum(call, x.tensor, over=(True, True)))


def maximum(call: Call, tensor: str, over: tuple[bool, bool]) -> str:
    """The maximum of a map over its rows, its columns or both."""
    channels, height, width = call.builder.shape(tensor)
    kernel = (height if over[0] else 1, width if over[1] else 1)
    _need_small(kernel)
    size = (height - kernel[0] + 1, width - kernel[1] + 1)
    return call.builder.add(
        MaxPool, call.output, (channels, *size), call.name, input=tensor, kernel=kernel,
        stride=(1, 1), pads=(0, 0, 0, 0),
    )  # fmt: skip


def average_pool(call: Call) -> list[Value]:
    x = call.map(padded=True)
    window = _window(call, x)
    include = call.flag("count_include_pad", False) and any(window.pads)
    if any(x.pads):
        if any(window.pads) and not include:
            raise Refused("reads a zero-padded map and pads again", PADDED)
        include = True
    if include:
        return _average_with_zeros(call, x, window)
    _, channels, height, width = x.shape
    try:
        axes = [
            average_axis(
                size, window.out[a], window.kernel[a], window.stride[a], window.pads[a],
                window.dilation[a],
            )
            for a, size in enumerate((height, width))
        ]  # fmt: skip
    except ValueError as error:
        raise Refused(str(error), SMALLER) from None
    tensor = call.builder.add(
        Resample, call.output, (channels, *window.out), call.name,
        input=x.tensor, y=axes[0], x=axes[1],
    )  # fmt: skip
    return call.result(tensor)


def _average_with_zeros(call: Call, x: Feature, window: Window) -> list[Value]:
    """Padding counts: a convolution with one constant filter per channel."""
    if window.ceil_pads[2] > window.pads[2] or window.ceil_pads[3] > window.pads[3]:
        raise Refused(
            "counts its padding and rounds its size up",
            "export with ceil_mode = 0 or count_include_pad = 0",
        )
    channels = x.shape[1]
    share = 1.0 / (window.kernel[0] * window.kernel[1])
    weight = np.full((channels, 1, *window.kernel), share, np.float32)
    pads = add_pads(window.ceil_pads, x.pads)
    term = ConvTerm(x.tensor, weight, window.stride, pads, window.dilation, groups=channels)
    tensor = call.builder.add(
        Conv, call.output, (channels, *window.out), call.name,
        terms=(term,), bias=np.zeros(channels, np.float32),
    )  # fmt: skip
    return call.result(tensor)


def global_average_pool(call: Call) -> list[Value]:
    x = call.map()
    return call.result(mean(call, x.tensor, over=(True, True)))


def mean(call: Call, tensor: str, over: tuple[bool, bool]) -> str:
    """The mean of a map over its rows, its columns or both."""
    channels, height, width = call.builder.shape(tensor)
    try:
        ys = mean_axes(height) if over[0] else []
        xs = mean_axes(width) if over[1] else []
    except ValueError as error:
        raise Refused(str(error), SMALLER) from None
    for i in range(max(len(ys), len(xs))):
        y = ys[i] if i < len(ys) else identity_axis(call.builder.shape(tensor)[1])
        x = xs[i] if i < len(xs) else identity_axis(call.builder.shape(tensor)[2])
        tensor = call.builder.add(
            Resample, call.output, (channels, y.out_size, x.out_size), call.name,
            input=tensor, y=y, x=x,
        )  # fmt: skip
    return tensor
