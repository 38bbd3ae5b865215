"""ReduceMean, ReduceSum, ReduceMax and ReduceMin over pixels, and means and sums over channels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from fpga_gen.frontend.call import Call, shown
from fpga_gen.frontend.gather import materialised
from fpga_gen.frontend.layout import ViewLayout, layouts
from fpga_gen.frontend.ops_pool import maximum, mean
from fpga_gen.frontend.problems import Refused
from fpga_gen.frontend.values import Feature, Value
from fpga_gen.frontend.view import View, reshaped
from fpga_gen.graph.ir import Conv, ConvTerm

SUPPORTED = "only means over height and width are supported, sums, and maxima of pixels"


def reduction(call: Call) -> list[Value]:
    view, rank = call.view(), len(call.view().shape)
    axes = call.ints(1, "axes")
    if not axes:
        if call.flag("noop_with_empty_axes", False):
            return [call.builder.settled(view)]
        axes = list(range(rank))
    axes = sorted(call.axes(axes, rank))
    keep = call.flag("keepdims", True)
    if not keep and len(axes) == rank:
        raise Refused("makes a number without axes of a map", "keep the axes (keepdims = 1)")
    for axis in dict.fromkeys((min(1, rank - 1), rank - 1)):
        result = _in_layout(call, view, axes, axis)
        if result is None:
            continue
        if not keep:
            shape = [n for k, n in enumerate(result.shape) if k not in axes]
            result = reshaped(result, shape)
            assert result is not None, "axes of one element are no obstacle"
        return [call.builder.settled(result)]
    raise Refused(f"reduces axes {axes} of a {shown(view.shape)} map", SUPPORTED)


def _in_layout(call: Call, view: View, axes: list[int], axis: int) -> View | None:
    """The reduction with the channels along `axis`, all axes kept; None if it is none of a map."""
    others = [k for k in range(len(view.shape)) if k != axis]
    pixels = [k for k in others if view.shape[k] > 1]
    reduced = [k for k in pixels if k in axes]
    for layout in layouts(call.builder, view, [axis]):
        whole = len(others) == 3 and layout.size == layout.others[1:]
        if reduced and reduced != pixels and not whole:
            continue
        moved = layout.forward(view)
        x = materialised(call.builder, moved, f"{call.output}.in", call.name) if moved else None
        if x is None:
            continue
        over = (others[1] in axes, others[2] in axes) if whole else (bool(reduced), bool(reduced))
        tensor = x.tensor
        if reduced:
            tensor = _over_pixels(call, tensor, over)
        if axis in axes and view.shape[axis] > 1:
            tensor = _over_channels(call, tensor)
        _, height, width = call.builder.shape(tensor)
        rest = tuple(1 if k in axes else view.shape[k] for k in others)
        back = replace(layout, others=rest, size=(height, width))
        return _kept(call, back, tensor)
    return None


def _kept(call: Call, layout: ViewLayout, tensor: str) -> View | None:
    shape = (1, *call.builder.shape(tensor))
    return layout.backward(call.builder.view(Feature(tensor, shape)))


def _over_pixels(call: Call, tensor: str, over: tuple[bool, bool]) -> str:
    """Mean, sum, maximum or minimum of the rows, the columns or both."""
    builder = call.builder
    channels, height, width = builder.shape(tensor)
    one, zero = np.ones(1), np.zeros(1)
    if call.op == "ReduceMax":
        return maximum(call, tensor, over)
    if call.op == "ReduceMin":
        negated = builder.affine(tensor, f"{call.output}.negated", -one, zero, call.name)
        return builder.affine(maximum(call, negated, over), call.output, -one, zero, call.name)
    result = mean(call, tensor, over)
    if call.op == "ReduceSum":
        count = (height if over[0] else 1) * (width if over[1] else 1)
        result = builder.affine(result, call.output, count * one, zero, call.name)
    assert builder.shape(result)[0] == channels
    return result


def _over_channels(call: Call, tensor: str) -> str:
    """Mean or sum of the channels: a convolution with equal weights."""
    if call.op not in ("ReduceMean", "ReduceSum"):
        raise Refused("compares channels with each other", SUPPORTED)
    channels, height, width = call.builder.shape(tensor)
    share = 1.0 / channels if call.op == "ReduceMean" else 1.0
    weight = np.full((1, channels, 1, 1), share, np.float32)
    return call.builder.add(
        Conv, call.output, (1, height, width), call.name,
        terms=(ConvTerm(tensor, weight),), bias=np.zeros(1, np.float32),
    )  # fmt: skip
