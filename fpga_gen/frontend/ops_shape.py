"""Concat, Pad, Expand and the operators that only rename or reshape a map."""

from __future__ import annotations

import math

import numpy as np
from onnx import TensorProto

from fpga_gen.frontend.call import FLATTENED, PADDED, Call
from fpga_gen.frontend.load import FLOAT_TYPES, MAX_SIZE
from fpga_gen.frontend.problems import Refused
from fpga_gen.frontend.values import Feature, HostValue, Value, native_shape
from fpga_gen.frontend.window import add_pads
from fpga_gen.graph.ir import Concat


def shape_of(call: Call) -> list[Value]:
    value = call.values[0]
    assert isinstance(value, Feature | HostValue)
    start, end = call.integer("start", 0), call.integer("end", len(value.shape))
    return [np.array(value.shape[start:end], np.int64)]


def size_of(call: Call) -> list[Value]:
    value = call.values[0]
    assert isinstance(value, Feature | HostValue)
    return [np.array(math.prod(value.shape), np.int64)]


def concat(call: Call) -> list[Value]:
    maps = [call.feature(i) for i in range(len(call.values))]
    axis = call.integer("axis", 1)
    if any(m.shape[:1] != (1,) or call.axes([axis], len(m.shape)) != [1] for m in maps):
        raise Refused(f"joins along axis {axis}", "only the channel axis (1) is supported")
    for m in maps:
        native = native_shape(call.builder, m)
        if m.shape != native and not (len(m.shape) == 2 and native[2:] == (1, 1)):
            raise Refused("joins reshaped maps", FLATTENED)
    if len({m.shape[2:] for m in maps}) > 1:
        raise Refused("joins maps of different sizes", "export the model again")
    shapes = [call.builder.shape(m.tensor) for m in maps]
    channels = sum(s[0] for s in shapes)
    if len(maps) == 1:
        return [maps[0]]
    tensor = call.builder.add(
        Concat, call.output, (channels, *shapes[0][1:]), call.name,
        inputs=tuple(m.tensor for m in maps),
    )  # fmt: skip
    return call.result(tensor, (1, channels, *maps[0].shape[2:]))


def pad(call: Call) -> list[Value]:
    x = call.map(padded=True)
    mode = call.text("mode", "constant")
    if mode != "constant":
        raise Refused(f"pads in mode '{mode}'", "use zero padding")
    value = call.number("value", 0.0)
    if call.opset >= 11:
        value = float(call.const(2, "padding value").reshape(-1)[0]) if call.has(2) else 0.0
    if value != 0:
        raise Refused(f"pads with {value}", "use zero padding")
    amounts = call.ints(1, "pads") or []
    axes = call.ints(3, "axes") or list(range(4))
    if len(amounts) != 2 * len(axes):
        raise Refused(f"gives {len(amounts)} paddings for {len(axes)} axes", "export it again")
    before, after = [0] * 4, [0] * 4
    for i, axis in enumerate(call.axes(axes, 4)):
        before[axis], after[axis] = amounts[i], amounts[i + len(axes)]
    if max(*before, *after) > MAX_SIZE:
        raise Refused("pads by too much", "export the model again")
    if min(*before, *after) < 0:
        raise Refused("crops (negative padding)", "crop by other means")
    if any(before[:2]) or any(after[:2]):
        raise Refused("pads the batch or channel axis", "pad height and width only")
    pads = (before[2], before[3], after[2], after[3])
    if any(pads) and not call.reaches:
        raise Refused("pads an output of the model", PADDED)
    n, c, h, w = x.shape
    shape = (n, c, h + pads[0] + pads[2], w + pads[1] + pads[3])
    return [Feature(x.tensor, shape, add_pads(x.pads, pads))]


def expand(call: Call) -> list[Value]:
    x = call.map()
    target = [int(v) for v in call.const(1, "shape").reshape(-1)]
    try:
        shape = np.broadcast_shapes(x.shape, tuple(target))
    except ValueError:
        shape = ()
    if len(shape) != 4 or shape[0] != 1 or max(shape) > MAX_SIZE:
        raise Refused(f"expands to {target}", "expand height and width only")
    tensor = call.builder.expand(x.tensor, (shape[1], shape[2], shape[3]), call.output, call.name)
    return call.result(tensor)


