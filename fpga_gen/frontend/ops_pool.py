"""MaxPool, AveragePool, global pooling and ReduceMean."""

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
    _, channels, height, width = x.shape
    _need_small((height, width))
    tensor = call.builder.add(
        MaxPool, call.output, (channels, 1, 1), call.name, input=x.tensor,
        kernel=(height, width), stride=(1, 1), pads=(0, 0, 0, 0),
    )  # fmt: skip
    return call.result(tensor)


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
    return call.result(_mean(call, x.tensor, over=(True, True)))


def reduce_mean(call: Call) -> list[Value]:
    x = call.feature()
    rank = len(x.shape)
    axes = call.ints(1, "axes")
    if not axes:
        if call.flag("noop_with_empty_axes", False):
            return [x]
        axes = list(range(rank))
    axes = sorted(call.axes(axes, rank))
    _, channels, height, width = native = (1, *call.builder.shape(x.tensor))
    if x.shape == (1, channels, height * width) and axes == [2]:
        over = (True, True)  # the mean over flattened space
    elif x.shape == native and axes and set(axes) <= {2, 3}:
        over = (2 in axes, 3 in axes)
    else:
        raise Refused(
            f"reduces axes {axes} of a {'x'.join(map(str, x.shape))} map",
            "only means over height and width are supported",
        )
    tensor = _mean(call, x.tensor, over)
    shape = tuple(1 if i in axes else n for i, n in enumerate(x.shape))
    if not call.flag("keepdims", True):
        shape = tuple(n for i, n in enumerate(x.shape) if i not in axes)
    return call.result(tensor, shape)


def _mean(call: Call, tensor: str, over: tuple[bool, bool]) -> str:
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
