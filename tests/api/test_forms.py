"""A channels-last model with a detector's end behind the interface of ONNX Runtime."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest

import fpga_gen
from fpga_gen.cli import run
from tests.frontend.onnx_models import Net

# The build searches, quantises and generates Verilog.
pytestmark = pytest.mark.timeout(600)


def test_session_of_a_channels_last_detector(tmp_path: Path):
    net = Net((1, 8, 10, 3))
    y = net.op("Relu", net.conv(net.op("Transpose", "x", perm=[0, 3, 1, 2]), 3, 6))
    a = net.op("Reshape", net.conv(y, 6, 5), net.ints(1, 5, -1))
    b = net.op("Reshape", net.conv(y, 6, 5, strides=[2, 2]), net.ints(1, 5, -1))
    joined = net.op("Transpose", net.op("Concat", a, b, axis=2), perm=[0, 2, 1])
    model = net.save(tmp_path, net.op("Sigmoid", joined, out="scores"), joined)
    folder = tmp_path / "out"
    assert run(["build", str(model), "--board", "tiny", "-o", str(folder), "-q"]) == 0
    theirs = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    ours = fpga_gen.Session(folder)
    assert [i.shape for i in ours.get_inputs()] == [i.shape for i in theirs.get_inputs()]
    assert [o.name for o in ours.get_outputs()] == ["scores", joined]
    array = np.random.default_rng(0).normal(size=net.shape).astype(np.float32)
    for got, want in zip(ours.run(None, {"x": array}), theirs.run(None, {"x": array}), strict=True):
        assert got.shape == want.shape
        assert np.square(got - want).sum() < 0.01 * np.square(want).sum()
