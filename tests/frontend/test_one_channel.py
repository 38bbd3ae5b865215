"""Inputs without a channel axis: samples of a sound, spectra, to which the model gives one."""

from pathlib import Path

import pytest

from fpga_gen.frontend.importer import import_onnx
from tests.frontend.onnx_models import Net, assert_like_onnxruntime


def _shape(path: Path) -> tuple[int, int, int]:
    return import_onnx(path).host_input.model_shape


def test_a_spectrum_that_is_unsqueezed(tmp_path: Path) -> None:
    net = Net(shape=(1, 12, 10))
    net.conv(net.op("Relu", net.op("Unsqueeze", net.op("Neg", "x"), net.ints(1))), 1, 4)
    path = net.save(tmp_path)
    assert _shape(path) == (1, 12, 10)
    assert_like_onnxruntime(path)


@pytest.mark.parametrize("axis", [3, -1])
def test_a_channel_that_keras_adds_behind(axis: int, tmp_path: Path) -> None:
    net = Net(shape=(1, 12, 10))
    y = net.op("Transpose", net.op("Unsqueeze", "x", net.ints(axis)), perm=[0, 3, 1, 2])
    net.conv(y, 1, 4)
    path = net.save(tmp_path)
    assert _shape(path) == (1, 12, 10)
    assert_like_onnxruntime(path)


@pytest.mark.parametrize("target", [(1, 1, 12, 10), (-1, 1, 12, 10), (0, 1, 12, -1)])
def test_a_spectrum_that_is_reshaped(target: tuple, tmp_path: Path) -> None:
    net = Net(shape=(1, 12, 10))
    net.conv(net.op("Reshape", "x", net.ints(*target)), 1, 4)
    path = net.save(tmp_path)
    assert _shape(path) == (1, 12, 10)
    assert_like_onnxruntime(path)


@pytest.mark.parametrize("shape", [(1, 400), (1, 400, 1)])
def test_samples(shape: tuple, tmp_path: Path) -> None:
    net = Net(shape=shape)
    y = net.op("Reshape", "x", net.ints(-1, 1, 400))
    net.op("Conv", y, net.random(8, 1, 32), strides=[16])
    path = net.save(tmp_path)
    assert _shape(path) == (1, 1, 400)
    assert_like_onnxruntime(path)


def test_channels_stay_channels(tmp_path: Path) -> None:
    """A further axis of pixels makes no channel: Conv1d written as Conv2d, values as a vector."""
    net = Net(shape=(1, 12, 10))
    net.conv(net.op("Unsqueeze", "x", net.ints(2)), 12, 4, (1, 3))
    path = net.save(tmp_path)
    assert _shape(path) == (12, 1, 10)
    assert_like_onnxruntime(path)
    net = Net(shape=(1, 12, 10))
    net.conv(net.op("Unsqueeze", "x", net.ints(3)), 12, 4, (3, 1))
    path = net.save(tmp_path)
    assert _shape(path) == (12, 1, 10)
    assert_like_onnxruntime(path)
    net = Net(shape=(1, 12))
    net.op("Gemm", "x", net.random(12, 5))
    path = net.save(tmp_path)
    assert _shape(path) == (12, 1, 1)
    assert_like_onnxruntime(path)
