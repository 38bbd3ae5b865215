import numpy as np
import pytest

from fpga_gen.contract.numerics import I8, I16, U8
from fpga_gen.quant.precision import fake_quantise
from fpga_gen.quant.ranges import (
    NARROW_MARGIN,
    WIDE_MARGIN,
    Histogram,
    clip_limits,
    pool_roots,
    segments_of,
    stored_tensors,
    tensor_formats,
)
from tests.quant.networks import all_nodes


def mse(values: np.ndarray, scale: float, fmt) -> float:
    return float(np.square(values - fake_quantise(values, scale, fmt)).mean())


@pytest.mark.parametrize("fmt", [I8, U8], ids=lambda f: f.name)
@pytest.mark.parametrize("tail", [2.5, 4.0, 30.0])
def test_range_is_close_to_the_best_of_all(fmt, tail):
    values = np.random.default_rng(0).standard_t(tail, 100_000)
    if fmt is U8:
        values = np.maximum(values, 0)
    histogram = Histogram()
    for part in np.array_split(values, 5):
        histogram.add(part)
    top = fmt.hi - fmt.zero
    got = mse(values, histogram.best_range(top) / top, fmt)
    best = min(mse(values, r / top, fmt) for r in np.geomspace(0.5, np.abs(values).max(), 150))
    assert got <= 1.1 * best
    assert got < mse(values, np.abs(values).max() / top, fmt) or tail == 30.0


def test_limit_grows_and_keeps_the_counts():
    histogram = Histogram()
    histogram.add(np.full(10, 0.1))
    histogram.add(np.array([0.0, -5.0]))
    assert histogram.counts.sum() == 11  # the zero does not count
    assert histogram.extreme == 5.0 <= histogram.limit
    centre = (np.flatnonzero(histogram.counts) + 0.5) * histogram.limit / histogram.counts.size
    np.testing.assert_allclose(centre, [0.1, 5.0], atol=histogram.limit / 1000)


def test_scale_margins_and_limits():
    histogram = Histogram()
    histogram.add(np.linspace(-4, 4, 1001))
    assert histogram.scale(I16) == pytest.approx(WIDE_MARGIN * 4 / 32767)
    assert histogram.scale(I8) == pytest.approx(NARROW_MARGIN * histogram.best_range(127) / 127)
    assert histogram.scale(U8, limit=4.1) == pytest.approx(4.1 / 255, rel=0.01)
    assert Histogram().scale(I8) == 1.0


def test_formats_of_all_nodes():
    graph = all_nodes()
    formats = tensor_formats(graph, {"q"})
    assert {n for n, f in formats.items() if f is U8} == {"a", "b", "d", "e", "s", "u"}
    assert formats["q"] is I16
    assert formats["image"] is formats["m"] is formats["z"] is I8
    assert set(formats) == set(stored_tensors(graph)) == set(graph.tensors) - {"bde"}
    assert pool_roots(graph)["b"] == "a"
    assert segments_of(graph)["bde"] == ("b", "d", "e")
    limits = clip_limits(graph)
    assert limits["a"] == limits["b"] == limits["e"] == 6.0
    assert limits["g"] == 1.5
    assert limits["d"] == limits["m"] == np.inf
