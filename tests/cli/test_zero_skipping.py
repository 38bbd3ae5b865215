"""`--no-zero-skipping`, and what the reports say of a network with blocks of zeros."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from fpga_gen.frontend.importer import import_onnx
from fpga_gen.graph.passes.optimise import optimise
from fpga_gen.schedule.compile import compile_schedule
from fpga_gen.sizing.standin import standin
from tests.cli.networks import write_model
from tests.engines import SMALL
from tests.frontend.onnx_models import Net


@pytest.fixture
def sparse(tmp_path: Path) -> Path:
    """The tiny network with 24 channels and half of the 3x3 taps of every 8 filters x 4 inputs of
    its second convolution zero."""
    path = write_model(tmp_path / "sparse.onnx", channels=24)
    model = onnx.load(path)
    (tensor,) = (t for t in model.graph.initializer if t.name == "w1")
    weight = numpy_helper.to_array(tensor).copy()
    rng = np.random.default_rng(3)
    for first in range(0, 24, 8):
        for channel in range(0, 24, 4):
            taps = np.argwhere(rng.random((3, 3)) < 0.5)
            for y, x in taps:
                weight[first : first + 8, channel : channel + 4, y, x] = 0
    tensor.CopyFrom(numpy_helper.from_array(weight, "w1"))
    path.write_bytes(model.SerializeToString())
    return path


def test_skipping_is_the_default_and_can_be_left_out(cli, sparse: Path):
    def estimate(*options: str) -> dict:
        result = cli("estimate", sparse, "--board", "tiny", "--json", *options)
        assert result.code == 0, result.err
        return json.loads(result.out)

    skipping, dense = estimate(), estimate("--no-zero-skipping")
    assert skipping["estimate"]["cycles"] < 0.8 * dense["estimate"]["cycles"]
    assert skipping["estimate"]["dram_read_bytes"] < dense["estimate"]["dram_read_bytes"]
    assert dense["estimate"]["skipped_macs"] == 0
    assert not any(layer["skipped_slots"] for layer in dense["layers"])
    macs, skipped = skipping["model"]["macs"], skipping["estimate"]["skipped_macs"]
    assert macs == dense["model"]["macs"]
    (layer,) = (x for x in skipping["layers"] if x["skipped_slots"])
    assert layer["skipped_macs"] == skipped
    assert 0.3 * layer["macs"] < skipped < 0.6 * layer["macs"]
    peak = skipping["array"]["macs_per_cycle"] * skipping["estimate"]["cycles"]
    assert skipping["estimate"]["utilisation"] == pytest.approx((macs - skipped) / peak)


def test_the_report_lists_what_is_skipped(cli, sparse: Path, tmp_path: Path):
    result = cli("build", sparse, "--board", "tiny", "-o", tmp_path / "out")
    assert result.code == 0, result.err
    text = (tmp_path / "out" / "report.md").read_text()
    assert "## Zero skipping (estimated)" in text
    assert "take neither cycles nor bytes and count as no work" in text
    page = (tmp_path / "out" / "report.html").read_text()
    assert 'id="skipping"' in page
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["config"]["zero_skipping"] is True


def test_channels_that_a_layer_does_not_read_are_no_work_that_was_saved(tmp_path: Path):
    """As in ShuffleNet: each of two convolutions reads a half of a map."""
    net = Net((1, 3, 16, 16))
    whole = net.op("Relu", net.conv("x", 3, 32, 1))
    halves = ["half0", "half1"]
    net.nodes.append(helper.make_node("Split", [whole, net.ints(16, 16)], halves, axis=1))
    parts = [net.op("Relu", net.conv(half, 16, 24)) for half in halves]
    parts.append(net.op("MaxPool", whole, kernel_shape=[1, 1]))
    path = net.save(tmp_path, net.conv(net.op("Concat", *parts, axis=1), 80, 8, 1))
    schedule = compile_schedule(standin(optimise(import_onnx(path)), SMALL), SMALL)
    cost = schedule.estimate
    assert cost.macs == 16 * 16 * (3 * 32 + 2 * 9 * 16 * 24 + 80 * 8)
    assert cost.skipped.left_out > 0
    assert cost.skipped.macs == 0
    assert all(0 < layer.utilisation < 1 for layer in schedule.layers if layer.macs)
    assert cost.lower_bound_bytes <= cost.read_bytes + cost.write_bytes
