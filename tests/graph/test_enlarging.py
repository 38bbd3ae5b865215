"""1x1 convolutions in front of enlargements: where they go, where they stay."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fpga_gen.graph.ir import Conv, Graph, Resample
from fpga_gen.graph.passes.concat import flatten_concat, push_through_concat
from fpga_gen.graph.passes.enlarging import shrink_before_enlarging
from fpga_gen.graph.passes.optimise import optimise
from tests.graph.graphs import RELU, Maker, assert_same, kinds

SIZE = (8, 10)


def decoder(m: Maker, channels: int = 40, out: int = 6, mode: str = "linear") -> str:
    """Two small maps enlarged, beside one of full size, through a 1x1 convolution."""
    small = m.pool("x")
    grown = m.resize(m.concat(m.conv(small, channels), m.conv(small, 3)), SIZE, mode)
    return m.conv(m.concat(m.conv("x", 5), grown), out, 1, activation=RELU)


def flat(graph: Graph) -> Graph:
    return flatten_concat(push_through_concat(graph))


def moved(before: Graph) -> Graph:
    """Until nothing moves; something does."""
    after = shrink_before_enlarging(before)
    assert after is not before
    assert_same(before, after)
    again = shrink_before_enlarging(after)
    return after if again is after else moved(after)


@pytest.mark.parametrize("mode", ["linear", "nearest"])
def test_the_sum_grows_instead(mode: str) -> None:
    m = Maker()
    y = decoder(m, mode=mode)
    after = moved(flat(m.graph(y)))
    grown = [n for n in after.nodes if isinstance(n, Resample)]
    assert [after.tensors[n.output].channels for n in grown] == [6]
    last = after.nodes[-1]
    assert isinstance(last, Conv)
    assert last.activation == RELU
    by_width = sorted(last.terms, key=lambda t: t.weight.shape[1])
    assert [t.weight.shape[1] for t in by_width] == [5, 6]
    assert [t.sparse for t in by_width] == [False, True]
    # No weight of a filter is larger than the one that stands for the others.
    beside, diagonal = (t.weight[:, :, 0, 0] for t in by_width)
    assert (abs(beside).max(1) == diagonal.max(1)).all()


def test_nothing_beside() -> None:
    m = Maker()
    y = m.conv(m.resize(m.conv(m.pool("x"), 40), SIZE), 6, 1)
    assert kinds(moved(m.graph(y))) == ["MaxPool", "Conv", "Conv", "Resample", "Conv"]


def test_maps_of_two_sizes() -> None:
    """Those of one size after the other, the ones with most channels first."""
    m = Maker()
    first = m.pool("x")
    grown = [m.resize(m.conv(x, n), SIZE) for x, n in ((first, 20), (m.pool(first), 40))]
    after = moved(m.graph(m.conv(m.concat(*grown), 7, 1)))
    depths = [after.tensors[n.output].channels for n in after.nodes if isinstance(n, Resample)]
    assert depths == [7, 7]


@pytest.mark.parametrize(
    "build",
    [
        lambda m: decoder(m, channels=14, out=40),  # more words would grow
        lambda m: m.conv(m.resize(m.conv(m.pool("x"), 40), SIZE, activation=RELU), 6, 1),
        lambda m: m.conv(m.resize(m.conv(m.pool("x"), 40), SIZE), 6, 3),
        lambda m: m.conv(m.resize(m.conv("x", 40), (4, 5)), 6, 1),  # it shrinks
    ],
)
def test_leaves(build) -> None:
    m = Maker()
    graph = flat(m.graph(build(m)))
    assert shrink_before_enlarging(graph) is graph


def test_two_readers() -> None:
    m = Maker()
    grown = m.resize(m.conv(m.pool("x"), 40), SIZE)
    graph = m.graph(*(m.conv(grown, 6, 1) for _ in range(2)))
    assert shrink_before_enlarging(graph) is graph


def test_among_all_passes() -> None:
    m = Maker((3, *SIZE))
    before = m.graph(decoder(m))
    after = optimise(before)
    assert_same(before, after)
    assert [after.tensors[n.output].channels for n in after.nodes if isinstance(n, Resample)] == [6]
    quantised = replace(flat(before), hints={})
    assert shrink_before_enlarging(quantised) is quantised
