"""Small random quantised graphs that together use every operator, format and corner case.

Deterministic: a name, engine parameters and a seed always give the same graph and input. The
hardware tests use the same graphs.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from fpga_gen.graph.ir import AxisTable, HostInput
from fpga_gen.hardware.params import EngineParams
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
from fpga_gen.quant.numerics import DSP, FORMATS, I8, I16, U8, Format, multiplier

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


@dataclass(frozen=True, eq=False)
class Example:
    """A graph, a stored input, and the stored value of every tensor for it."""

    graph: QuantGraph
    stored_input: np.ndarray
    values: dict[str, np.ndarray]


class Builder:
    """Grows a graph node by node; scales follow the values that a random input produces."""

    def __init__(self, name: str, params: EngineParams, seed: int = 0) -> None:
        self.name, self.params = name, params
        self.rng = np.random.default_rng((zlib.crc32(name.encode()), seed))
        self.tensors: dict[str, QTensor] = {}
        self.values: dict[str, np.ndarray] = {}
        self.nodes: list[QNode] = []

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
        """int8 (F, C, kh, kw): +-top for int8 filters, levels of the SP2 code for the others."""
        levels = self.params.sp2.levels
        levels = levels[np.abs(levels) <= top]
        out = np.empty((len(kinds), channels, *kernel), np.int8)
        for f, kind in enumerate(kinds):
            shape = out.shape[1:]
            dense = self.rng.integers(-top, top + 1, shape)
            out[f] = dense if kind == DSP else self.rng.choice(levels, shape)
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
        return QConvTerm(names, weight, stride, pads, dilation)

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
        draft = QConv(
            f"conv{len(self.nodes)}", tuple(terms), out.name, wide, blank, blank, blank, fmt.lo, hi
        )
        acc = conv_accumulators(self.graph(), draft, self.values)
        rows = [self._scale(acc[f], fmt) for f in range(len(kinds))]
        spread = int(np.abs(acc).max()) // 4 + 1
        bias = self.rng.integers(-spread, spread + 1, len(kinds)).astype(np.int32)
        mult, shift = (np.array([r[k] for r in rows], np.int32) for k in (0, 1))
        return self._add(
            QConv(draft.name, draft.terms, out.name, wide, bias, mult, shift, fmt.lo, hi)
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
        return self._add(QResample(name, source, out.name, y, x, mult, shift, fmt.lo, fmt.hi))

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
        return self._add(QAdd(name, inputs, factors, out.name, mult, shift, fmt.lo, fmt.hi))

    def mul(self, a: str, b: str, fmt: Format) -> str:
        first = self.tensors[a]
        shape = (first.channels, first.height, first.width)
        out = self._out(shape, fmt, first.kinds, first.period)
        values = [self.values[i].astype(np.int64) - self.tensors[i].format.zero for i in (a, b)]
        mult, shift = self._scale(values[0] * values[1], fmt)
        name = f"mul{len(self.nodes)}"
        return self._add(QMul(name, (a, b), out.name, mult, shift, fmt.lo, fmt.hi))


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


def _conv1x1(b: Builder) -> Example:
    b.simple(b.input(7, 5, 6), 9, 1, I8)
    return b.example()


def _conv3x3(b: Builder) -> Example:
    x = b.simple(b.input(5, 7, 5), 11, 3, U8)
    b.simple(x, 6, 3, I8)
    return b.example()


def _stride2(b: Builder) -> Example:
    x = b.simple(b.input(3, 11, 13), 10, 3, U8, stride=(2, 2))
    b.simple(x, 5, 3, U8, stride=(2, 2), pads=(0, 1, 1, 0))
    return b.example()


def _stride3(b: Builder) -> Example:
    x = b.simple(b.input(6, 14, 13), 7, 3, U8, stride=(3, 3))
    b.simple(x, 5, 2, I8, stride=(1, 3), pads=(0, 0, 0, 0))
    return b.example()


def _asymmetric(b: Builder) -> Example:
    x = b.simple(b.input(5, 9, 8), 8, 3, U8, pads=(2, 0, 0, 1))
    kinds = b.kinds(6)
    x = b.conv(b.term(x, kinds, (1, 4), pads=(0, 3, 0, 0)), kinds, I8)
    kinds = b.kinds(5)
    b.conv(b.term(x, kinds, (3, 1), pads=(0, 0, 2, 0)), kinds, U8)
    return b.example()


def _dilation(b: Builder) -> Example:
    x = b.simple(b.input(4, 10, 9), 9, 3, U8, dilation=(3, 3))
    x = b.simple(x, 5, 3, I8, dilation=(7, 7))  # corner taps still meet the map
    b.simple(x, 7, 3, U8, dilation=(11, 11))  # only the centre tap does
    return b.example()


def _concat(b: Builder) -> Example:
    image = b.input(5, 6, 7)
    one = b.simple(image, 6, 3, U8)
    two = b.simple((image, one), 3, 3, I8)
    three = b.simple((two, one, image), 9, 1, U8)
    b.simple((three, two, one, two), 5, 3, U8)
    return b.example()


def _terms(b: Builder) -> Example:
    image = b.input(6, 8, 7)
    one = b.simple(image, 7, 1, U8)
    kinds = b.kinds(10)
    terms = [
        b.term((one, image), kinds, (3, 3), pads=(1, 1, 1, 1)),
        b.term(image, kinds, (1, 1)),
        b.term(one, kinds, (1, 5), pads=(0, 2, 0, 2)),
    ]
    b.conv(terms, kinds, U8)
    return b.example()


def _wide(b: Builder) -> Example:
    image = b.input(5, 6, 5)
    long = b.simple(image, 6, 3, I16)
    short = b.simple(image, 7, 3, U8)
    x = b.simple((short, long, image), 9, 3, I16, top=40)
    y = b.simple(x, 5, 1, U8, top=60)
    b.simple((y, long), 6, 3, I16, top=60)
    return b.example("t4", "t2")


def _wide_terms(b: Builder) -> Example:
    image = b.input(6, 9, 6)
    long = b.simple(image, 5, 1, I16)
    kinds = b.kinds(7)
    terms = [
        b.term(image, kinds, (3, 3), pads=(1, 1, 1, 1), top=60),
        b.term(long, kinds, (1, 1), top=60),
    ]
    b.conv(terms, kinds, I8)
    return b.example()


def _pool(b: Builder) -> Example:
    x = b.simple(b.input(5, 13, 11), 6, 3, U8)
    y = b.pool(x, 3, 2, (1, 1, 1, 1))
    z = b.pool(y, 2, 2, (0, 0, 1, 0))
    w = b.pool(b.simple(z, 5, 1, I8), 3, 1, (1, 1, 1, 1))
    b.pool(w, 2, 3, (0, 0, 0, 0))
    return b.example("t0", "t2", "t5")


def _elementwise(b: Builder) -> Example:
    image = b.input(5, 7, 6)
    kinds = b.kinds(6)

    def leaf(fmt: Format) -> str:
        return b.conv(b.term(image, kinds), kinds, fmt)

    a, c, d, e = leaf(I8), leaf(U8), leaf(I16), leaf(I16)
    s = b.add((a, c), I8)
    t = b.add((a, d, c, e), I16)
    u = b.mul(a, c, I8)
    v = b.mul(d, e, I16)
    w = b.mul(v, c, U8)
    x = b.add((s, t, w), U8)
    y = b.mul(u, u, U8)
    return b.example(b.add((x, y), I16), w, t)


def _resample(b: Builder) -> Example:
    x = b.simple(b.input(5, 4, 5), 6, 3, U8)
    up = b.resample(x, linear_table(4, 8), linear_table(5, 10), U8)
    near = b.resample(up, nearest_table(8, 2), nearest_table(10, 1), I16)
    back = b.resample(near, mean_table(16, 4), mean_table(10, 3), I8)
    wide = b.resample(near, identity_table(16), identity_table(10), U8)
    same = b.resample(x, identity_table(4), identity_table(5), I16)
    mean = b.resample(wide, mean_table(16, 16), mean_table(10, 10), I8)
    return b.example(back, wide, same, b.simple(mean, 5, 1, I8))


def _tiny(b: Builder) -> Example:
    x = b.simple(b.input(9, 1, 1), 10, 1, U8)
    y = b.simple(x, 5, 3, I8)
    b.simple((y, x), 3, 1, I16)
    return b.example()


def _narrow(b: Builder) -> Example:
    x = b.simple(b.input(4, 17, 1), 6, 3, U8)
    kinds = b.kinds(5)
    x = b.conv(b.term(x, kinds, (7, 1), pads=(3, 0, 3, 0)), kinds, I8)
    b.pool(x, 2, 1, (0, 0, 1, 1))
    return b.example()


def _row(b: Builder) -> Example:
    x = b.simple(b.input(4, 1, 19), 6, 3, U8)
    kinds = b.kinds(5)
    b.conv(b.term(x, kinds, (1, 7), pads=(0, 3, 0, 3)), kinds, I8)
    return b.example()


def _depthwise(b: Builder) -> Example:
    x = b.simple(b.input(6, 6, 6), 24, 1, U8)
    y = b.simple(x, 24, 3, I8, groups=24)
    z = b.simple(y, 24, 3, I16, groups=4)
    b.simple((x, z), 24, 3, U8, groups=12, top=60)
    return b.example()


def _separable(b: Builder) -> Example:
    """1x1 and depthwise layers in turn, as the quantiser lays them out: one plane a filter."""
    x = b.local(b.input(5, 9, 8), 22, 1, U8)
    y = b.local(x, 22, 3, I8, groups=22)
    x = b.local((y, x), 26, 1, U8)
    y = b.local(x, 26, 3, U8, groups=26, stride=(2, 2))
    z = b.local(y, 52, 5, I8, groups=26)  # two filters of each channel
    b.simple((z, y), 7, 1, I8)
    return b.example()


def _grouped(b: Builder) -> Example:
    """Groups that fill planes or straddle them, wide maps, pooled and added results."""
    x = b.local(b.input(4, 7, 10), 24, 3, U8)
    y = b.local(x, 24, 3, I16, groups=12)
    z = b.local((y, x), 36, 3, U8, groups=12, top=60)
    w = b.local(z, 30, 3, I8, groups=6, dilation=(2, 2))
    p = b.pool(b.local(w, 30, 1, I8, groups=30), 2, 2)
    q = b.resample(p, identity_table(3), identity_table(5), I8)
    b.add((p, q), I16)
    return b.example("t7", "t5")


def _channels(b: Builder) -> Example:
    x = b.simple(b.input(4, 4, 4), 61, 1, U8)
    y = b.simple(x, 45, 3, I8, top=60)
    b.simple((y, x), 19, 1, U8)
    return b.example()


def _pixels(b: Builder) -> Example:
    x = b.simple(b.input(3, 19, 23), 4, 3, U8)
    y = b.simple(x, 3, 3, I16)
    b.simple((x, y), 5, 3, I8, top=60)
    return b.example()


def _long_input(b: Builder) -> Example:
    image = b.input(9, 5, 7, I16)
    b.simple(image, 5, 3, U8, top=60)
    return b.example("t0", "image")


def _unsigned_input(b: Builder) -> Example:
    x = b.pool(b.input(6, 9, 9, U8), 2, 2)
    b.simple(x, 6, 3, U8)
    return b.example()


def _block(b: Builder) -> Example:
    """A HarDNet-like block: links in place, transition, pool, decoder."""
    x = b.simple(b.input(3, 16, 18), 8, 3, U8, stride=(2, 2))
    maps = [x]
    for layer, width in ((1, 5), (2, 8), (3, 5), (4, 12)):
        links = [layer - (1 << n) for n in range(3) if layer % (1 << n) == 0]
        maps.append(b.simple(tuple(maps[k] for k in links), width, 3, U8))
    down = b.pool(b.simple((maps[1], maps[3], maps[4]), 13, 1, U8), 2, 2)
    low = b.simple(down, 6, 1, I8)
    up = b.resample(low, linear_table(4, 8), linear_table(4, 9), I8)
    gate = b.conv(b.term(x, b.tensors[up].kinds, (1, 1)), b.tensors[up].kinds, I8)
    b.simple(b.mul(gate, up, I16), 1, 3, I8, top=60)
    return b.example()


def _links(b: Builder) -> Example:
    """A whole HarDNet block with awkward widths: many maps that are read together."""
    maps = [b.simple(b.input(3, 9, 10), 9, 3, U8)]
    for layer, width in ((1, 5), (2, 9), (3, 5), (4, 14), (5, 5), (6, 9), (7, 5), (8, 22)):
        links = [layer - (1 << n) for n in range(4) if layer % (1 << n) == 0]
        maps.append(b.simple(tuple(maps[k] for k in links), width, 3, U8, top=60))
    kept = tuple(maps[k] for k in (1, 3, 5, 7, 8))
    low = b.simple(kept, 11, 1, I8, top=60)
    other = b.simple(maps[8], 7, 3, I8)
    b.simple((other, low, maps[4]), 6, 3, I16, top=60)
    return b.example("t11", "t2")


EXAMPLES: dict[str, Callable[[Builder], Example]] = {
    "conv1x1": _conv1x1,
    "conv3x3": _conv3x3,
    "stride2": _stride2,
    "stride3": _stride3,
    "asymmetric": _asymmetric,
    "dilation": _dilation,
    "concat": _concat,
    "terms": _terms,
    "wide": _wide,
    "wide_terms": _wide_terms,
    "pool": _pool,
    "elementwise": _elementwise,
    "resample": _resample,
    "tiny": _tiny,
    "narrow": _narrow,
    "row": _row,
    "depthwise": _depthwise,
    "separable": _separable,
    "grouped": _grouped,
    "channels": _channels,
    "pixels": _pixels,
    "long_input": _long_input,
    "unsigned_input": _unsigned_input,
    "block": _block,
    "links": _links,
}


def example(name: str, params: EngineParams, seed: int = 0) -> Example:
    """The named graph for an engine, with an input and every tensor's stored value."""
    return EXAMPLES[name](Builder(name, params, seed))


