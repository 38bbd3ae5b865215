"""Small random quantised graphs that together use every operator, format and corner case.

Deterministic: a name, engine parameters and a seed always give the same graph and input. The
hardware tests use the same graphs.
"""

from __future__ import annotations

from collections.abc import Callable

from fpga_gen.contract.numerics import I8, I16, U8, Format
from fpga_gen.contract.params import EngineParams
from tests.schedule.builder import DOUBLE_CLOCK as DOUBLE_CLOCK
from tests.schedule.builder import THREE_MODES as THREE_MODES
from tests.schedule.builder import THREE_PAIRS as THREE_PAIRS
from tests.schedule.builder import (
    Builder,
    Example,
    identity_table,
    linear_table,
    mean_table,
    nearest_table,
)
from tests.schedule.random_graphs import random_example as random_example


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


def _sums(b: Builder) -> Example:
    """Sums in the array: of both formats, of maps of one plane and of several, and of grouped ones,
    read by convolutions and as results."""
    x = b.simple(b.input(4, 9, 11), 30, 1, U8)
    kinds = b.tensors[x].kinds
    assert kinds is not None
    y = b.conv(b.term(x, kinds, (3, 3), pads=(1, 1, 1, 1), top=60), kinds, I8)
    z = b.sum((x, y), U8)
    s = b.sum((z, y), I8)
    t = b.local(s, 26, 1, U8)
    u = b.local(t, 26, 3, I8, groups=26)
    v = b.local(t, 26, 3, U8, groups=26)
    w = b.sum((u, v), U8)
    b.simple((w, s), 7, 3, I8, top=60)
    return b.example(z, w, f"t{len(b.nodes) - 1}")


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


def _gemm(b: Builder) -> Example:
    """More input planes than an instruction has blocks; pool and vector unit over as many."""
    many = 258 * b.params.in_channels - 1
    x = b.simple(b.input(4, 2, 2), many, 1, U8)
    y = b.pool(x, 2, 2)
    z = b.mul(y, y, U8)
    b.simple((y, z), 9, 1, U8, top=3)
    return b.example(x, b.simple(z, 5, 1, I8, top=3))


def _kernel(b: Builder) -> Example:
    """Kernels of more taps than an instruction has, without padding."""
    x = b.simple(b.input(5, 30, 30), 6, 1, I16)
    kinds = b.kinds(7)
    whole = b.conv(b.term(x, kinds, (30, 30), top=3), kinds)
    patches = b.conv(b.term(x, kinds, (17, 16), stride=(4, 7), top=3), kinds)
    return b.example(whole, patches)


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
    "sums": _sums,
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
    "gemm": _gemm,
    "kernel": _kernel,
}


def example(name: str, params: EngineParams, seed: int = 0) -> Example:
    """The named graph for an engine, with an input and every tensor's stored value."""
    return EXAMPLES[name](Builder(name, params, seed))
