"""Padding with elements of the map itself, in front of, between and behind what computes."""

from pathlib import Path

import pytest

from fpga_gen.contract.params import EngineParams
from fpga_gen.graph.ir import Resample
from tests.frontend.onnx_models import Net, assert_like_onnxruntime
from tests.schedule.foreign import quantised
from tests.schedule.test_program import check

MODES = ("reflect", "edge", "wrap")


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("pads", [(0, 0, 1, 2, 0, 0, 3, 1), (0, 0, 2, 0, 0, 0, 0, 0)])
def test_between_convolutions(mode: str, pads: tuple, tmp_path: Path) -> None:
    net = Net(opset=19)
    y = net.op("Relu", net.conv("x", 3, 5))
    y = net.op("Pad", y, net.ints(*pads), mode=mode)
    graph = assert_like_onnxruntime(net.save(tmp_path, net.conv(y, 5, 4, pads=[0, 0, 0, 0])))
    assert sum(isinstance(node, Resample) for node in graph.nodes) == 1


@pytest.mark.parametrize("mode", MODES)
def test_at_both_ends(mode: str, tmp_path: Path) -> None:
    """Of the picture, and of a result that the host makes."""
    net = Net(opset=19)
    y = net.conv(net.op("Pad", "x", net.ints(0, 0, 1, 1, 0, 0, 1, 1), mode=mode), 3, 4, pads=None)
    y = net.op("Softmax", y, axis=1)
    net.op("Pad", y, net.ints(0, 0, 2, 1, 0, 0, 0, 2), mode=mode)
    assert_like_onnxruntime(net.save(tmp_path))


def test_a_crop_with_it(tmp_path: Path) -> None:
    """Below zero at one end, where the mirror is what is left."""
    net = Net(opset=19)
    y = net.op("Pad", "x", net.ints(0, 0, -2, 1, 0, 0, 3, -1), mode="edge")
    net.conv(y, 3, 4)
    assert_like_onnxruntime(net.save(tmp_path))


def test_program(tmp_path: Path) -> None:
    net = Net(opset=19)
    y = net.op("Relu", net.conv("x", 3, 5))
    net.conv(net.op("Pad", y, net.ints(0, 0, 2, 2, 0, 0, 2, 2), mode="reflect"), 5, 4, pads=None)
    check(quantised(net.save(tmp_path), EngineParams()), EngineParams())
