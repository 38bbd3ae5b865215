"""Operators that move elements and compute nothing: on the engine a view, on the host a step."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import numpy as np
from onnx import TensorProto

from fpga_gen.frontend.call import PADDED, Call, shown
from fpga_gen.frontend.host_tail import tail_of
from fpga_gen.frontend.inputs import FLOAT_TYPES, MAX_SIZE
from fpga_gen.frontend.problems import Refused
from fpga_gen.frontend.values import Feature, HostValue, Value
from fpga_gen.frontend.view import View, expanded, padded, reshaped, taken, transposed

AGAIN = "export the model again"
MIRRORS: dict[str, Literal["reflect", "edge", "wrap"]] = {
    "reflect": "reflect",
    "edge": "edge",
    "wrap": "wrap",
}  # modes of a Pad with elements of the map, as numpy calls them
MIXED = "keep channels and pixels apart, or leave this to the end of the network"


def shape_of(call: Call) -> list[Value]:
    value = call.values[0]
    assert isinstance(value, Feature | View | HostValue)
    start, end = call.integer("start", 0), call.integer("end", len(value.shape))
    return [np.array(value.shape[start:end], np.int64)]


def size_of(call: Call) -> list[Value]:
    value = call.values[0]
    assert isinstance(value, Feature | View | HostValue)
    return [np.array(math.prod(value.shape), np.int64)]


def seen_shape(call: Call) -> tuple[int, ...]:
    value = call.values[0]
    if isinstance(value, HostValue | np.ndarray):
        return value.shape
    return call.view().shape


def moved(
    call: Call, move: Callable[[View], View | None], kind: str, /, **attributes
) -> list[Value]:
    """The result of a move: of a view, or on the host by the operator `kind`."""
    value = call.values[0]
    if isinstance(value, HostValue):
        tail = tail_of(call)
        return [tail.run(kind, value, **attributes)]
    found = move(call.view())
    if found is None and isinstance(value, View) and len(value.shape) == 4:
        found = move(call.builder.view(call.map()))  # its channels under a name of their own
    if found is None:
        raise Refused(
            f"moves elements of a {shown(seen_shape(call))} map in no simple order", MIXED
        )
    return [call.builder.settled(found)]


# --- shapes ---------------------------------------------------------------------------------


def reshape(call: Call) -> list[Value]:
    target = call.whole_numbers(1, "shape")
    shape = seen_shape(call)
    if not call.flag("allowzero", False):
        if any(d == 0 and i >= len(shape) for i, d in enumerate(target)):
            raise Refused(f"has the target shape {target}", AGAIN)
        target = [shape[i] if d == 0 else d for i, d in enumerate(target)]
    if target.count(-1) == 1:
        known = math.prod(d for d in target if d != -1)
        target = [math.prod(shape) // known if d == -1 and known else d for d in target]
    return _reshaped(call, tuple(target))


def flatten(call: Call) -> list[Value]:
    shape = seen_shape(call)
    axis = call.integer("axis", 1)
    if axis != len(shape):  # all axes in the first of the two
        (axis,) = call.axes([axis], len(shape))
    return _reshaped(call, (math.prod(shape[:axis]), math.prod(shape[axis:])))


def squeeze(call: Call) -> list[Value]:
    shape = seen_shape(call)
    axes = call.ints(1, "axes")
    if axes is None:
        axes = [i for i, d in enumerate(shape) if d == 1]
    elif not axes:
        raise Refused("names no axes, which ONNX takes as none and onnxruntime as all", AGAIN)
    axes = call.axes(axes, len(shape))
    if any(shape[a] != 1 for a in axes):
        raise Refused(f"squeezes axes {axes} of {list(shape)}", AGAIN)
    return _reshaped(call, tuple(d for i, d in enumerate(shape) if i not in axes))


def unsqueeze(call: Call) -> list[Value]:
    shape = list(seen_shape(call))
    axes = call.ints(1, "axes") or []
    rank = len(shape) + len(axes)
    for axis in sorted(call.axes(axes, rank)):
        shape.insert(axis, 1)
    return _reshaped(call, tuple(shape))


def _reshaped(call: Call, shape: tuple[int, ...]) -> list[Value]:
    """The same elements under another shape."""
    value, old = call.values[0], seen_shape(call)
    open_size = isinstance(value, HostValue) and 0 in old
    if not open_size and (math.prod(shape) != math.prod(old) or min(shape, default=1) < 1):
        raise Refused(f"reshapes {list(old)} to {list(shape)}", AGAIN)
    if shape == old:
        return [value] if isinstance(value, HostValue) else [call.builder.settled(call.view())]
    if isinstance(value, Feature) and shape:
        return [Feature(value.tensor, shape)]
    return moved(call, lambda v: reshaped(v, shape), "reshape", shape=list(shape))


def transpose(call: Call) -> list[Value]:
    shape = seen_shape(call)
    order = call.integers("perm") or list(range(len(shape)))[::-1]
    if sorted(order) != list(range(len(shape))):
        raise Refused(f"has the order {order} for {len(shape)} axes", AGAIN)
    return moved(call, lambda v: transposed(v, order), "transpose", order=list(order))


# --- more elements --------------------------------------------------------------------------


def pad(call: Call) -> list[Value]:
    rank = len(seen_shape(call))
    mode = call.text("mode", "constant")
    if mode != "constant" and mode not in MIRRORS:
        raise Refused(f"pads in mode '{mode}'", f"use constant, {', '.join(MIRRORS)}")
    value = call.number("value", 0.0)
    if call.opset >= 11:
        value = call.scalar(2, "padding value") if call.has(2) else 0.0
    amounts = call.ints(1, "pads") or []
    axes = call.ints(3, "axes") or list(range(rank))
    if len(amounts) != 2 * len(axes):
        raise Refused(f"gives {len(amounts)} paddings for {len(axes)} axes", "export it again")
    before, after = [0] * rank, [0] * rank
    for i, axis in enumerate(call.axes(axes, rank)):
        before[axis], after[axis] = amounts[i], amounts[i + len(axes)]
    if max(*before, *after) > MAX_SIZE:
        raise Refused("pads by too much", AGAIN)
    for axis, size in enumerate(seen_shape(call)):
        if size + min(0, before[axis]) + min(0, after[axis]) < 1:
            raise Refused("crops everything", AGAIN)
    if mode != "constant":
        return _mirrored(call, mode, before, after)
    outer = [max(0, n) for n in before], [max(0, n) for n in after]
    if value != 0 and any(map(any, outer)):
        raise Refused(f"pads with {value}", "use zero padding")
    if any(map(any, outer)) and not call.reaches and not call.tail:
        raise Refused("pads an output of the model", PADDED)

    def move(view: View) -> View:
        for axis, (b, a) in enumerate(zip(before, after, strict=True)):
            view = taken(view, axis, slice(max(0, -b), len(view.axes[axis]) - max(0, -a)))
        return padded(view, *outer)

    if isinstance(call.values[0], HostValue):
        if min(*before, *after) < 0:
            raise Refused("crops (negative padding)", "crop by other means")
        return [tail_of(call).run("pad", call.values[0], before=before, after=after, value=value)]
    return [call.builder.settled(move(call.view()))]


def _mirrored(call: Call, mode: str, before: list[int], after: list[int]) -> list[Value]:
    """Padding with elements of the map itself."""
    shape = seen_shape(call)
    orders = []
    for size, b, a in zip(shape, before, after, strict=True):
        inside = np.arange(size)[max(0, -b) : size - max(0, -a)]
        most = {"reflect": inside.size - 1, "wrap": inside.size}.get(mode, MAX_SIZE)
        if max(b, a) > most:
            raise Refused(f"pads {inside.size} elements by {max(b, a)} in mode '{mode}'", AGAIN)
        orders.append(np.pad(inside, (max(0, b), max(0, a)), MIRRORS[mode]))
    changed = [k for k, size in enumerate(shape) if not np.array_equal(orders[k], range(size))]
    if isinstance(call.values[0], HostValue):
        tail, moved_value = tail_of(call), call.values[0]
        for k in changed:
            moved_value = tail.run("gather", moved_value, tail.of(orders[k]), axis=k)
        return [moved_value]
    view = call.view()
    for k in changed:
        view = taken(view, k, orders[k])
    return [call.builder.settled(view)]


def expand(call: Call) -> list[Value]:
    x = call.view()
    target = call.whole_numbers(1, "shape")
    try:
        shape = np.broadcast_shapes(x.shape, tuple(target))
    except ValueError:
        shape = ()
    if not shape or not 1 <= min(shape) <= max(shape) <= MAX_SIZE:
        raise Refused(f"expands a {shown(x.shape)} map to {target}", AGAIN)
    if len(shape) == 4 and shape[0] == 1:  # engine operators do it best
        x = call.map()
        chw = (shape[1], shape[2], shape[3])
        return call.result(call.builder.expand(x.tensor, chw, call.output, call.name))
    return [call.builder.settled(expanded(x, shape))]


def tile(call: Call) -> list[Value]:
    view = call.view()
    repeats = call.whole_numbers(1, "repeats")
    if len(repeats) != len(view.shape) or min(repeats) < 1:
        raise Refused(f"repeats a {shown(view.shape)} map {repeats} times", AGAIN)
    if any(n * r > MAX_SIZE for n, r in zip(view.shape, repeats, strict=True)):
        raise Refused("its result is too large", AGAIN)
    axes = tuple(np.tile(a, r) for a, r in zip(view.axes, repeats, strict=True))
    return [call.builder.settled(View(axes))]


def depth_to_space(call: Call) -> list[Value]:
    block, (n, c, h, w) = _blocks(call)
    if c % block**2:
        raise Refused(f"divides {c} channels into blocks of {block}x{block}", AGAIN)
    depth, mode = c // block**2, call.text("mode", "DCR")
    if mode not in ("DCR", "CRD"):
        raise Refused(f"has mode '{mode}'", "use DCR or CRD")
    shape = (n, block, block, depth, h, w) if mode == "DCR" else (n, depth, block, block, h, w)
    order = (0, 3, 4, 1, 5, 2) if mode == "DCR" else (0, 1, 4, 2, 5, 3)
    return _rearranged(call, shape, order, (n, depth, h * block, w * block))


def space_to_depth(call: Call) -> list[Value]:
    block, (n, c, h, w) = _blocks(call)
    if h % block or w % block:
        raise Refused(f"divides a {h}x{w} map into blocks of {block}x{block}", AGAIN)
    shape = (n, c, h // block, block, w // block, block)
    return _rearranged(call, shape, (0, 3, 5, 1, 2, 4), (n, c * block**2, h // block, w // block))


def _blocks(call: Call) -> tuple[int, tuple[int, ...]]:
    block, shape = call.integer("blocksize", 0), seen_shape(call)
    if len(shape) != 4 or block < 1:
        raise Refused(f"rearranges a {shown(shape)} map in blocks of {block}", AGAIN)
    return block, shape


def _rearranged(
    call: Call, first: tuple[int, ...], order: tuple[int, ...], last: tuple[int, ...]
) -> list[Value]:
    value = call.values[0]
    if isinstance(value, HostValue):
        tail = tail_of(call)
        value = tail.run("reshape", value, shape=list(first))
        value = tail.run("transpose", value, order=list(order))
        return [tail.run("reshape", value, shape=list(last))]
    view = reshaped(call.view(), first)
    view = reshaped(transposed(view, order), last) if view is not None else None
    if view is None:
        raise Refused("rearranges a map that is a mixture already", MIXED)
    return [call.builder.settled(view)]


# --- nothing at all -------------------------------------------------------------------------


def identity(call: Call) -> list[Value]:
    value = call.values[0]
    return [value if isinstance(value, HostValue) else call.builder.settled(call.view())]


def dropout(call: Call) -> list[Value]:
    if call.extra_output:
        raise Refused("its mask output is used", "export the model in evaluation mode")
    if call.has(2) and bool(call.const(2, "training_mode").any()):
        raise Refused("is in training mode", "export the model in evaluation mode")
    return identity(call)


def cast(call: Call) -> list[Value]:
    target = call.integer("to", TensorProto.UNDEFINED)
    names = {number: kind for kind, number in TensorProto.DataType.items()}
    if target not in FLOAT_TYPES:
        raise Refused(
            f"casts to {names.get(target, target)}",
            "take the values as they are and cast on the host",
        )
    return identity(call)
