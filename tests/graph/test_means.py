"""Means over large maps: what they are split into, exactly."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fpga_gen.graph.interpreter import run_float
from fpga_gen.graph.ir import Conv, QuantHints, Resample
from fpga_gen.graph.passes.means import LARGE, TALLEST, split_large_means
from fpga_gen.graph.verify import verify
from tests.graph.graphs import RELU, Maker


def mean_of(size: tuple[int, int], activation=RELU):
    m = Maker((3, *size))
    x = m.conv("x", 6, activation=activation)
    return m.graph(m.mean(x))


@pytest.mark.parametrize("size", [(28, 28), (30, 14), (45, 10), (20, 40)])
def test_a_large_mean_is_split(size: tuple[int, int]) -> None:
    graph = mean_of(size)
    split = split_large_means(graph)
    verify(split)
    assert [type(n) for n in split.nodes] == [Conv, Conv, Resample]
    height = split.nodes[1].terms[0].stride[0]
    assert height <= TALLEST
    assert split.nodes[1].activation.non_negative
    image = np.random.default_rng(0).normal(size=(3, *size)).astype(np.float32)
    want, got = (run_float(g, image)[g.outputs[0]] for g in (graph, split))
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


def test_signed_maps_stay_signed() -> None:
    split = split_large_means(mean_of((28, 28), activation=type(RELU)()))
    assert split.nodes[1].activation.is_identity


@pytest.mark.parametrize("size", [(7, 7), (19, 19), (29, 29)])
def test_small_maps_and_prime_heights_are_left_alone(size: tuple[int, int]) -> None:
    assert size[0] * size[1] < LARGE or size[0] > TALLEST
    graph = mean_of(size)
    assert split_large_means(graph) is graph


def test_a_quantised_model_rounds_once() -> None:
    graph = replace(mean_of((28, 28)), hints=QuantHints({}))
    assert split_large_means(graph) is graph
