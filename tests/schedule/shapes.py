"""Hypothesis strategies: one operator of every kind with random shapes, between two convolutions.

The input map goes through a convolution first, so that the operator reads what the engine wrote;
its result is the network's output.
"""

from __future__ import annotations

from hypothesis import assume
from hypothesis import strategies as st

from fpga_gen.contract.numerics import I8, I16, U8
from fpga_gen.contract.params import EngineParams
from tests.schedule.graphs import (
    Builder,
    Example,
    identity_table,
    linear_table,
    mean_table,
    nearest_table,
)

SIZES = st.tuples(st.integers(1, 19), st.integers(1, 19))
FORMATS = st.sampled_from([I8, U8, I16])
PAIRS = {
    "stride": st.tuples(st.integers(1, 4), st.integers(1, 4)),
    "dilation": st.tuples(st.integers(1, 3), st.integers(1, 3)),
    "kernel": st.tuples(st.integers(1, 4), st.integers(1, 4)),
}
PADS = st.tuples(*[st.integers(0, 3)] * 4)


def _builder(draw: st.DrawFn, params: EngineParams, kind: str) -> Builder:
    return Builder(kind, params, draw(st.integers(0, 2**20)))


def _fits(size: tuple[int, int], kernel, pads, dilation) -> bool:
    return all(size[a] + pads[a] + pads[a + 2] >= dilation[a] * (kernel[a] - 1) + 1 for a in (0, 1))


@st.composite
def dense(draw: st.DrawFn, params: EngineParams) -> Example:
    """One or two summed convolutions of any geometry over one or two maps."""
    b = _builder(draw, params, "dense")
    size = draw(SIZES)
    kernel, stride, dilation = (draw(PAIRS[k]) for k in ("kernel", "stride", "dilation"))
    pads = draw(PADS)
    assume(_fits(size, kernel, pads, dilation))
    x = b.input(draw(st.integers(1, 12)), *size)
    maps = [
        b.simple(x, draw(st.integers(1, 16)), 1, draw(FORMATS), top=60)
        for _ in range(draw(st.integers(1, 2)))
    ]
    kinds = b.kinds(draw(st.integers(1, 50)))
    geometry = {"stride": stride, "pads": pads, "dilation": dilation, "top": 30}
    terms = [b.term(tuple(maps), kinds, kernel, **geometry)]
    if draw(st.booleans()):
        terms.append(b.term(maps[-1], kinds, kernel, **geometry))
    return b.example(b.conv(terms, kinds, draw(FORMATS)))


@st.composite
def grouped(draw: st.DrawFn, params: EngineParams) -> Example:
    """A grouped or depthwise convolution, laid out as the quantiser does."""
    b = _builder(draw, params, "grouped")
    size = draw(SIZES)
    groups = draw(st.integers(2, 24))
    wide, many = (draw(st.integers(1, 1 if groups > 8 else 3)) for _ in range(2))
    kernel = draw(st.integers(1, 3))
    pads, stride = draw(PADS), draw(PAIRS["stride"])
    assume(_fits(size, (kernel,) * 2, pads, (1, 1)))
    x = b.local(b.input(draw(st.integers(1, 6)), *size), groups * wide, 1, draw(FORMATS), top=60)
    geometry = {"groups": groups, "stride": stride, "pads": pads, "top": 60}
    return b.example(b.local(x, groups * many, kernel, draw(FORMATS), **geometry))


@st.composite
def pooled(draw: st.DrawFn, params: EngineParams) -> Example:
    """A max-pool of any window."""
    b = _builder(draw, params, "pooled")
    size, kernel, stride = draw(SIZES), draw(st.integers(1, 4)), draw(st.integers(1, 3))
    pads = draw(st.tuples(*[st.integers(0, kernel - 1)] * 4))
    assume(_fits(size, (kernel,) * 2, pads, (1, 1)))
    x = b.input(draw(st.integers(1, 6)), *size)
    x = b.simple(x, draw(st.integers(1, 20)), 1, draw(st.sampled_from([I8, U8])))
    return b.example(b.pool(x, kernel, stride, pads))


@st.composite
def elementwise(draw: st.DrawFn, params: EngineParams) -> Example:
    """A sum of up to four maps, or a product."""
    b = _builder(draw, params, "elementwise")
    x = b.input(draw(st.integers(1, 6)), *draw(SIZES))
    kinds = b.kinds(draw(st.integers(1, 20)))
    product = draw(st.booleans())
    count = 2 if product else draw(st.integers(2, 4))  # every map is read
    maps = tuple(b.conv(b.term(x, kinds), kinds, draw(FORMATS)) for _ in range(count))
    fmt = draw(FORMATS)
    return b.example(b.mul(*maps, fmt) if product else b.add(maps, fmt))


@st.composite
def resampled(draw: st.DrawFn, params: EngineParams) -> Example:
    """Linear, nearest or mean resampling, axis by axis."""
    b = _builder(draw, params, "resampled")
    size = tuple(draw(st.integers(1, 12)) for _ in range(2))

    def table(length: int):
        match draw(st.sampled_from(["linear", "nearest", "mean", "identity"])):
            case "linear":
                return linear_table(length, draw(st.integers(1, 20)))
            case "nearest":
                return nearest_table(length, draw(st.integers(1, 3)))
            case "mean":
                return mean_table(length, draw(st.integers(1, length)))
        return identity_table(length)

    x = b.simple(
        b.input(draw(st.integers(1, 6)), *size), draw(st.integers(1, 20)), 1, draw(FORMATS)
    )
    return b.example(b.resample(x, table(size[0]), table(size[1]), draw(FORMATS)))


OPERATORS = {
    "dense": dense,
    "grouped": grouped,
    "pooled": pooled,
    "elementwise": elementwise,
    "resampled": resampled,
}
