"""What an ONNX value is during import, and the builder that collects the graph."""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import dataclass, field

import numpy as np

from fpga_gen.frontend.budget import MAX_ELEMENTS, Budget
from fpga_gen.frontend.inputs import MAX_SIZE
from fpga_gen.frontend.problems import Refused
from fpga_gen.frontend.view import View, is_whole, outside, whole
from fpga_gen.graph.axis import broadcast_axis, identity_axis
from fpga_gen.graph.ir import (
    Activation,
    Concat,
    Conv,
    ConvTerm,
    Interleave,
    MaxPool,
    Node,
    QuantHints,
    Resample,
    Select,
    Tensor,
    TensorHint,
)
from fpga_gen_host.host_ops import HostOp


@dataclass(frozen=True)
class Feature:
    """A whole feature map on the engine, seen with an ONNX shape.

    The elements are those of `tensor` in row-major order, whatever the shape (reshapes cost
    nothing); any other order or part is a `View`. pads: only for who asks for a padded map: zero
    padding (top, left, bottom, right) in `shape` but not in the tensor.
    """

    tensor: str
    shape: tuple[int, ...]
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)


@dataclass(frozen=True)
class HostValue:
    """A value at the tail of the network, which the host computes. shape: an axis of 0 has a size
    that only the frame tells; dtype: float32, int64 or bool; origin: the operator that brought it
    to the host."""

    name: str
    shape: tuple[int, ...]
    dtype: str = "float32"
    origin: str = ""


@dataclass(frozen=True)
class Unknown:
    """The result of a refused node whose shape cannot be told."""


@dataclass(frozen=True)
class Quantised:
    """What lies between QuantizeLinear and DequantizeLinear: a value rounded to integers.

    hint: None after a refused QuantizeLinear, so that only that one is a problem.
    """

    value: Feature | View | HostValue
    hint: TensorHint | None


Value = np.ndarray | Feature | View | HostValue | Quantised | Unknown


@dataclass(frozen=True, eq=False)
class Grid:
    """Steps of a dequantised constant: scale () or (n,) along `axis`."""

    scale: np.ndarray
    axis: int


@dataclass
class Imported:
    """Quantisation found in the model. hints, same, notes: as in QuantHints; grids: by ONNX name
    of the constant; clipped: (tensor, lo, hi) -> the tensor that saturates there."""

    hints: dict[str, TensorHint] = field(default_factory=dict)
    same: dict[str, str] = field(default_factory=dict)
    notes: list[tuple[str, str]] = field(default_factory=list)
    grids: dict[str, Grid] = field(default_factory=dict)
    clipped: dict[tuple[str, float, float], str] = field(default_factory=dict)

    def result(self) -> QuantHints | None:
        """The graph's hints; None if nothing was quantised."""
        if not (self.hints or self.notes or self.grids):
            return None
        return QuantHints(dict(self.hints), dict(self.same), tuple(self.notes))


