"""Graphs whose weight slots are zero in patterns: what zero skipping must get right."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from fpga_gen.contract.numerics import I8, I16, U8, Format
from fpga_gen.contract.params import EngineParams
from fpga_gen.quant.ir import QConvTerm, QTensor
from fpga_gen.schedule.lower.placement import channel_positions
from tests.schedule.builder import Builder, Example


def cells(b: Builder, names: tuple[str, ...], kinds: tuple) -> tuple[np.ndarray, np.ndarray]:
    """(column subgroup of every filter, plane of every input channel, counted over all maps)."""
    out = QTensor("out", len(kinds), 1, 1, 1.0, U8, kinds)
    subgroups = np.array(channel_positions(out, b.params)) // b.params.sub_columns
    planes: list[int] = []
    for name in names:
        first = max(planes, default=-1) + 1
        positions = np.array(channel_positions(b.tensors[name], b.params))
        planes += (first + positions // b.params.in_channels).tolist()
    return subgroups, np.array(planes)


def thinned(
    b: Builder, term: QConvTerm, kinds: tuple, zero: Callable[[tuple[int, int, int]], np.ndarray]
) -> QConvTerm:
    """The term without the weights where `zero` is true; it gets and returns a bool array
    (column subgroups, planes of all inputs, taps)."""
    rows, planes = cells(b, term.inputs, kinds)
    weight = term.weight.reshape(*term.weight.shape[:2], -1).copy()
    holes = zero((int(rows.max()) + 1, int(planes.max()) + 1, weight.shape[2]))
    weight[holes[rows][:, planes]] = 0
    return replace(term, weight=weight.reshape(term.weight.shape))


def at_random(
    b: Builder, share: float, rows: int = 0
) -> Callable[[tuple[int, int, int]], np.ndarray]:
    """A share of holes; `rows` subgroups, those of a group in the largest mode, have the same."""
    rows = rows or b.params.subgroups // b.params.max_mode
    return lambda shape: np.repeat(
        b.rng.random((-(-shape[0] // rows), *shape[1:])) < share, rows, axis=0
    )[: shape[0]]


def sparse(
    b: Builder,
    inputs: str | tuple[str, ...],
    channels: int,
    kernel: int = 3,
    fmt: Format = U8,
    share: float = 0.5,
    zero: Callable[[tuple[int, int, int]], np.ndarray] | None = None,
    **kw,
) -> str:
    """`Builder.simple` with holes."""
    kinds = b.kinds(channels)
    kw.setdefault("pads", (kernel // 2,) * 4)
    term = b.term(inputs, kinds, (kernel, kernel), **kw)
    return b.conv(thinned(b, term, kinds, zero or at_random(b, share)), kinds, fmt)


def _holes(b: Builder) -> None:
    x = b.simple(b.input(5, 12, 11), 20, 3, U8, top=60)
    y = sparse(b, x, 35, top=60)
    sparse(b, (x, y), 17, share=0.7, top=40)


def _empty_groups(b: Builder) -> None:
    """The first and the last group have no weights at all, the others one slot each."""

    def zero(shape: tuple[int, int, int]) -> np.ndarray:
        holes = np.ones(shape, bool)
        for row in range(2, shape[0] - 2):
            holes[row, row % shape[1], row % shape[2]] = False
        return holes

    x = b.simple(b.input(3, 9, 10), 18, 3, I8)
    sparse(b, x, 40, zero=zero)


def _nothing(b: Builder) -> None:
    """A layer that is its bias."""
    x = b.simple(b.input(3, 6, 7), 10, 3, U8)
    sparse(b, x, 21, 3, zero=lambda shape: np.ones(shape, bool))


def _first_and_last(b: Builder) -> None:
    """Without the first and the last slots, those that clear sums and drain them."""

    def zero(shape: tuple[int, int, int]) -> np.ndarray:
        holes = np.zeros(shape, bool)
        holes[::2, 0], holes[1::2, -1], holes[:, 1, :2] = True, True, True
        return holes

    x = b.simple(b.input(4, 11, 12), 24, 1, U8)
    sparse(b, x, 30, zero=zero, top=60)


def _wide(b: Builder) -> None:
    """16-bit maps alone and beside 8-bit ones; some groups lose all slots of the wide map."""
    a = b.simple(b.input(4, 9, 8), 12, 3, I16)
    c = sparse(b, a, 26, 3, I16, top=30)
    d = b.simple("image", 10, 1, U8)

    def zero(shape: tuple[int, int, int]) -> np.ndarray:
        holes = b.rng.random(shape) < 0.4
        holes[: shape[0] // 2, -(-10 // b.params.in_channels) :] = True
        return holes

    sparse(b, (d, c), 30, 3, U8, zero=zero, top=20)
    sparse(b, (c, d), 9, 1, I16, share=0.8, top=20)


def _strides(b: Builder) -> None:
    x = sparse(b, b.input(9, 17, 15), 20, 3, U8, stride=(2, 2))
    x = sparse(b, x, 14, 3, U8, stride=(3, 3), top=60)
    sparse(b, x, 12, 2, I8, pads=(0, 1, 1, 0))


def _halves(b: Builder) -> None:
    """Planes of which groups need one half of the inputs, a different one each."""
    word = b.params.in_channels
    x = b.simple(b.input(3, 8, 9), 2 * word + word // 2, 3, U8)
    kinds = b.kinds(36)
    term = thinned(b, b.term(x, kinds, (3, 3), pads=(1,) * 4), kinds, at_random(b, 0.6))
    rows, _ = cells(b, (x,), kinds)
    lanes = np.array(channel_positions(b.tensors[x], b.params)) % word
    weight = term.weight.copy()
    weight[np.ix_(rows % 3 == 0, lanes >= word // 2)] = 0
    weight[np.ix_(rows % 3 == 1, lanes < word // 2)] = 0
    b.conv(replace(term, weight=weight), kinds, U8)


def _depthwise(b: Builder) -> None:
    """Grouped layers, with and without holes in their blocks."""
    word = b.params.in_channels
    x = b.local(b.input(4, 9, 9), 3 * word, 1, U8)
    x = b.local(x, 3 * word, 3, U8, groups=3 * word)
    x = sparse(b, x, 24, 1, U8)
    kinds = b.kinds(24)
    term = b.term(x, kinds, (3, 3), pads=(1,) * 4, groups=2)
    b.conv(thinned(b, term, kinds, at_random(b, 0.5)), kinds, U8)


def _many_slots(b: Builder) -> None:
    """More entries than the lists of one instruction hold, on a map of one tile."""
    x = b.simple(b.input(3, 3, 3), 18 * b.params.in_channels, 1, U8)
    zero = at_random(b, 0.4, b.params.subgroups)
    sparse(b, x, 14 * b.params.columns, 3, U8, zero=zero, top=20)


EXAMPLES: dict[str, Callable[[Builder], None]] = {
    "holes": _holes,
    "empty-groups": _empty_groups,
    "nothing": _nothing,
    "first-and-last": _first_and_last,
    "wide": _wide,
    "strides": _strides,
    "halves": _halves,
    "depthwise": _depthwise,
    "many-slots": _many_slots,
}


def zero_example(name: str, params: EngineParams, seed: int = 0) -> Example:
    """One of EXAMPLES for an engine."""
    b = Builder(name, params, seed)
    EXAMPLES[name](b)
    read = {i for node in b.nodes for i in node.inputs}
    return b.example(*[n for n in b.tensors if n not in read])


def random_zeros(params: EngineParams, seed: int) -> Example:
    """A chain of convolutions with random shapes, formats and shares of zero slots."""
    b = Builder("random-zeros", params, seed)
    rng = b.rng
    size = [int(v) for v in rng.integers(6, 13, 2)]
    live = [b.input(int(rng.integers(1, 12)), *size, (I8, U8, I16)[int(rng.integers(3))])]
    for _ in range(4):
        inputs = tuple(str(n) for n in rng.permutation(live)[: int(rng.integers(1, 3))])
        fmt = (U8, U8, I16)[int(rng.integers(3))]
        kernel, share = int(rng.choice([1, 3])), float(rng.uniform(0.1, 0.95))
        live.append(sparse(b, inputs, int(rng.integers(3, 45)), kernel, fmt, share, top=25))
    read = {i for node in b.nodes for i in node.inputs}
    rest = tuple(n for n in live if n not in read)
    sparse(b, rest, int(rng.integers(3, 30)), 1, U8, 0.3, top=25)
    return b.example()
