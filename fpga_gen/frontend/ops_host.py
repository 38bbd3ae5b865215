"""Sigmoid, Softmax and ArgMax at the very end of the network, on the host."""

from __future__ import annotations

import math

from fpga_gen.frontend.call import Call
from fpga_gen.frontend.problems import Refused
from fpga_gen.frontend.values import HostValue, Value


def _final(call: Call) -> tuple[int, ...]:
    """Shape of the input; Refused unless only host operators follow."""
    if not call.tail:
        raise Refused(
            f"is in the middle of the network ('{call.reaches}' depends on it)",
            f"only a final {call.op} is supported, it runs on the host",
        )
    value = call.values[0]
    return value.shape if isinstance(value, HostValue) else call.feature().shape


def _axis(call: Call, default: int, rank: int) -> int:
    return call.axes([call.integer("axis", default)], rank)[0]


def sigmoid(call: Call) -> list[Value]:
    return call.host("sigmoid", _final(call))


def softmax(call: Call) -> list[Value]:
    shape = _final(call)
    if call.opset >= 13:
        return call.host("softmax", shape, axis=_axis(call, -1, len(shape)))
    axis = _axis(call, 1, len(shape))
    if math.prod(shape[axis + 1 :]) == 1:
        return call.host("softmax", shape, axis=axis)
    # Before opset 13 all axes from `axis` on are one.
    matrix = [math.prod(shape[:axis]), math.prod(shape[axis:])]
    (value,) = call.host("reshape", shape, shape=matrix)
    assert isinstance(value, HostValue)
    for kind, attributes in (("softmax", {"axis": 1}), ("reshape", {"shape": list(shape)})):
        step = type(value.steps[0])(kind, value.tensor, attributes, call.name)
        value = HostValue(value.tensor, shape, (*value.steps, step))
    return [value]


def argmax(call: Call) -> list[Value]:
    shape = _final(call)
    if call.flag("select_last_index", False):
        raise Refused("selects the last of equal values", "export with select_last_index = 0")
    axis = _axis(call, 0, len(shape))
    keep = call.flag("keepdims", True)
    result = tuple(1 if i == axis else d for i, d in enumerate(shape) if keep or i != axis)
    return call.host("argmax", result, axis=axis, keepdims=keep)
