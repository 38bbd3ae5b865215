"""Float graph IR: what the network computes, free of ONNX spelling.

All tensors have batch 1 and shape (channels, height, width). Nodes are frozen; a pass is a
pure function Graph -> Graph. Nodes are kept in topological order.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from fpga_gen.graph.activation import Activation
from fpga_gen_host.host_ops import HostOp
from fpga_gen_host.model_input import HostInput


@dataclass(frozen=True)
class Tensor:
    """A feature map of shape (channels, height, width)."""

    name: str
    channels: int
    height: int
    width: int

    @property
    def shape(self) -> tuple[int, int, int]:
        return (self.channels, self.height, self.width)


@dataclass(frozen=True, eq=False)
class ConvTerm:
    """One convolution that is accumulated into a Conv node (ONNX Conv semantics).

    weight: float32 (out_channels, in_channels / groups, kh, kw); pads: (top, left, bottom, right),
    below zero where the map is cropped; stride, dilation: (y, x). grid: (out_channels,) real step
    of each filter of a model that was quantised elsewhere (weight = step * integer); None: no such
    steps. Whoever uses it checks that the weights still lie on it. sparse: weights of
    zero stand for no connection and stay zero when the others are rounded.
    """

    input: str
    weight: np.ndarray
    stride: tuple[int, int] = (1, 1)
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1
    grid: np.ndarray | None = None
    sparse: bool = False

    @property
    def kernel(self) -> tuple[int, int]:
        return self.weight.shape[2], self.weight.shape[3]


@dataclass(frozen=True, eq=False)
class Conv:
    """y = activation(sum of terms + bias). Several terms are an Add of convolutions fused into one
    accumulation; all terms have the same output size and the same `walk`. bias: float32
    (out_channels,)."""

    name: str
    terms: tuple[ConvTerm, ...]
    bias: np.ndarray
    output: str
    activation: Activation = Activation()
    onnx_name: str = ""

    @property
    def inputs(self) -> tuple[str, ...]:
        return tuple(t.input for t in self.terms)


@dataclass(frozen=True)
class MaxPool:
    """ONNX MaxPool; padding never wins. ceil_mode is resolved into pads (extra bottom/right)."""

    name: str
    input: str
    output: str
    kernel: tuple[int, int]
    stride: tuple[int, int]
    pads: tuple[int, int, int, int]
    dilation: tuple[int, int] = (1, 1)
    onnx_name: str = ""

    @property
    def inputs(self) -> tuple[str, ...]:
        return (self.input,)


@dataclass(frozen=True)
class AxisTable:
    """One axis of a separable linear resampling (Resize, average pooling, identity).

    out[i] = sum_k weights[i][k] * in[start[i] + k] / denominator, all taps inside the input.
    Weights are integers; every row sums to `denominator`, every row has the same number of taps.
    """

    in_size: int
    start: tuple[int, ...]
    weights: tuple[tuple[int, ...], ...]
    denominator: int

    @property
    def out_size(self) -> int:
        return len(self.start)

    @property
    def taps(self) -> int:
        return len(self.weights[0])


@dataclass(frozen=True)
class Resample:
    """Resize (nearest, linear), AveragePool, GlobalAveragePool, ReduceMean over space, or a
    plain copy with an activation: separable linear resampling, then activation.

    error: the most that a weight of either table differs from the operator's own (0.0 whenever
    those have a common denominator <= 255).
    """

    name: str
    input: str
    output: str
    y: AxisTable
    x: AxisTable
    activation: Activation = Activation()
    onnx_name: str = ""
    error: float = 0.0

    @property
    def inputs(self) -> tuple[str, ...]:
        return (self.input,)


@dataclass(frozen=True)
class Add:
    """Elementwise sum of two or more maps of one shape, then activation."""

    name: str
    inputs: tuple[str, ...]
    output: str
    activation: Activation = Activation()
    onnx_name: str = ""


@dataclass(frozen=True)
class Mul:
    """Elementwise product of exactly two maps, then activation (n-way products are chains). The
    second has the shape of the first, or one pixel: a factor for each channel."""

    name: str
    inputs: tuple[str, str]
    output: str
    activation: Activation = Activation()
    onnx_name: str = ""


@dataclass(frozen=True)
class Concat:
    """Channel concatenation; never executed, consumers read the segments in place."""

    name: str
    inputs: tuple[str, ...]
    output: str
    onnx_name: str = ""


@dataclass(frozen=True)
class Select:
    """Some channels of a map in any order; never executed, consumers read them in place."""

    name: str
    input: str
    output: str
    channels: tuple[int, ...]
    onnx_name: str = ""

    @property
    def inputs(self) -> tuple[str, ...]:
        return (self.input,)

    @property
    def activation(self) -> Activation:
        """It has none."""
        return Activation()


@dataclass(frozen=True)
class Interleave:
    """Depth to space: pixel (y * bh + py, x * bw + px) of output channel c is pixel (y, x) of input
    channel (py * bw + px) * depth + c, for block = (bh, bw) and depth = input channels / (bh * bw).

    Only the first `channels` of each phase are kept: so the phases begin with a word of the memory,
    see `PHASE_CHANNELS`.
    """

    name: str
    input: str
    output: str
    block: tuple[int, int]
    channels: int
    onnx_name: str = ""

    @property
    def inputs(self) -> tuple[str, ...]:
        return (self.input,)

    @property
    def activation(self) -> Activation:
        """It has none."""
        return Activation()


PHASE_CHANNELS = 16  # the depth of an Interleave is a multiple: of the channels of any word

ACTIVATED = Conv | Resample | Add | Mul  # nodes with an activation
Node = ACTIVATED | MaxPool | Concat | Select | Interleave


@dataclass(frozen=True)
class TensorHint:
    """How a model that was quantised elsewhere stores a map: real = scale * (q - zero_point), q an
    integer of `bits` bits."""

    scale: float
    zero_point: int
    signed: bool
    bits: int = 8


@dataclass(frozen=True)
class QuantHints:
    """Quantisation that came with the model (the weights' steps are `ConvTerm.grid`).

    tensors: by name of the map; a rewrite that removes a map leaves its entry behind. same: map ->
    a clipped copy with the same levels, which makes up for the map if that is removed. notes:
    (name, reason) of what the import could not keep.
    """

    tensors: dict[str, TensorHint]
    same: dict[str, str] = field(default_factory=dict)
    notes: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, eq=False)
class Graph:
    """A whole network. `outputs` are engine tensors, `host_ops` follow on the host; results: the
    value that each of `output_names` is (empty: the output in its place); hints: None for a float
    model."""

    name: str
    input: str
    outputs: tuple[str, ...]
    tensors: dict[str, Tensor]
    nodes: tuple[Node, ...]
    host_input: HostInput
    host_ops: tuple[HostOp, ...] = ()
    output_names: tuple[str, ...] = ()
    hints: QuantHints | None = None
    results: tuple[str, ...] = ()

    @property
    def has_map_scales(self) -> bool:
        """Whether maps came quantised, not weights alone."""
        return self.hints is not None and bool(self.hints.tensors)

    def producers(self) -> dict[str, Node]:
        return {n.output: n for n in self.nodes}

    def consumers(self) -> dict[str, list[Node]]:
        table: dict[str, list[Node]] = {t: [] for t in self.tensors}
        for node in self.nodes:
            for name in dict.fromkeys(node.inputs):
                table[name].append(node)
        return table


def walk(graph: Graph, term: ConvTerm) -> tuple[int, int, tuple[int, int]]:
    """(height, width, stride) of what a convolution reads: the engine goes through all terms of
    a Conv with one set of addresses, so they must agree in it."""
    source = graph.tensors[term.input]
    return source.height, source.width, term.stride


def approximations(graph: Graph) -> list[tuple[str, str]]:
    """(node, what differs from the model) of nodes that the engine's 8-bit resampling weights
    cannot hold exactly."""
    return [
        (node.onnx_name or node.name, f"interpolation weights off by up to {node.error:.1e}")
        for node in graph.nodes
        if isinstance(node, Resample) and node.error
    ]


def is_gated(graph: Graph, node: Mul) -> bool:
    """Whether a product has one factor for each channel of a map."""
    return graph.tensors[node.inputs[1]].shape != graph.tensors[node.output].shape


def term_weights(term: ConvTerm) -> int:
    """Weights that a convolution asks for; zeros of a sparse one are none."""
    return int(np.count_nonzero(term.weight)) if term.sparse else term.weight.size


def needs_tables(graph: Graph) -> bool:
    """Whether the network needs an engine with `activations`: a function that is no clip, or a
    product with one factor for each channel."""
    return any(
        (isinstance(node, ACTIVATED) and not node.activation.is_clip)
        or (isinstance(node, Mul) and is_gated(graph, node))
        for node in graph.nodes
    )


def conv_macs(graph: Graph) -> int:
    """Multiply-accumulates of all convolutions, counted on the unpadded float shapes."""
    total = 0
    for node in graph.nodes:
        if isinstance(node, Conv):
            out = graph.tensors[node.output]
            total += sum(term_weights(t) for t in node.terms) * out.height * out.width
    return total
