"""The runtime's numbers: against vectors of an implementation that the compiler had of its own, and
from one way through the runtime to the other."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from fpga_gen.images import NORMALISATIONS, Preprocess, prepare
from fpga_gen.quant.interpreter import dequantise, quantise_input
from fpga_gen_host import load_deployment
from fpga_gen_host.host_ops import HostOp, run_host_op, run_host_ops
from fpga_gen_host.model_input import HostInput, prepare_input
from fpga_gen_host.pictures import FITS, overlay
from fpga_gen_host.prepare import InputPacker
from fpga_gen_host.regions import pack_input
from fpga_gen_host.resample import COORDINATE_MODES, NEAREST_MODES
from tests.host.deploy import picture_network, write_deploy

SIZES = [(12, 14), (40, 25), (9, 50), (3, 2)]
VECTORS = json.loads((Path(__file__).parent / "vectors.json").read_text())
PICTURE = (np.arange(6 * 8 * 3) * 53 % 256).astype(np.uint8).reshape(6, 8, 3)


def ramp(*shape: int) -> np.ndarray:
    """float32 without order or repetition, of which the vectors are results."""
    return ((np.arange(np.prod(shape)) * 37 % 101 - 50) / 16).astype(np.float32).reshape(shape)


@pytest.fixture(scope="module")
def graph():
    return picture_network()


def test_every_resize():
    """vectors: coordinates, mode, sizes, scale, row m // 2 of the result."""
    modes = set()
    for coordinates, mode, n, m, scale, row in VECTORS["resize"]:
        kind, nearest = ("linear", "floor") if mode == "linear" else ("nearest", mode)
        attributes = {
            "size": [m, m], "scales": [scale, scale], "mode": kind,
            "coordinate_transformation_mode": coordinates, "nearest_mode": nearest,
        }  # fmt: skip
        found = run_host_op(HostOp("resize", "t", attributes), ramp(1, 1, n, n))
        np.testing.assert_allclose(found[0, 0, m // 2], row, atol=1e-5)
        modes.add((coordinates, mode))
    assert modes == set(product(COORDINATE_MODES, ("linear", *NEAREST_MODES)))


@pytest.mark.parametrize(("kind", "attributes", "shape", "values"), VECTORS["operators"])
def test_other_operators(kind: str, attributes: dict, shape: list[int], values: list[float]):
    found = run_host_op(HostOp(kind, "t", attributes), ramp(1, 4, 2, 3))
    assert list(found.shape) == shape
    np.testing.assert_allclose(found.ravel(), values, atol=1e-6)


@pytest.mark.parametrize(("normalise", "fit", "shape", "values"), VECTORS["pictures"])
def test_prepared_picture(normalise: str, fit: str, shape: list[int], values: list[float]):
    channels, height, width = shape
    found = prepare(PICTURE, (channels, height, width), Preprocess(normalise, fit))
    np.testing.assert_allclose(found.ravel()[::7], values, rtol=1e-6)


def test_prepared_input():
    host = HostInput((2, 4, 6), 2, (1, 0, 1, 2), (2.0, -0.5), (1.0, 3.0))
    np.testing.assert_array_equal(prepare_input(host, ramp(2, 4, 6)).ravel(), VECTORS["input"])


def test_overlay():
    mask = np.zeros((6, 8), bool)
    mask[1:4, 2:7] = True
    drawn = overlay(PICTURE, mask, Preprocess().preparation)
    assert drawn.ravel().tolist() == VECTORS["overlay"]


@pytest.mark.parametrize(("normalise", "fit"), list(product(NORMALISATIONS, FITS)))
def test_input_region(graph, tmp_path: Path, normalise: str, fit: str):
    """The board's way, by tables, and the simulation's, by arithmetic."""
    how = Preprocess(normalise, fit)
    d = load_deployment(write_deploy(tmp_path / "d", graph, how))
    packer, region = InputPacker(d), np.zeros(d.input.bytes, np.uint8)
    rng = np.random.default_rng(2)
    for size in SIZES:
        picture = rng.integers(0, 256, (*size, 3), np.uint8)
        packer.pack(picture, region)
        model = prepare(picture, graph.host_input.model_shape, how)
        assert region.tobytes() == pack_input(d.input, quantise_input(graph, model))


def test_output_tail(graph, tmp_path: Path):
    """The deploy folder says what the network does."""
    d = load_deployment(write_deploy(tmp_path / "d", graph))
    rng = np.random.default_rng(4)
    stored = {
        t.name: rng.integers(t.lo, t.hi + 1, t.shape).astype(np.int8) for t in d.output_tensors
    }
    real = {name: dequantise(graph, name, values) for name, values in stored.items()}
    mine, reference = d.finish(stored), run_host_ops(graph, real)
    assert mine.keys() == reference.keys()
    np.testing.assert_array_equal(mine["mask"], reference["mask"])
