"""Grows small quantised graphs node by node, with values and tables for the tests."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, replace

import numpy as np

from fpga_gen.contract.column_kinds import weight_codes
from fpga_gen.contract.epilogue import Epilogue
from fpga_gen.contract.isa import TABLE_ENTRIES
from fpga_gen.contract.numerics import I8, I16, U8, Format, multiplier
from fpga_gen.contract.params import EngineParams
from fpga_gen.graph.ir import AxisTable
from fpga_gen.quant.additions import as_convolution
from fpga_gen.quant.convolve import out_size
from fpga_gen.quant.interpreter import conv_accumulators, run_node, stored_dtype
from fpga_gen.quant.ir import (
    QAdd,
    QConv,
    QConvTerm,
    QMaxPool,
    QMul,
    QNode,
    QResample,
    QTensor,
    QuantGraph,
)
from fpga_gen_host.model_input import HostInput

THREE_MODES = EngineParams(
    pixels=2,
    in_channels=8,
    dsp_columns=12,
    sp2_columns=6,
    modes=(1, 2, 3),
    tile_groups=16,
    bank_rows=4096,
    ports=1,
    weight_words=1024,
    program_words=4096,
)
THREE_PAIRS = replace(THREE_MODES, pixels=4, exit_pixels=2)

DOUBLE_CLOCK = EngineParams(  # with fewer columns than a word has channels
    pixels=2,
    in_channels=16,
    dsp_columns=8,
    sp2_columns=4,
    modes=(1, 2),
    tile_groups=16,
    bank_rows=2048,
    ports=1,
    weight_words=1024,
    program_words=2048,
    double_clock=True,
)


@dataclass(frozen=True, eq=False)
class Example:
    """A graph, a stored input, and the stored value of every tensor for it."""

    graph: QuantGraph
    stored_input: np.ndarray
    values: dict[str, np.ndarray]


class Builder:
    """Grows a graph node by node; scales follow the values that a random input produces.

    curves: random tables that 8-bit results index, two times in three."""

    def __init__(self, name: str, params: EngineParams, seed: int = 0, curves: int = 0) -> None:
        self.name, self.params = name, params
        self.rng = np.random.default_rng((zlib.crc32(name.encode()), seed))
        self.tensors: dict[str, QTensor] = {}
        self.values: dict[str, np.ndarray] = {}
        self.nodes: list[QNode] = []
        self.curves = [
            tuple(int(v) for v in self.rng.integers(-128, 128, TABLE_ENTRIES))
            for _ in range(curves)
        ]

    def _epilogue(self, fmt: Format) -> Epilogue:
        if self.curves and fmt.bits == 8 and self.rng.random() < 2 / 3:
            return Epilogue.through(self.curves[self.rng.integers(len(self.curves))], fmt)
        return Epilogue.whole(fmt)

    def graph(self, outputs: tuple[str, ...] = ()) -> QuantGraph:
        first = next(iter(self.tensors.values()))
        return QuantGraph(
            name=self.name,
            input=first.name,
            outputs=outputs or (next(reversed(self.tensors)),),
            tensors=dict(self.tensors),
            nodes=tuple(self.nodes),
            sp2=self.params.sp2,
            host_input=HostInput((first.channels, first.height, first.width)),
        )

    def example(self, *outputs: str) -> Example:
        graph = self.graph(outputs)
        return Example(graph, self.values[graph.input], dict(self.values))

    def input(self, channels: int, height: int, width: int, fmt: Format = I8) -> str:
        tensor = QTensor("image", channels, height, width, 0.05, fmt)
        self.tensors["image"] = tensor
        self.values["image"] = self.rng.integers(
            fmt.lo, fmt.hi + 1, (channels, height, width)
        ).astype(stored_dtype(tensor))
        return "image"

    def kinds(self, channels: int, period: int = 0, block: int = 0) -> tuple[int, ...]:
        """The engine's columns for `channels` outputs, dealt to the channels at random, within
        every `block` channels (0: among all)."""
        kinds = [self.params.column_kind(j, period) for j in range(channels)]
        dealt = []
        for first in range(0, channels, block or channels):
            dealt += self.rng.permutation(kinds[first : first + (block or channels)]).tolist()
        return tuple(dealt)

    def _out(
        self, shape: tuple[int, int, int], fmt: Format, kinds: tuple | None, period: int = 0
    ) -> QTensor:
        tensor = QTensor(f"t{len(self.nodes)}", *shape, 0.05, fmt, kinds, period)
        self.tensors[tensor.name] = tensor
        return tensor

    def _add(self, node: QNode) -> str:
        self.nodes.append(node)
        self.values[node.output] = run_node(self.graph(), node, self.values)
        return node.output

    def _scale(self, acc: np.ndarray, fmt: Format) -> tuple[int, int]:
        """mult, shift that spread an accumulator over the format, with some clipping."""
        spread = max(float(np.std(acc.astype(np.float64))), 1.0)
        target = 0.45 * (fmt.hi - fmt.lo) / 2 if fmt is not U8 else 0.45 * (fmt.hi - fmt.lo)
        return multiplier(min(target / spread * self.rng.uniform(0.7, 1.4), 1.0))

    def weights(self, kinds: tuple, channels: int, kernel: tuple[int, int], top: int) -> np.ndarray:
        """int8 (F, C, kh, kw): levels of the codes of the kinds, at most `top`."""
        codes = weight_codes(self.params.sp2)
        out = np.empty((len(kinds), channels, *kernel), np.int8)
        for f, kind in enumerate(kinds):
            levels, shape = codes[kind].levels, out.shape[1:]
            dense = self.rng.integers(-top, top + 1, shape)
            sparse = levels[np.abs(levels) <= top]
            out[f] = dense if len(levels) > 2 * top else self.rng.choice(sparse, shape)
        return out

    def term(
        self,
        inputs: str | tuple[str, ...],
        kinds: tuple,
        kernel: tuple[int, int] = (1, 1),
        stride: tuple[int, int] = (1, 1),
        pads: tuple[int, int, int, int] = (0, 0, 0, 0),
        dilation: tuple[int, int] = (1, 1),
        top: int = 127,
        groups: int = 1,
    ) -> QConvTerm:
        names = (inputs,) if isinstance(inputs, str) else tuple(inputs)
        channels = sum(self.tensors[n].channels for n in names)
        weight = self.weights(kinds, channels, kernel, top)
        if groups > 1:
            out_group = np.arange(len(kinds)) // (len(kinds) // groups)
            in_group = np.arange(channels) // (channels // groups)
            weight[out_group[:, None] != in_group[None, :]] = 0
        return QConvTerm(names, weight, stride, pads, dilation, asked=weight.size // groups)

    def conv(
        self,
        terms: QConvTerm | list[QConvTerm],
        kinds: tuple,
        fmt: Format = U8,
        period: int = 0,
    ) -> str:
        terms = [terms] if isinstance(terms, QConvTerm) else terms
        first = terms[0]
        source = self.tensors[first.inputs[0]]
        kernel = first.weight.shape[2:]
        height, width = (
            out_size(
                (source.height, source.width)[a],
                kernel[a],
                first.stride[a],
                first.pads[a],
                first.pads[a + 2],
                first.dilation[a],
            )
            for a in (0, 1)
        )
        out = self._out((len(kinds), height, width), fmt, kinds, period)
        wide = any(self.tensors[i].format is I16 for t in terms for i in t.inputs)
        blank = np.zeros(len(kinds), np.int32)
        hi = int(self.rng.integers(fmt.hi // 2, fmt.hi + 1))
        epilogue = self._epilogue(fmt)
        draft = QConv(
            f"conv{len(self.nodes)}",
            tuple(terms),
            out.name,
            wide,
            blank,
            blank,
            blank,
            epilogue if epilogue.table else Epilogue(fmt, fmt.lo, hi),
        )
        acc = conv_accumulators(self.graph(), draft, self.values)
        rows = [self._scale(acc[f], fmt) for f in range(len(kinds))]
        spread = int(np.abs(acc).max()) // 4 + 1
        bias = self.rng.integers(-spread, spread + 1, len(kinds)).astype(np.int32)
        mult, shift = (np.array([r[k] for r in rows], np.int32) for k in (0, 1))
        return self._add(
            QConv(draft.name, draft.terms, out.name, wide, bias, mult, shift, draft.epilogue)
        )

    def simple(
        self, inputs: str | tuple[str, ...], channels: int, kernel: int = 3, fmt: Format = U8, **kw
    ) -> str:
        """Square convolution with 'same' padding."""
        return self._same(self.kinds(channels), inputs, kernel, fmt, 0, kw)

    def local(
        self, inputs: str | tuple[str, ...], channels: int, kernel: int = 1, fmt: Format = U8, **kw
    ) -> str:
        """The same, with every channel in the plane of its number; columns begin anew with every
        plane if there are groups, as the quantiser has it."""
        word = self.params.in_channels
        period = word if kw.get("groups", 1) > 1 and channels > word else 0
        return self._same(self.kinds(channels, period, word), inputs, kernel, fmt, period, kw)

    def _same(
        self, kinds: tuple, inputs: str | tuple[str, ...], kernel: int, fmt: Format, period: int,
        kw: dict,
    ) -> str:  # fmt: skip
        pad = kernel // 2 * kw.get("dilation", (1, 1))[0]
        kw.setdefault("pads", (pad,) * 4)
        return self.conv(self.term(inputs, kinds, (kernel, kernel), **kw), kinds, fmt, period)

    def pool(
        self,
        source: str,
        kernel: int,
        stride: int,
        pads: tuple[int, int, int, int] = (0,) * 4,
        dilation: int = 1,
    ) -> str:
        t = self.tensors[source]
        height, width = (
            out_size(size, kernel, stride, pads[a], pads[a + 2], dilation)
            for a, size in enumerate((t.height, t.width))
        )
        out = self._out((t.channels, height, width), t.format, t.kinds, t.period)
        node = QMaxPool(
            f"pool{len(self.nodes)}",
            source,
            out.name,
            (kernel,) * 2,
            (stride,) * 2,
            pads,
            (dilation,) * 2,
        )
        return self._add(node)

    def resample(self, source: str, y: AxisTable, x: AxisTable, fmt: Format) -> str:
        t = self.tensors[source]
        out = self._out((t.channels, y.out_size, x.out_size), fmt, t.kinds, t.period)
        ratio = 256.0 if fmt is I16 and t.format is not I16 else 1.0
        if t.format is I16 and fmt is not I16:
            ratio = 1 / 256
        mult, shift = multiplier(min(ratio * 0.97 / (y.denominator * x.denominator), 60000.0))
        name = f"resample{len(self.nodes)}"
        return self._add(QResample(name, source, out.name, y, x, mult, shift, self._epilogue(fmt)))

    def add(self, inputs: tuple[str, ...], fmt: Format, top: int = 300) -> str:
        first = self.tensors[inputs[0]]
        factors = tuple(int(f) for f in self.rng.integers(-top, top + 1, len(inputs)))
        shape = (first.channels, first.height, first.width)
        out = self._out(shape, fmt, first.kinds, first.period)
        acc = sum(
            f * (self.values[i].astype(np.int64) - self.tensors[i].format.zero)
            for f, i in zip(factors, inputs, strict=True)
        )
        mult, shift = self._scale(np.asarray(acc), fmt)
        name = f"add{len(self.nodes)}"
        return self._add(QAdd(name, inputs, factors, out.name, mult, shift, self._epilogue(fmt)))

    def sum(self, inputs: tuple[str, str], fmt: Format) -> str:
        """Sum of two 8-bit maps as a convolution."""
        output = self.add(inputs, fmt, top=32767)
        node = self.nodes.pop()
        assert isinstance(node, QAdd)
        conv = as_convolution(node, self.tensors, self.params.sp2)
        assert conv is not None
        assert conv.output == output
        return self._add(conv)

    def mul(self, a: str, b: str, fmt: Format) -> str:
        """Product of two maps; the second may have one pixel."""
        first = self.tensors[a]
        shape = (first.channels, first.height, first.width)
        out = self._out(shape, fmt, first.kinds, first.period)
        values = [self.values[i].astype(np.int64) - self.tensors[i].format.zero for i in (a, b)]
        mult, shift = self._scale(values[0] * values[1], fmt)
        name = f"mul{len(self.nodes)}"
        return self._add(QMul(name, (a, b), out.name, mult, shift, self._epilogue(fmt)))


def linear_table(in_size: int, out_size_: int) -> AxisTable:
    """align_corners linear interpolation, exact rational weights."""
    if in_size == 1:
        return AxisTable(1, (0,) * out_size_, ((1,),) * out_size_, 1)
    den = max(out_size_ - 1, 1)
    start, weights = [], []
    for i in range(out_size_):
        whole, rest = divmod(i * (in_size - 1), den)
        if whole == in_size - 1:
            whole, rest = whole - 1, den
        start.append(whole)
        weights.append((den - rest, rest))
    return AxisTable(in_size, tuple(start), tuple(weights), den)


def nearest_table(in_size: int, factor: int) -> AxisTable:
    size = in_size * factor
    return AxisTable(in_size, tuple(i // factor for i in range(size)), ((1,),) * size, 1)


def mean_table(in_size: int, window: int) -> AxisTable:
    count = in_size // window
    start = tuple(i * window for i in range(count))
    return AxisTable(in_size, start, ((1,) * window,) * count, window)


def identity_table(size: int) -> AxisTable:
    return AxisTable(size, tuple(range(size)), ((1,),) * size, 1)
