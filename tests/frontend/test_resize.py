"""Resize and Upsample in every supported mode, against onnxruntime."""

import numpy as np
import pytest

from fpga_gen.graph.ir import Conv, Resample
from tests.frontend.onnx_models import Net, assert_like_onnxruntime

SCALES = [(2.0, 2.0), (3.0, 1.5), (0.5, 0.5), (0.6, 2.5)]
COORDINATES = [
    "half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric", "half_pixel_symmetric",
]  # fmt: skip


def _resize(tmp_path, *, scales=None, sizes=None, shape=(1, 5, 6, 7), opset=19, **attributes):
    net = Net(shape, opset=opset)
    y = net.op("Relu", "x")
    inputs = ["", net.const([1, 1, *scales])] if scales else ["", "", net.ints(*shape[:2], *sizes)]
    net.op("Resize", y, *inputs, **attributes)
    return assert_like_onnxruntime(net.save(tmp_path))


@pytest.mark.parametrize("scales", SCALES)
@pytest.mark.parametrize("coordinates", COORDINATES)
@pytest.mark.parametrize("nearest", ["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"])
def test_nearest(nearest, coordinates, scales, tmp_path):
    _resize(
        tmp_path, scales=scales, mode="nearest", nearest_mode=nearest,
        coordinate_transformation_mode=coordinates,
    )  # fmt: skip


@pytest.mark.parametrize("scales", SCALES)
@pytest.mark.parametrize("coordinates", COORDINATES)
def test_linear(coordinates, scales, tmp_path):
    _resize(
        tmp_path, scales=scales, mode="linear", coordinate_transformation_mode=coordinates
    )  # fmt: skip


@pytest.mark.parametrize("sizes", [(12, 14), (11, 5), (1, 1), (13, 1)])
@pytest.mark.parametrize("mode", ["nearest", "linear"])
@pytest.mark.parametrize("coordinates", COORDINATES)
def test_sizes(coordinates, mode, sizes, tmp_path):
    _resize(tmp_path, sizes=sizes, mode=mode, coordinate_transformation_mode=coordinates)


def test_axes(tmp_path):
    net = Net(opset=18)
    net.op("Resize", "x", "", "", net.ints(18, 22), axes=[2, 3], mode="linear")
    assert_like_onnxruntime(net.save(tmp_path))


@pytest.mark.parametrize("by", ["scales", "sizes"])
@pytest.mark.parametrize(("shape", "axes"), [
    ((1, 4, 12), [2]), ((1, 4, 12), [-1, 0]), ((1, 4, 12, 1), [2]), ((1, 4, 12, 1), [3, -2]),
    ((1, 4, 1, 12), [3]),
])  # fmt: skip
def test_axes_of_a_sequence(shape, axes, by, tmp_path):
    net = Net(shape)
    factors = [2 if shape[a] == 12 else 1 for a in axes]
    sizes = [shape[a] * f for a, f in zip(axes, factors, strict=True)]
    given = ["", net.const(factors)] if by == "scales" else ["", "", net.ints(*sizes)]
    net.op("Resize", net.op("Relu", "x"), *given, axes=axes, mode="linear")
    assert_like_onnxruntime(net.save(tmp_path))


@pytest.mark.parametrize("mode", ["nearest", "linear"])
@pytest.mark.parametrize("opset", [7, 9, 10])
def test_old_opsets(opset, mode, tmp_path):
    net = Net(opset=opset)
    scales = [1, 1, 2, 3]
    if opset == 7:
        net.op("Upsample", net.conv("x", 3, 5), mode=mode, scales=[float(s) for s in scales])
    else:
        kind = "Upsample" if opset == 9 else "Resize"
        net.op(kind, net.conv("x", 3, 5), net.const(scales), mode=mode)
    assert_like_onnxruntime(net.save(tmp_path))


def test_align_corners_is_exact(tmp_path):
    graph = _resize(
        tmp_path, sizes=(22, 12), shape=(1, 5, 11, 6), mode="linear",
        coordinate_transformation_mode="align_corners",
    )  # fmt: skip
    table = graph.nodes[-1].y
    assert table.denominator == 21
    assert table.weights[1] == (11, 10)


def test_inexact_weights_stay_close(tmp_path):
    net = Net((1, 5, 173, 2))
    net.op("Resize", "x", "", "", net.ints(1, 5, 346, 2), mode="linear",
           coordinate_transformation_mode="align_corners")  # fmt: skip
    graph = assert_like_onnxruntime(net.save(tmp_path), atol=6 / 400)
    assert graph.nodes[0].y.denominator <= 255  # exact would be 345
    assert 0 < graph.nodes[0].error < 1 / 400


def test_scales_from_shape_arithmetic(tmp_path):
    """Shape -> Gather -> Mul -> Cast -> Concat -> Resize, as older exporters write it."""
    net = Net(opset=13)
    y = net.conv("x", 3, 5)
    shape = net.op("Shape", y)
    parts = []
    for axis in (2, 3):
        size = net.op("Gather", shape, net.const(axis, np.int64), axis=0)
        size = net.op("Floor", net.op("Mul", net.op("Cast", size, to=1), net.const(2.0)))
        parts.append(net.op("Unsqueeze", net.op("Cast", size, to=7), net.ints(0)))
    head = net.op("Slice", shape, net.ints(0), net.ints(2), net.ints(0))
    net.op("Resize", y, "", "", net.op("Concat", head, *parts, axis=0), mode="linear")
    graph = assert_like_onnxruntime(net.save(tmp_path))
    assert [type(n) for n in graph.nodes] == [Conv, Resample]


@pytest.mark.parametrize("coordinates", COORDINATES)
@pytest.mark.parametrize("scales", [(4.0, 8.0), (4.5, 4.2)])
def test_large_final_resize_runs_on_host(coordinates, scales, tmp_path):
    graph = _resize(
        tmp_path, scales=scales, shape=(1, 2, 5, 6), mode="linear",
        coordinate_transformation_mode=coordinates,
    )  # fmt: skip
    assert [op.kind for op in graph.host_ops] == ["resize"]
    assert graph.tensors[graph.outputs[0]].shape == (2, 5, 6)
