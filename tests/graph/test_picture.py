"""raw_picture: the same outputs from pixels, and where it keeps away."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fpga_gen.errors import QuantError
from fpga_gen.graph.ir import Graph, QuantHints, TensorHint
from fpga_gen.graph.passes.optimise import optimise
from fpga_gen.graph.passes.picture import raw_picture
from fpga_gen.images import NORMALISATIONS, Preprocess, prepare
from fpga_gen.quant.interpreter import quantise_input
from fpga_gen.quant.options import QuantOptions
from fpga_gen.quant.quantise import quantise
from fpga_gen_host.model_input import prepare_input
from tests.engines import SMALL
from tests.graph.graphs import RELU, Maker, assert_same

IMAGENET = NORMALISATIONS["imagenet"]


def stem(
    shape=(3, 12, 14), k=3, stride=(2, 2), pads=(1, 1, 1, 1), dilation=(1, 1)
) -> tuple[Maker, str]:
    m = Maker(shape)
    return m, m.conv("x", 6, k, stride=stride, pads=pads, dilation=dilation, activation=RELU)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("stride", [(1, 1), (2, 2), (2, 1)])
@pytest.mark.parametrize("pads", [(0, 0, 0, 0), (1, 1, 1, 1), (0, 0, 1, 1), (3, 2, 2, 1)])
@pytest.mark.parametrize("k", [1, 3, 5])
def test_same_outputs(channels, stride, pads, k):
    m, y = stem((channels, 12, 14), k, stride, pads)
    graph = m.graph(m.conv(y, 4))
    after = raw_picture(graph, *IMAGENET)
    assert after.host_input.gain[0] == pytest.approx(255 * 0.229)
    assert after.nodes[0].terms[0].pads == (0, 0, 0, 0)
    assert_same(graph, after)
    assert_same(graph, optimise(graph, IMAGENET))


def test_common_stem_goes_on_to_space_to_depth():
    m, y = stem((3, 32, 32))
    after = optimise(m.graph(y), IMAGENET)
    assert after.host_input.pads == (1, 1, 1, 1)
    assert after.tensors["x"].shape == (12, 17, 17)
    assert after.nodes[0].terms[0].weight.shape == (6, 12, 2, 2)


def test_a_spare_row_makes_the_size_even():
    m, y = stem((3, 12, 14), pads=(0, 0, 1, 1))
    after = optimise(m.graph(y), IMAGENET)
    assert after.host_input.pads == (0, 0, 2, 2)
    assert after.host_input.space_to_depth == 2


def test_several_readers():
    m = Maker((3, 12, 14))
    a, b = m.conv("x", 4), m.conv("x", 4)
    graph = m.graph(m.add(a, b))
    assert_same(graph, optimise(graph, IMAGENET))
    assert optimise(graph, IMAGENET).host_input.gain


def hinted(graph: Graph) -> Graph:
    return replace(graph, hints=QuantHints({"x": TensorHint(0.02, 0, True)}))


def on_grid(graph: Graph) -> Graph:
    term = replace(graph.nodes[0].terms[0], grid=np.ones(6))
    return replace(graph, nodes=(replace(graph.nodes[0], terms=(term,)),))


@pytest.mark.parametrize("change", [hinted, on_grid])
def test_a_model_with_its_own_quantisation_stays(change):
    m, y = stem()
    graph = change(m.graph(y))
    assert raw_picture(graph, *IMAGENET) is graph


def test_other_inputs_stay():
    m, y = stem((4, 12, 14))
    other, pooled = m.graph(y), Maker((3, 12, 14))
    graph = pooled.graph(pooled.conv(pooled.pool("x"), 4))
    uneven = Maker((3, 12, 14))
    uneven.add(uneven.conv("x", 4, 3, pads=(1, 1, 1, 1)), uneven.conv("x", 4, 1, pads=(0, 0, 0, 0)))
    for kept in (other, graph, uneven.graph()):
        assert raw_picture(kept, *IMAGENET) is kept


@pytest.mark.parametrize("name", NORMALISATIONS)
def test_pixels_are_stored_as_they_are(name):
    m, y = stem((3, 16, 20))
    graph = optimise(m.graph(y), NORMALISATIONS[name])
    qgraph = quantise(graph, SMALL, None, options=QuantOptions(compensate=False))
    picture = np.random.default_rng(2).integers(0, 256, (16, 20, 3), np.uint8)
    image = prepare(picture, (3, 16, 20), Preprocess(name))
    stored = quantise_input(qgraph, image)
    assert stored.dtype == np.int8
    mean = np.rint(255 * np.array(NORMALISATIONS[name][0]))
    framed = np.empty((18, 22, 3))
    framed[:] = mean
    framed[1:17, 1:21] = picture
    plain = replace(graph.host_input, pads=(0,) * 4, gain=(), offset=(), model_shape=(3, 18, 22))
    assert np.array_equal(stored, prepare_input(plain, framed.transpose(2, 0, 1)) - 128)


def test_no_room_for_sixteen_bits():

    m, y = stem()
    graph = optimise(m.graph(y), IMAGENET)
    with pytest.raises(QuantError, match="8-bit pixels"):
        quantise(graph, SMALL, None, options=QuantOptions(wide_tensors=("x",)))
