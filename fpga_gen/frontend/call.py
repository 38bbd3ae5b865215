"""One ONNX node with its evaluated inputs: what an operator's import function works on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx
from onnx import AttributeProto

from fpga_gen.frontend.gather import NO_PADS, materialised, without_pads
from fpga_gen.frontend.layout import layouts
from fpga_gen.frontend.problems import Refused
from fpga_gen.frontend.values import Builder, Feature, HostValue, Value, native_shape
from fpga_gen.frontend.view import View

FLATTENED = "keep channels and pixels apart: as (1, channels, height, width)"
PADDED = "only a Conv or pool with the right padding can absorb a Pad; move the padding there"


@dataclass(frozen=True, eq=False)
class Call:
    """A node and its inputs. tail: everything that depends on it can run on the host; final: and
    nothing of that is a convolution or a product of two maps; reaches: else a node that cannot;
    read: outputs that a node or the model's result depends on."""

    builder: Builder
    node: onnx.NodeProto
    opset: int
    values: tuple[Value | None, ...]
    tail: bool
    reaches: str = ""
    read: tuple[str, ...] = ()
    final: bool = False

    def with_values(self, values: tuple[Value | None, ...]) -> Call:
        """The same node with other inputs."""
        return replace(self, values=values)

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
        return self.whole_numbers(index, name) if self.has(index) else self.integers(name)

    def whole_numbers(self, index: int, what: str) -> list[int]:
        """A constant of whole numbers."""
        array = self.const(index, what)
        if array.dtype.kind not in "iu":
            raise Refused(f"{what} is of {array.dtype}, not of whole numbers", "repair the model")
        return [int(v) for v in array.reshape(-1)]

    def whole_number(self, index: int, what: str) -> int:
        """A constant of one whole number."""
        numbers = self.whole_numbers(index, what)
        if len(numbers) != 1:
            raise Refused(f"{what} has {len(numbers)} elements, not one", "repair the model")
        return numbers[0]

    def scalar(self, index: int, what: str) -> float:
        """A constant of one number."""
        array = self.const(index, what)
        if array.size != 1 or array.dtype.kind not in "fiub":
            raise Refused(
                f"{what} is {array.dtype} of shape {list(array.shape)}, not one number",
                "repair the model",
            )
        return float(array.reshape(-1)[0])

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

    def feature(self, index: int = 0) -> Feature:
        """A feature map of any ONNX shape, its elements in row-major order."""
        value = self._on_engine(index)
        if isinstance(value, Feature):
            return value
        return self._materialised(value, index)

    def map(self, index: int = 0, *, padded: bool = False) -> Feature:
        """A feature map of shape (1, C, H, W); with its zero padding apart only if `padded`."""
        value, pads = self._on_engine(index), NO_PADS
        if len(value.shape) != 4 or value.shape[0] != 1:
            raise Refused(f"reads a map of shape {shown(value.shape)}", FLATTENED)
        shape = value.shape
        if isinstance(value, View) and padded:
            value, pads = without_pads(value)
        x = value if isinstance(value, Feature) else self._materialised(value, index)
        if x.shape != native_shape(self.builder, x):
            x = self._materialised(self.builder.view(x), index)
        return Feature(x.tensor, shape, pads)

    def view(self, index: int = 0) -> View:
        """A feature map as a view, whatever it reads."""
        return self.builder.view(self._on_engine(index))

    def _on_engine(self, index: int) -> Feature | View:
        value = self.values[index] if self.has(index) else None
        if isinstance(value, HostValue):
            raise Refused(
                f"works on the result of {value.origin}, which runs on the host",
                "only operators at the very end of the network may follow it",
            )
        if not isinstance(value, Feature | View):
            raise Refused(f"input {index} is a constant", "fold constants before exporting")
        return value

    def _materialised(self, view: View, index: int) -> Feature:
        """A view as a map of its shape."""
        shape, output = view.shape, f"{self.output}.in{index}"
        if view.padded and len(shape) == 4 and not self.reaches and not self.tail:
            raise Refused("reads a zero-padded map", PADDED)
        for layout in layouts(self.builder, view, [1] if len(shape) > 1 else []):
            whole = layout.forward(view) if len(shape) != 4 else view
            if whole is not None and shape[:1] == (1,):
                found = materialised(self.builder, whole, output, self.name)
                if found is not None:
                    return Feature(found.tensor, shape)
        raise Refused(f"reads a map that was reshaped or reordered to {shown(shape)}", FLATTENED)

    def result(self, tensor: str, shape: tuple[int, ...] | None = None) -> list[Value]:
        """The node's only result; shape defaults to the map's (1, C, H, W)."""
        return [Feature(tensor, shape or (1, *self.builder.shape(tensor)))]


def shown(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))
