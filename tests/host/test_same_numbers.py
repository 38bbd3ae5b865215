"""Host package and compiler prepare pictures, finish outputs and draw masks alike."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import pytest

from fpga_gen.graph.axis import COORDINATE_MODES, NEAREST_MODES
from fpga_gen.graph.interpreter import run_host_op, run_host_ops
from fpga_gen.graph.ir import HostOp
from fpga_gen.images import FITS, NORMALISATIONS, Preprocess, overlay_mask, prepare
from fpga_gen.quant.interpreter import dequantise, quantise_input
from fpga_gen_host import load_deployment
from fpga_gen_host.host_ops import HostTail, resize_matrix
from fpga_gen_host.polyp import overlay
from fpga_gen_host.prepare import InputPacker
from fpga_gen_host.regions import pack_input
from tests.host.deploy import picture_network, write_deploy

SIZES = [(12, 14), (40, 25), (9, 50), (3, 2)]


@pytest.fixture(scope="module")
def graph():
    return picture_network()


@pytest.mark.parametrize(("normalise", "fit"), list(product(NORMALISATIONS, FITS)))
def test_input_region(graph, tmp_path: Path, normalise: str, fit: str):
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
    d = load_deployment(write_deploy(tmp_path / "d", graph))
    rng = np.random.default_rng(4)
    stored = {
        t.name: rng.integers(t.lo, t.hi + 1, t.shape).astype(np.int8) for t in d.output_tensors
    }
    real = {name: dequantise(graph, name, values) for name, values in stored.items()}
    mine, reference = HostTail(d)(stored), run_host_ops(graph, real)
    assert mine.keys() == reference.keys()
    np.testing.assert_allclose(mine["mask"], reference["mask"], atol=1e-6)


@pytest.mark.parametrize("coordinates", COORDINATE_MODES)
@pytest.mark.parametrize("mode", ["linear", *NEAREST_MODES])
def test_every_resize(coordinates: str, mode: str):
    kind, nearest = ("linear", "floor") if mode == "linear" else ("nearest", mode)
    rng = np.random.default_rng(6)
    for n, m, scale in ((5, 10, 2.0), (7, 3, 3 / 7), (4, 1, 0.25), (6, 9, 1.4999)):
        x = rng.normal(size=(1, 2, n, n)).astype(np.float32)
        attributes = {
            "size": [m, m], "scales": [scale, scale], "mode": kind,
            "coordinate_transformation_mode": coordinates, "nearest_mode": nearest,
        }  # fmt: skip
        reference = run_host_op(HostOp("resize", "t", attributes), x)
        matrix = resize_matrix(n, m, scale, kind, coordinates, nearest)
        np.testing.assert_allclose(matrix @ x @ matrix.T, reference, atol=1e-5)


@pytest.mark.parametrize("fit", FITS)
def test_overlay(graph, tmp_path: Path, fit: str):
    how = Preprocess("imagenet", fit)
    d = load_deployment(write_deploy(tmp_path / "d", graph, how))
    rng = np.random.default_rng(8)
    picture = rng.integers(0, 256, (50, 31, 3), np.uint8)
    mask = np.zeros((24, 28), bool)
    mask[5:20, 10:19] = True
    drawn = overlay(picture, mask, d)
    assert (drawn != picture).any()
    assert np.array_equal(drawn, overlay_mask(picture, mask, how))