def random_example(params: EngineParams, seed: int, nodes: int = 6) -> Example:
    """A random chain of operators over all live tensors; every unread tensor is an output."""
    b = Builder("random", params, seed)
    rng = b.rng
    size = [int(v) for v in rng.integers(1, 14, 2)]
    live = [b.input(int(rng.integers(1, 14)), *size, FORMATS[str(rng.choice(["i8", "u8", "i16"]))])]
    read: set[str] = set()
    while len(b.nodes) < nodes:
        source = str(rng.choice(live))
        t = b.tensors[source]
        fmt = FORMATS[str(rng.choice(["i8", "u8", "u8", "i16"]))]
        every = {n: b.tensors[n] for n in live}
        peers = [n for n, o in every.items() if (o.height, o.width) == (t.height, t.width)]
        tied = [n for n in peers if (every[n].kinds, every[n].channels) == (t.kinds, t.channels)]
        match str(rng.choice(["conv", "conv", "pool", "add", "mul", "resample"])):
            case "conv":
                count = int(rng.integers(1, min(3, len(peers)) + 1))
                inputs = tuple(str(n) for n in rng.permutation(peers)[:count])
                kernel = tuple(int(v) for v in rng.integers(1, 4, 2))
                dilation = tuple(int(v) for v in rng.integers(1, 3, 2))
                pads = tuple(int(v) for v in rng.integers(0, 3, 4))
                stride = tuple(int(v) for v in rng.integers(1, 4, 2))
                span = [dilation[a] * (kernel[a] - 1) + 1 for a in (0, 1)]
                if any((t.height, t.width)[a] + pads[a] + pads[a + 2] < span[a] for a in (0, 1)):
                    continue
                kinds = b.kinds(int(rng.integers(1, 30)))
                term = b.term(inputs, kinds, kernel, stride, pads, dilation, top=30)
                result = b.conv(term, kinds, fmt)
                read.update(inputs)
            case "pool":
                if t.format is I16 or min(t.height, t.width) < 2:
                    continue
                pad = int(rng.integers(0, 2))
                result = b.pool(source, 2, int(rng.integers(1, 4)), (pad, pad, 0, 0))
                read.add(source)
            case "add":
                inputs = tuple(str(n) for n in rng.choice(tied, int(rng.integers(2, 5))))
                result = b.add(inputs, fmt)
                read.update(inputs)
            case "mul":
                other = str(rng.choice(tied))
                result = b.mul(source, other, fmt)
                read.update((source, other))
            case _:
                if t.height > 12 or t.width > 12:
                    continue
                rows, columns = (int(v) for v in rng.integers(1, 20, 2))
                y, x = linear_table(t.height, rows), linear_table(t.width, columns)
                result = b.resample(source, y, x, fmt)
                read.add(source)
        live.append(result)
    return b.example(*[n for n in live if n not in read])