@dataclass
class Builder:
    """Nodes and tensors found so far, in topological order. producers: the node of a tensor;
    ranges: what the nodes guarantee for a map, see `value_range`; bases, order, starts: where the
    maps begin in the addresses of views; sources: (map, channel) of all channels -> the map that
    holds them; host_ops: operators of the tail; integer_input: the model takes integers."""

    budget: Budget = field(default_factory=Budget)
    tensors: dict[str, Tensor] = field(default_factory=dict)
    nodes: list[Node] = field(default_factory=list)
    names: set[str] = field(default_factory=set)
    imported: Imported = field(default_factory=Imported)
    producers: dict[str, Node] = field(default_factory=dict)
    ranges: dict[str, Activation] = field(default_factory=dict)
    bases: list[int] = field(default_factory=lambda: [0])
    order: list[str] = field(default_factory=list)
    starts: dict[str, int] = field(default_factory=dict)
    sources: dict[tuple[tuple[str, int], ...], str] = field(default_factory=dict)
    host_ops: list[HostOp] = field(default_factory=list)
    host_names: set[str] = field(default_factory=set)
    integer_input: bool = False

    def tensor(self, name: str, shape: tuple[int, int, int]) -> str:
        """Register a new map; the name is made unique if it is taken."""
        name = unique(name, self.tensors)
        self.tensors[name] = Tensor(name, *shape)
        self.order.append(name)
        self.starts[name] = self.bases[-1]
        self.bases.append(self.bases[-1] + math.prod(shape))
        return name

    def base(self, tensor: str) -> int:
        """Address of the first element of a map."""
        return self.starts[tensor]

    def owner(self, address: int) -> str:
        """The map that an address lies in."""
        return self.order[bisect_right(self.bases, address) - 1]

    def view(self, value: Feature | View) -> View:
        """A map as a view."""
        if isinstance(value, View):
            return value
        return whole(self.base(value.tensor), value.shape)

    def settled(self, view: View) -> Feature | View:
        """The view as a whole map if it is one."""
        start = sum(int(a[0]) for a in view.axes)
        if outside(np.array(start)) or start >= self.bases[-1]:
            return view
        name = self.owner(start)
        if is_whole(view, self.base(name), math.prod(self.shape(name))):
            return Feature(name, view.shape)
        return view

    def shape(self, tensor: str) -> tuple[int, int, int]:
        return self.tensors[tensor].shape

    def add(
        self, kind: type, output: str, shape: tuple[int, int, int], onnx_name: str, **fields
    ) -> str:
        """Append a node that computes a new map of `shape`; returns the map's name."""
        if min(shape) < 1:
            raise Refused(f"its result {shape} is empty", "use a larger input")
        if math.prod(shape) > MAX_ELEMENTS:
            raise Refused(f"its result {shape} is too large", "export the model again")
        arrays = [fields["bias"], *(t.weight for t in fields["terms"])] if kind is Conv else []
        if not all(np.isfinite(a).all() for a in arrays):
            raise Refused("has NaN or infinite factors", "repair the weights")
        name = unique(onnx_name or output, self.names)
        self.names.add(name)
        tensor = self.tensor(output, shape)
        node = kind(name=name, output=tensor, onnx_name=onnx_name, **fields)
        if isinstance(node, Conv):
            for term in node.terms:
                self.budget.weigh(term.weight.size, term.weight.size * term.groups)
        self.nodes.append(node)
        self.producers[tensor] = node
        found = self._range(node)
        if found is not None:
            self.ranges[tensor] = found
        return tensor

    def value_range(self, tensor: str) -> Activation | None:
        """Range that the nodes so far guarantee for a map; None for the network's input, whose
        quantisation saturates anyway, and its maxima."""
        return self.ranges.get(tensor)

    def _range(self, node: Node) -> Activation | None:
        if isinstance(node, MaxPool | Select | Interleave):
            return self.value_range(node.input)
        if isinstance(node, Concat):
            parts = [self.value_range(name) or Activation() for name in node.inputs]
            return Activation(min(p.lo for p in parts), max(p.hi for p in parts))
        if isinstance(node, Resample) and _averages(node):
            inner = self.value_range(node.input) or Activation()
            return inner.then(node.activation)
        return node.activation

    def affine(
        self, tensor: str, output: str, scale: np.ndarray, offset: np.ndarray, onnx_name: str
    ) -> str:
        """y = scale * x + offset per channel, as a 1x1 convolution with one group per channel."""
        shape = self.shape(tensor)
        weight = np.broadcast_to(scale, shape[:1]).astype(np.float32).reshape(-1, 1, 1, 1)
        bias = np.broadcast_to(offset, shape[:1]).astype(np.float32)
        term = ConvTerm(tensor, weight, groups=shape[0])
        return self.add(Conv, output, shape, onnx_name, terms=(term,), bias=bias)

    def copy(self, tensor: str, output: str, onnx_name: str, **fields) -> str:
        """A Resample that copies (and clips, if `fields` has a clip)."""
        _, height, width = shape = self.shape(tensor)
        return self.add(
            Resample, output, shape, onnx_name,
            input=tensor, y=identity_axis(height), x=identity_axis(width), **fields,
        )  # fmt: skip

    def expand(self, tensor: str, shape: tuple[int, int, int], output: str, onnx_name: str) -> str:
        """Broadcast a map to `shape`: space by repetition, one channel by a convolution of ones."""
        have = self.shape(tensor)
        if have[1:] != shape[1:]:
            axes = [
                identity_axis(m) if n == m else broadcast_axis(m)
                for n, m in zip(have[1:], shape[1:], strict=True)
            ]
            tensor = self.add(
                Resample, f"{output}.expanded", (have[0], *shape[1:]), onnx_name,
                input=tensor, y=axes[0], x=axes[1],
            )  # fmt: skip
        if have[0] != shape[0]:
            term = ConvTerm(tensor, np.ones((shape[0], 1, 1, 1), np.float32))
            tensor = self.add(
                Conv, f"{output}.channels", shape, onnx_name,
                terms=(term,), bias=np.zeros(shape[0], np.float32),
            )  # fmt: skip
        return tensor


def native_shape(builder: Builder, feature: Feature) -> tuple[int, ...]:
    """(1, C, H, W) of the map behind a feature."""
    return (1, *builder.shape(feature.tensor))


def _averages(node: Resample) -> bool:
    """Whether every result lies between the smallest and the largest of its inputs."""
    return all(w >= 0 for table in (node.y, node.x) for row in table.weights for w in row)


def phantom(builder: Builder, output: str, shape: tuple[int, ...] | None) -> Value:
    """Stands for a refused node's result, so that the nodes after it are still looked at."""
    if not shape or shape[0] != 1 or len(shape) not in (2, 4):
        return Unknown()
    if min(shape) < 1 or max(shape) > MAX_SIZE:
        return Unknown()
    _, c, h, w = (*shape, 1, 1)[:4]
    assert math.prod(shape) == c * h * w
    return Feature(builder.tensor(output, (c, h, w)), tuple(shape))


def unique(name: str, taken: dict | set) -> str:
    if name not in taken:
        return name
    number = 1
    while f"{name}.{number}" in taken:
        number += 1
    return f"{name}.{number}"
