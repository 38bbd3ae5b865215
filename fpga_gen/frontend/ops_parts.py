"""Slice, Split, Gather and Concat: parts of tensors and tensors of parts."""

from __future__ import annotations

import numpy as np

from fpga_gen.frontend.call import Call
from fpga_gen.frontend.host_tail import tail_of
from fpga_gen.frontend.ops_shape import AGAIN, MIXED, moved, seen_shape
from fpga_gen.frontend.problems import Refused
from fpga_gen.frontend.values import Feature, HostValue, Value, native_shape
from fpga_gen.frontend.view import View, joined, reshaped, taken
from fpga_gen.graph.ir import Concat


def slice_(call: Call) -> list[Value]:
    shape = seen_shape(call)
    rank = len(shape)
    if call.opset < 10:
        starts, ends = call.integers("starts") or [], call.integers("ends") or []
        axes, steps = call.integers("axes"), None
    else:
        starts, ends = call.ints(1, "starts") or [], call.ints(2, "ends") or []
        axes, steps = call.ints(3, "axes"), call.ints(4, "steps")
    axes = list(range(len(starts))) if axes is None else axes
    steps = [1] * len(starts) if steps is None else steps
    if not len(starts) == len(ends) == len(axes) == len(steps) or 0 in steps:
        raise Refused("has bounds that do not fit each other", AGAIN)
    parts = [slice(None)] * rank
    for axis, start, end, step in zip(call.axes(axes, rank), starts, ends, steps, strict=True):
        first, stop, step = slice(start, _far(end, step), step).indices(shape[axis])
        first = max(first, 0)  # ONNX begins with the first element, Python before it
        parts[axis] = slice(first, None if stop < 0 else stop, step)
    return [_part(call, parts)]


def _far(end: int, step: int) -> int | None:
    """The end of a slice; None for the one before the first element."""
    return None if step < 0 and end < -(1 << 30) else end


def _part(call: Call, parts: list[slice]) -> Value:
    """One slice of each axis."""
    sizes = [len(range(n)[part]) for n, part in zip(seen_shape(call), parts, strict=True)]
    value = call.values[0]
    if 0 in sizes and not (isinstance(value, HostValue) and 0 in value.shape):
        raise Refused(f"its result {sizes} is empty", "use a larger input")

    def move(view: View) -> View:
        for axis, part in enumerate(parts):
            view = taken(view, axis, part)
        return view

    lists = {
        "starts": [p.start for p in parts],
        "stops": [p.stop for p in parts],
        "steps": [p.step for p in parts],
    }
    (result,) = moved(call, move, "slice", **lists)
    return result


def split(call: Call) -> list[Value]:
    shape = seen_shape(call)
    (axis,) = call.axes([call.integer("axis", 0)], len(shape))
    count = len(call.node.output)
    sizes = call.ints(1, "split") if call.opset >= 13 else call.integers("split")
    if not sizes:
        each = -(-shape[axis] // count)
        sizes = [each] * (count - 1) + [shape[axis] - each * (count - 1)]
    if len(sizes) != count or sum(sizes) != shape[axis] or min(sizes) < 1:
        raise Refused(f"divides {shape[axis]} into {sizes}", AGAIN)
    results, first = [], 0
    for size in sizes:
        parts = [slice(None)] * len(shape)
        parts[axis] = slice(first, first + size)
        results.append(_part(call, parts))
        first += size
    return results


def gather(call: Call) -> list[Value]:
    shape = seen_shape(call)
    (axis,) = call.axes([call.integer("axis", 0)], len(shape))
    index = call.values[1]
    if isinstance(call.values[0], HostValue) or isinstance(index, HostValue):
        tail = tail_of(call)
        return [tail.run("gather", tail.of(call.values[0]), tail.of(index), axis=axis)]
    index = call.const(1, "index")
    if index.size and not -shape[axis] <= index.min() <= index.max() < shape[axis]:
        raise Refused(f"gathers beyond the {shape[axis]} elements of axis {axis}", AGAIN)
    if not index.size:
        raise Refused("gathers nothing", AGAIN)
    view = taken(call.view(), axis, np.array(call.whole_numbers(1, "index")))
    full = (*shape[:axis], *index.shape, *shape[axis + 1 :])
    found = reshaped(view, full) if full else None
    if found is None:
        raise Refused(f"gathers along axis {axis} in no simple order", MIXED)
    return [call.builder.settled(found)]


def concat(call: Call) -> list[Value]:
    values = call.values
    views = [call.view(i) for i in range(len(values))]
    rank = len(views[0].shape)
    (axis,) = call.axes([call.integer("axis", 1)], rank)
    if any(len(v.shape) != rank for v in views):
        raise Refused("joins maps of different rank", AGAIN)
    others = {tuple(n for k, n in enumerate(v.shape) if k != axis) for v in views}
    if len(others) > 1:
        raise Refused("joins maps of different sizes", AGAIN)
    if len(values) == 1:
        return [call.builder.settled(views[0])]
    maps = [v for v in values if isinstance(v, Feature)]
    native = [m for m in maps if m.shape == native_shape(call.builder, m)]
    if axis == 1 and len(native) == len(values):
        return _channels(call, native)
    found = joined(views, axis)
    if found is None and axis == 1 and rank == 4:
        maps = [call.map(i) for i in range(len(values))]
        return _channels(call, maps)
    if found is None:
        raise Refused(
            f"joins maps that lie differently along axis {axis}",
            "join along the channel axis, or at the end of the network",
        )
    return [call.builder.settled(found)]


def _channels(call: Call, maps: list[Feature]) -> list[Value]:
    """Whole maps joined along their channels."""
    _, height, width = call.builder.shape(maps[0].tensor)
    channels = sum(m.shape[1] for m in maps)
    tensor = call.builder.add(
        Concat, call.output, (channels, height, width), call.name,
        inputs=tuple(m.tensor for m in maps),
    )  # fmt: skip
    return call.result(tensor)
