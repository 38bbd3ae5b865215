"""Quantised IR: integers only, the single truth that every later level equals bit for bit.

v(tensor) = stored - zero is the true integer of an element; real = scale * v.
A node's epilogue has the format of its output, and the table of its activation if that is no clip.
Nodes keep the logical channel order of the float graph; where a channel sits in memory is the
schedule's business and follows from `QTensor.kinds` and `QTensor.positions`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from fpga_gen.contract.epilogue import Epilogue
from fpga_gen.contract.numerics import Format, Sp2Code
from fpga_gen.graph.ir import AxisTable
from fpga_gen.quant.groups import weight_groups
from fpga_gen_host.host_ops import HostOp
from fpga_gen_host.model_input import HostInput


@dataclass(frozen=True)
class QTensor:
    """A quantised feature map. kinds[c] is the column kind (DSP or SP2) that computes channel c;
    tensors tied by elementwise nodes have equal kinds. None: network input (all orders equal).
    period: the columns begin anew after so many channels (0: they never do), see quant/kinds.py.
    positions[c] is the place of channel c, on a column of its kind; (): the channels of each kind
    keep their order, see quant/zero_order.py."""

    name: str
    channels: int
    height: int
    width: int
    scale: float
    format: Format
    kinds: tuple[int, ...] | None = None
    period: int = 0
    positions: tuple[int, ...] = ()


@dataclass(frozen=True, eq=False)
class QConvTerm:
    """One convolution of a QConv. inputs: the concatenated segments, in channel order.

    weight: int8 (out_channels, sum of input channels, kh, kw); a filter of kind SP2 only has
    levels of the graph's SP2 code. Geometry as in graph.ir.ConvTerm (groups are resolved). low: its
    sums count 1/256 of those of 8-bit maps in other terms (see quant/additions.py). asked: weights
    that the model's layer has, without the zeros between groups and for channels of the maps that
    it does not read; 0: all.
    """

    inputs: tuple[str, ...]
    weight: np.ndarray
    stride: tuple[int, int]
    pads: tuple[int, int, int, int]
    dilation: tuple[int, int]
    low: bool = False
    asked: int = 0

    @property
    def kernel(self) -> tuple[int, int]:
        return self.weight.shape[2], self.weight.shape[3]

    @cached_property
    def groups(self) -> int:
        """Groups that the weights fall into."""
        return weight_groups(self.weight)

    @property
    def used_weights(self) -> int:
        """Weights that the float network asks for."""
        return self.asked or self.weight.size

    @cached_property
    def read(self) -> np.ndarray | None:
        """Which channels of its maps the model's layer reads, bool; None: not the same for all
        filters, or not at every tap."""
        filters, channels, *kernel = self.weight.shape
        if self.used_weights == self.weight.size:
            return np.ones(channels, bool)
        used = self.weight.any((0, 2, 3))
        whole = filters * int(used.sum()) * math.prod(kernel)
        return used if self.used_weights == whole else None


@dataclass(frozen=True, eq=False)
class QConv:
    """stored = finish(sum of terms, epilogue, bias, mult, shift); a padded tap has v = 0.

    acc = sum over terms, inputs, taps of w * v * (256 if the conv is `wide`, the input has 8 bits
    and the term is not `low`, else 1); `wide` means that an input has 16 bits or a term is low.
    bias int32, mult int32 (unsigned 16 bit), shift int32: each (out_channels,).
    """

    name: str
    terms: tuple[QConvTerm, ...]
    output: str
    wide: bool
    bias: np.ndarray
    mult: np.ndarray
    shift: np.ndarray
    epilogue: Epilogue
    onnx_name: str = ""

    @property
    def inputs(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(i for t in self.terms for i in t.inputs))

    @property
    def is_sum(self) -> bool:
        """Whether it stands for a sum of maps, see quant/additions.py."""
        return any(t.low for t in self.terms)

    def contradiction(self, tensors: Mapping[str, QTensor]) -> str:
        """What its maps have against `wide` and its terms; empty: nothing."""
        sixteen = any(tensors[name].format.bits == 16 for name in self.inputs)
        if sixteen and self.is_sum:
            return "a term is low beside a map of 16 bits"
        if self.wide != (sixteen or self.is_sum):
            return "its maps contradict that it is wide"
        return ""


@dataclass(frozen=True)
class QMaxPool:
    """8-bit only; scale and format of input and output are equal."""

    name: str
    input: str
    output: str
    kernel: tuple[int, int]
    stride: tuple[int, int]
    pads: tuple[int, int, int, int]
    dilation: tuple[int, int]
    onnx_name: str = ""

    @property
    def inputs(self) -> tuple[str, ...]:
        return (self.input,)


@dataclass(frozen=True)
class QResample:
    """acc = sum over taps of wy * wx * v; stored = finish(acc, epilogue, 0, mult, shift)."""

    name: str
    input: str
    output: str
    y: AxisTable
    x: AxisTable
    mult: int
    shift: int
    epilogue: Epilogue
    onnx_name: str = ""

    @property
    def inputs(self) -> tuple[str, ...]:
        return (self.input,)


@dataclass(frozen=True)
class QAdd:
    """acc = sum of factors[i] * v(inputs[i]) (factors: signed 16 bit), then finish."""

    name: str
    inputs: tuple[str, ...]
    factors: tuple[int, ...]
    output: str
    mult: int
    shift: int
    epilogue: Epilogue
    onnx_name: str = ""


@dataclass(frozen=True)
class QMul:
    """acc = v(a) * v(b), then finish; b may have one pixel, which meets all of a."""

    name: str
    inputs: tuple[str, str]
    output: str
    mult: int
    shift: int
    epilogue: Epilogue
    onnx_name: str = ""


@dataclass(frozen=True)
class QInterleave:
    """Depth to space as graph.ir.Interleave has it; mult and shift say 1: it copies."""

    name: str
    input: str
    output: str
    block: tuple[int, int]
    mult: int
    shift: int
    epilogue: Epilogue
    onnx_name: str = ""

    @property
    def inputs(self) -> tuple[str, ...]:
        return (self.input,)


QNode = QConv | QMaxPool | QResample | QAdd | QMul | QInterleave


@dataclass(frozen=True, eq=False)
class QuantGraph:
    """A whole quantised network in topological order; concats are gone (segments)."""

    name: str
    input: str
    outputs: tuple[str, ...]
    tensors: dict[str, QTensor]
    nodes: tuple[QNode, ...]
    sp2: Sp2Code
    host_input: HostInput
    host_ops: tuple[HostOp, ...] = ()
    output_names: tuple[str, ...] = ()
    facts: dict = field(default_factory=dict)
    results: tuple[str, ...] = ()
