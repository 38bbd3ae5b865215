"""One ONNX node with its evaluated inputs: what an operator's import function works on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import AttributeProto

from fpga_gen.frontend.problems import Refused
from fpga_gen.frontend.values import Builder, Feature, HostValue, Value, native_shape
from fpga_gen_host.host_ops import HostOp

FLATTENED = "keep the map as (1, channels, height, width), or flatten it only before Gemm"
PADDED = "only a Conv or pool with the right padding can absorb a Pad; move the padding there"


@dataclass(frozen=True, eq=False)
class Call:
    """A node and its inputs. tail: everything that depends on it can run on the host; reaches:
    else a node that cannot; read: outputs that a node or the model's result depends on."""

    builder: Builder
    node: onnx.NodeProto
    opset: int
    values: tuple[Value | None, ...]
    tail: bool
    reaches: str = ""
    read: tuple[str, ...] = ()

    @property
    def op(self) -> str:
        return self.node.op_type

    @property
    def name(self) -> str:
        return self.node.name

    @property
    def output(self) -> str:
        return self.node.output[0]

    @property
    def extra_output(self) -> str:
        """Name of an output beside the first that something reads; empty if there is none."""
        return next((name for name in self.read if name in self.node.output[1:]), "")

    def integer(self, name: str, default: int) -> int:
        """An attribute that is a whole number."""
        found = self._attribute(name, AttributeProto.INT)
        return default if found is None else found.i

    def number(self, name: str, default: float) -> float:
        """An attribute that is a number with a fraction (float32)."""
        found = self._attribute(name, AttributeProto.FLOAT)
        return default if found is None else found.f

    def text(self, name: str, default: str) -> str:
        found = self._attribute(name, AttributeProto.STRING)
        return default if found is None else found.s.decode(errors="replace")

    def integers(self, name: str) -> list[int] | None:
        """An attribute that is a list of whole numbers; None if absent."""
        found = self._attribute(name, AttributeProto.INTS)
        return None if found is None else list(found.ints)

    def numbers(self, name: str) -> list[float] | None:
        """An attribute that is a list of numbers with a fraction (float32); None if absent."""
        found = self._attribute(name, AttributeProto.FLOATS)
        return None if found is None else list(found.floats)

    def _attribute(self, name: str, kind: AttributeProto.AttributeType) -> AttributeProto | None:
        for attribute in self.node.attribute:
            if attribute.name == name:
                if attribute.type != kind:
                    wanted = AttributeProto.AttributeType.Name(kind)
                    raise Refused(f"its attribute {name} is no {wanted}", "export the model again")
                return attribute
        return None

    def flag(self, name: str, default: bool) -> bool:
        """An attribute that is 0 or 1."""
        value = self.integer(name, int(default))
        if value not in (0, 1):
            raise Refused(f"has {name} = {value}", "export the model again")
        return bool(value)

    def axes(self, axes: Sequence[int], rank: int) -> list[int]:
        """Different axes of a tensor of `rank`, counted from its first one."""
        if any(not -rank <= a < rank for a in axes) or len({a % rank for a in axes}) < len(axes):
            shown = axes[0] if len(axes) == 1 else list(axes)
            raise Refused(f"has axis {shown} of {rank}", "export the model again")
        return [a % rank for a in axes]

    def has(self, index: int) -> bool:
        """Whether an optional input is given."""
        return index < len(self.values) and self.values[index] is not None

    def const(self, index: int, what: str) -> np.ndarray:
        """A constant input."""
        value = self.values[index] if self.has(index) else None
        if not isinstance(value, np.ndarray):
            raise Refused(f"{what} is not a constant", "make it a constant before exporting")
        return value

    def ints(self, index: int, name: str) -> list[int] | None:
        """Integers given as an input or, in older opsets, as an attribute; None if absent."""
        if self.has(index):
            return [int(v) for v in self.const(index, name).reshape(-1)]
        return self.integers(name)

    def weight(self, index: int, what: str) -> np.ndarray:
        """A constant of finite float32 weights with at least one element."""
        array = self.const(index, what)
        name = f"{what} '{self.node.input[index]}'"
        if array.size == 0:
            raise Refused(f"{name} is empty", "repair the weights")
        array = array.astype(np.float32, copy=False)
        if not np.isfinite(array).all():
            raise Refused(f"{name} holds NaN or infinite values", "repair the weights")
        return array

    def grid(self, index: int, filters: int, axis: int) -> np.ndarray | None:
        """(filters,) steps of a constant that was quantised along `axis`; None if it was not."""
        found = self.builder.imported.grids.get(self.node.input[index])
        if found is None:
            return None
        if found.scale.ndim and found.axis != axis:
            raise Refused(
                f"weight '{self.node.input[index]}' is quantised along axis {found.axis}",
                f"quantise it per output channel (axis {axis})",
            )
        return np.broadcast_to(found.scale, (filters,)).astype(np.float64)

    def feature(self, index: int = 0, *, padded: bool = False) -> Feature:
        """A feature map of any ONNX shape; one with pending zero padding only if `padded`."""
        value = self.values[index] if self.has(index) else None
        if isinstance(value, HostValue):
            raise Refused(
                f"works on the result of {value.steps[-1].kind}, which runs on the host",
                "only operators at the very end of the network may follow it",
            )
        if not isinstance(value, Feature):
            raise Refused(f"input {index} is a constant", "fold constants before exporting")
        if any(value.pads) and not padded:
            raise Refused("reads a zero-padded map", PADDED)
        return value

    def map(self, index: int = 0, *, padded: bool = False) -> Feature:
        """A feature map of shape (1, C, H, W)."""
        value = self.feature(index, padded=padded)
        top, left, bottom, right = value.pads
        n, c, h, w = native_shape(self.builder, value)
        if value.shape != (n, c, h + top + bottom, w + left + right):
            shape = "x".join(map(str, value.shape))
            raise Refused(f"reads a map that was reshaped to {shape}", FLATTENED)
        return value

    def result(self, tensor: str, shape: tuple[int, ...] | None = None) -> list[Value]:
        """The node's only result; shape defaults to the map's (1, C, H, W)."""
        return [Feature(tensor, shape or (1, *self.builder.shape(tensor)))]

    def host(self, kind: str, shape: tuple[int, ...], /, **attributes) -> list[Value]:
        """A step on the host after what input 0 is."""
        value = self.values[0]
        start = value if isinstance(value, HostValue) else self.to_host(self.feature())
        step = HostOp(kind, start.tensor, attributes, self.name)
        return [HostValue(start.tensor, shape, (*start.steps, step))]

    def to_host(self, value: Feature) -> HostValue:
        """The host's view of a feature, in its ONNX shape."""
        return on_host(self.builder, value, self.name)


def on_host(builder: Builder, value: Feature, onnx_name: str) -> HostValue:
    """A feature as the host sees it: a reshape where its ONNX shape is not the map's own."""
    if value.shape == native_shape(builder, value):
        return HostValue(value.tensor, value.shape, ())
    step = HostOp("reshape", value.tensor, {"shape": list(value.shape)}, onnx_name)
    return HostValue(value.tensor, value.shape, (step,))
