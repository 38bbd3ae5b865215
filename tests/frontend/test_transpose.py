"""ConvTranspose and DepthToSpace inside a network, against onnxruntime."""

import numpy as np
import pytest

from fpga_gen.graph.ir import Conv, Interleave, conv_macs
from tests.frontend.onnx_models import Net, assert_like_onnxruntime, refusal

CASES = [
    {"k": 2, "strides": [2, 2]},
    {"k": 3, "strides": [2, 2], "pads": [1, 1, 1, 1], "output_padding": [1, 1]},
    {"k": 4, "strides": [2, 2], "pads": [1, 1, 1, 1]},
    {"k": (3, 2), "strides": [3, 1], "pads": [0, 1, 2, 0]},
    {"k": 3, "strides": [1, 1], "pads": [1, 1, 1, 1]},
    {"k": 2, "strides": [3, 4]},
    {"k": 3, "strides": [2, 2], "dilations": [2, 3], "pads": [1, 2, 0, 1]},
    {"k": 3, "strides": [2, 2], "auto_pad": "SAME_UPPER"},
    {"k": 3, "strides": [2, 2], "auto_pad": "SAME_LOWER"},
    {"k": 3, "strides": [2, 3], "output_shape": [11, 16]},
    {"k": 5, "strides": [2, 2], "pads": [2, 2, 2, 2], "group": 3},
    {"k": 4, "strides": [2, 2], "pads": [1, 1, 1, 1], "group": 6},
]


def _transposed(net: Net, x: str, cin: int, cout: int, k, **attrs) -> str:
    kh, kw = (k, k) if isinstance(k, int) else k
    weight = net.random(cin, cout // attrs.get("group", 1), kh, kw)
    return net.op("ConvTranspose", x, weight, net.random(cout), **attrs)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_conv_transpose(case, tmp_path):
    net = Net((1, 3, 5, 6))
    y = net.op("Relu", _transposed(net, net.op("Relu", net.conv("x", 3, 6)), 6, 12, **case))
    net.conv(y, 12, 2, k=1)
    graph = assert_like_onnxruntime(net.save(tmp_path))
    kinds = [type(n) for n in graph.nodes]
    strided = max(case["strides"]) > 1
    assert kinds == ([Conv, Conv, Interleave, Conv] if strided else [Conv, Conv, Conv])


def test_work_is_that_of_the_taps(tmp_path):
    """No zero stuffing: each input pixel meets each tap once."""
    net = Net((1, 4, 8, 8))
    y = _transposed(net, "x", 4, 6, 4, strides=[2, 2], pads=[1, 1, 1, 1])
    net.conv(y, 6, 2, k=1)
    graph = assert_like_onnxruntime(net.save(tmp_path))
    assert conv_macs(graph) == 8 * 8 * 4 * 6 * 16 + 16 * 16 * 6 * 2


def test_batch_norm_behind_it_is_folded(tmp_path):
    net = Net((1, 4, 5, 6))
    y = _transposed(net, "x", 4, 6, 2, strides=[2, 2])
    net.conv(net.op("Relu", net.batch_norm(y, 6)), 6, 2)
    graph = assert_like_onnxruntime(net.save(tmp_path))
    assert [type(n) for n in graph.nodes] == [Conv, Interleave, Conv]


@pytest.mark.parametrize("mode", ["DCR", "CRD"])
@pytest.mark.parametrize("block", [2, 3])
def test_depth_to_space(block, mode, tmp_path):
    net = Net()
    y = net.op("Relu", net.conv("x", 3, 3 * block**2))
    net.conv(net.op("DepthToSpace", y, blocksize=block, mode=mode), 3, 2)
    graph = assert_like_onnxruntime(net.save(tmp_path))
    assert Interleave in [type(n) for n in graph.nodes]


def test_one_dimension(tmp_path):
    net = Net((1, 4, 9))
    y = net.op("ConvTranspose", "x", net.random(4, 3, 4), strides=[2], pads=[1, 1])
    weight = net.const(np.ones((2, 3, 3)))
    net.op("Conv", y, weight, pads=[1, 1])
    assert_like_onnxruntime(net.save(tmp_path))


@pytest.mark.parametrize("case", [{}, {"output_padding": [2, 1]}, {"pads": [1, 0, 0, 1]}])
def test_stride_of_one_pixel(case, tmp_path):
    """Where an axis has but one, its stride has nothing to part: no phases."""
    net = Net((1, 3, 1, 5))
    _transposed(net, "x", 3, 4, 3, strides=[5, 2], **case)
    graph = assert_like_onnxruntime(net.save(tmp_path))
    assert all(n.block[0] == 1 for n in graph.nodes if isinstance(n, Interleave))


def test_same_with_gaps_is_refused(tmp_path):
    net = Net((1, 3, 4, 4))
    _transposed(net, "x", 3, 4, 2, strides=[3, 3], auto_pad="SAME_UPPER")
    assert "ONNX and onnxruntime make different sizes" in refusal(net.save(tmp_path))