def identity(call: Call) -> list[Value]:
    value = call.values[0]
    return [value if isinstance(value, HostValue) else call.feature(padded=True)]


def dropout(call: Call) -> list[Value]:
    if call.extra_output:
        raise Refused("its mask output is used", "export the model in evaluation mode")
    if call.has(2) and bool(call.const(2, "training_mode").any()):
        raise Refused("is in training mode", "export the model in evaluation mode")
    return identity(call)


def cast(call: Call) -> list[Value]:
    target = call.integer("to", TensorProto.UNDEFINED)
    names = {number: kind for kind, number in TensorProto.DataType.items()}
    value = call.values[0]
    is_index = isinstance(value, HostValue) and any(s.kind == "argmax" for s in value.steps)
    if target not in FLOAT_TYPES or is_index:
        raise Refused(
            f"casts to {names.get(target, target)}",
            "take the values as they are and cast on the host",
        )
    return identity(call)


def reshape(call: Call) -> list[Value]:
    target = [int(v) for v in call.const(1, "shape").reshape(-1)]
    shape = _shape(call)
    if not call.flag("allowzero", False):
        if any(d == 0 and i >= len(shape) for i, d in enumerate(target)):
            raise Refused(f"has the target shape {target}", "export the model again")
        target = [shape[i] if d == 0 else d for i, d in enumerate(target)]
    if target.count(-1) == 1:
        known = math.prod(d for d in target if d != -1)
        target = [math.prod(shape) // known if d == -1 and known else d for d in target]
    return _view(call, tuple(target))


def flatten(call: Call) -> list[Value]:
    shape = _shape(call)
    axis = call.integer("axis", 1)
    if axis != len(shape):  # all axes in the first of the two
        (axis,) = call.axes([axis], len(shape))
    return _view(call, (math.prod(shape[:axis]), math.prod(shape[axis:])))


def squeeze(call: Call) -> list[Value]:
    shape = _shape(call)
    axes = call.ints(1, "axes")
    if axes is None:
        axes = [i for i, d in enumerate(shape) if d == 1]
    axes = call.axes(axes, len(shape))
    if any(shape[a] != 1 for a in axes):
        raise Refused(f"squeezes axes {axes} of {list(shape)}", "export the model again")
    return _view(call, tuple(d for i, d in enumerate(shape) if i not in axes))


def unsqueeze(call: Call) -> list[Value]:
    shape = list(_shape(call))
    axes = call.ints(1, "axes") or []
    rank = len(shape) + len(axes)
    for axis in sorted(call.axes(axes, rank)):
        shape.insert(axis, 1)
    return _view(call, tuple(shape))


def transpose(call: Call) -> list[Value]:
    shape = _shape(call)
    order = call.integers("perm") or list(range(len(shape)))[::-1]
    if sorted(order) != list(range(len(shape))):
        raise Refused(f"has the order {order} for {len(shape)} axes", "export the model again")
    moved = [a for a in order if shape[a] != 1]
    if moved != sorted(moved):
        raise Refused(
            f"reorders axes {order} of a {'x'.join(map(str, shape))} map",
            "export in channels-first order (NCHW) and transpose outputs on the host",
        )
    return _view(call, tuple(shape[a] for a in order))


def _shape(call: Call) -> tuple[int, ...]:
    value = call.values[0]
    return value.shape if isinstance(value, HostValue) else call.feature().shape


def _view(call: Call, shape: tuple[int, ...]) -> list[Value]:
    """The same elements under another shape."""
    value = call.values[0]
    old = _shape(call)
    if math.prod(shape) != math.prod(old) or min(shape, default=1) < 1:
        raise Refused(f"reshapes {list(old)} to {list(shape)}", "export the model again")
    if isinstance(value, HostValue):
        return [value] if shape == old else call.host("reshape", shape, shape=list(shape))
    return [Feature(call.feature().tensor, shape)]
