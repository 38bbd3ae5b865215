"""Every operator that cannot be imported is refused by name, with what to do."""

import numpy as np
import pytest
from onnx import TensorProto, helper

from fpga_gen.errors import UnsupportedModel
from fpga_gen.frontend.importer import check_onnx, import_onnx
from tests.frontend.onnx_models import Net


def _one_op(op: str, *inputs, net: Net | None = None, **attributes):
    net = net or Net()
    net.op(op, *(inputs or ("x",)), name="culprit", **attributes)
    return net


def _conv(**kwargs) -> Net:
    net = Net()
    net.conv("x", 3, 4, **kwargs)
    net.nodes[-1].name = "culprit"
    return net


def _before_conv(op: str, *inputs, **attributes) -> Net:
    """An operator inside the network: a convolution depends on it."""
    net = Net()
    net.conv(net.op(op, *inputs, name="culprit", **attributes), 3, 2)
    return net


def _with(build) -> Net:
    net = Net()
    build(net)
    return net


REFUSED = {
    "unknown operator": (lambda: _one_op("Cosh"), "Cosh 'culprit'.*not supported.*cut the model"),
    "host operator": (
        lambda: _before_conv("LogSoftmax", "x"),
        "LogSoftmax 'culprit'.*middle of the network.*only a final LogSoftmax",
    ),
    "custom domain": (
        lambda: _one_op("Magic", domain="acme"), "operator Magic of domain 'acme' is not supported"
    ),
    "groups of inputs": (
        lambda: _with(lambda n: n.op("Conv", "x", n.random(4, 1, 3, 3), group=2, name="culprit")),
        r"'culprit'.*group = 2, which does not divide 3 input channels and 4 filters",
    ),
    "groups of filters": (
        lambda: _with(lambda n: n.op("Conv", "x", n.random(4, 1, 3, 3), group=3)),
        r"group = 3, which does not divide 3 input channels and 4 filters",
    ),
    "group weights": (
        lambda: _with(lambda n: n.op("Conv", n.conv("x", 3, 4), n.random(6, 1, 1, 1), group=2)),
        "takes 1 channels in each of 2 groups, its input has 4",
    ),
    "no groups": (
        lambda: _with(lambda n: n.op("Conv", "x", n.random(4, 3, 1, 1), group=0)), "group = 0"
    ),
    "attribute of another type": (  # ONNX checks those of its own domain only
        lambda: _with(
            lambda n: n.op(
                "DequantizeLinear", n.const(np.ones((4, 3)), np.int8), n.const(np.ones(4)),
                n.const(np.zeros(4), np.int8), domain="com.microsoft", axis="0", name="culprit",
            )
        ),
        "'culprit'.*its attribute axis is no INT",
    ),
    "negative pads": (lambda: _conv(pads=[-1, 0, 0, 0]), "negative padding"),
    "large kernel": (lambda: _conv(k=13, pads=[0, 0, 0, 0]), "window is larger"),
    "weight channels": (
        lambda: _with(lambda n: n.conv("x", 4, 4)), "takes 4 channels, its input has 3"
    ),
    "weight is computed": (
        lambda: _with(lambda n: n.op("Conv", "x", n.conv("x", 3, 4))), "weight is not a constant"
    ),
    "empty weight": (
        lambda: _with(lambda n: n.op("Conv", "x", n.const(np.zeros((0, 3, 1, 1)), name="w"))),
        "weight 'w' is empty",
    ),
    "nan": (
        lambda: _with(lambda n: n.op("Conv", "x", n.const(np.full((1, 3, 1, 1), np.nan)))),
        "holds NaN",
    ),
    "infinity": (
        lambda: _with(lambda n: n.op("Mul", "x", n.const([np.inf]))), "holds NaN or infinite"
    ),
    "nan bound": (
        lambda: _with(lambda n: n.op("Clip", "x", n.const(np.nan))), "bounds nan"
    ),
    "crossed bounds": (
        lambda: _with(lambda n: n.op("Clip", "x", n.const(1.0), n.const(0.0))), "bounds 1.0, 0.0"
    ),
    "negative variance": (
        lambda: _with(lambda n: n.op(
            "BatchNormalization", "x", *(n.const([1, 1, -1]) for _ in range(4)))),
        "negative variance",
    ),
    "division by zero": (lambda: _with(lambda n: n.op("Div", "x", n.const([0.0]))), "by zero"),
    "spatial constant": (
        lambda: _with(lambda n: n.conv(n.op("Add", "x", n.random(1, 1, 9, 11)), 3, 2)),
        "varies over height",
    ),
    "growing constant": (
        lambda: _with(lambda n: n.conv(n.op("Add", n.conv("x", 3, 1), n.random(1, 5, 1, 1)), 5, 2)),
        "does not fit",
    ),
    "max of maps": (lambda: _before_conv("Max", "x", "x"), "only a bound by one scalar"),
    "concat over height": (
        lambda: _with(lambda n: n.conv(n.op("Concat", "x", n.conv("x", 3, 3), axis=2), 3, 2)),
        "reshaped or reordered to 1x3x18x11",
    ),
    "reshaped map": (
        lambda: _with(lambda n: n.conv(n.op("Reshape", "x", n.ints(1, 9, 11, 3)), 9, 2)),
        "reshaped or reordered to 1x9x11x3",
    ),
    "matmul across pixels": (
        lambda: _with(lambda n: n.conv(n.op("MatMul", "x", n.random(11, 11)), 3, 2)),
        "map of shape 1x3x9x11",
    ),
    "attention": (
        lambda: _with(lambda n: n.conv(n.op("MatMul", "x", n.op(
            "Transpose", "x", perm=[0, 1, 3, 2])), 3, 2)),
        "no attention",
    ),
    "pool indices": (
        lambda: _with(lambda n: (
            n.nodes.append(helper.make_node("MaxPool", ["x"], ["n0", "i"], kernel_shape=[2, 2])),
            n.op("Cast", "i", to=TensorProto.FLOAT))),
        "Indices",
    ),
    "dropout mask": (
        lambda: _with(lambda n: (
            n.nodes.append(helper.make_node("Dropout", ["x"], ["n0", "mask"])),
            n.op("Cast", "mask", to=TensorProto.FLOAT))),
        "mask output is used",
    ),
    "rows of a map": (
        lambda: _with(lambda n: n.op("Gemm", n.op("Flatten", "x", axis=2), n.random(99, 4))),
        "Gemm 'gemm_1': reads a map of shape 3x99",
    ),
    "constant that grows": (
        lambda: _with(lambda n: n.op("Add", "x", n.op(
            "Expand", n.const([[1.0]]), n.ints(1 << 14, 1 << 14)))),
        "makes a constant of 268435456 elements",
    ),
    "pad in pool": (
        lambda: _with(lambda n: n.op(
            "MaxPool", n.op("Pad", "x", n.ints(0, 0, 1, 1, 0, 0, 1, 1)), kernel_shape=[3, 3])),
        "zero-padded map that can be negative",
    ),
    "reflection": (
        lambda: _with(lambda n: n.conv(
            n.op("Pad", "x", n.ints(0, 0, 9, 1, 0, 0, 1, 1), mode="reflect"), 3, 2)),
        "pads 9 elements by 9 in mode 'reflect'",
    ),
    "padding value": (
        lambda: _with(lambda n: n.conv(
            n.op("Pad", "x", n.ints(0, 0, 1, 1, 0, 0, 1, 1), n.const(2.0)), 3, 2)),
        "pads with 2.0",
    ),
    "cubic": (
        lambda: _with(lambda n: n.op("Resize", "x", "", n.const([1, 1, 2, 2]), mode="cubic")),
        "mode 'cubic'",
    ),
    "antialias": (
        lambda: _with(lambda n: n.op(
            "Resize", "x", "", n.const([1, 1, 0.5, 0.5]), mode="linear", antialias=1)),
        "antialias",
    ),
    "crop and resize": (
        lambda: _with(lambda n: n.op(
            "Resize", "x", "", n.const([1, 1, 2, 2]),
            coordinate_transformation_mode="tf_crop_and_resize")),
        "tf_crop_and_resize",
    ),
    "matrix with more axes than its map": (
        lambda: _with(lambda n: n.op("MatMul", n.op("Flatten", "x"), n.random(1, 297, 5))),
        "its weight has 3 dimensions",
    ),
    "bias of a column": (
        lambda: _with(lambda n: n.op(
            "Gemm", n.op("Flatten", "x"), n.random(297, 3), n.random(3, 1))),
        r"its bias has shape \[3, 1\]",
    ),
    "output_shape of one axis": (
        lambda: _with(lambda n: n.op(
            "ConvTranspose", "x", n.random(3, 4, 3, 3), output_shape=[9])),
        "an output_shape that does not fit its map",
    ),
    "factor that is no number": (
        lambda: _with(lambda n: n.op(
            "Gemm", n.op("Flatten", "x"), n.random(297, 3), n.random(3), beta=float("nan"))),
        "NaN or infinite factors",
    ),
    "product beyond float": (
        lambda: _with(lambda n: n.op(
            "Gemm", n.op("Flatten", "x"), n.const(np.full((297, 3), 1e30)), alpha=1e30)),
        "NaN or infinite factors",
    ),
    "an axis kept by a shift": (
        lambda: _with(lambda n: n.op(
            "Resize", "x", "", n.const([1, 1, 2, 1]), mode="linear",
            coordinate_transformation_mode="tf_half_pixel_for_nn")),
        "keeps an axis with tf_half_pixel_for_nn",
    ),
    "channel resize": (
        lambda: _with(lambda n: n.op("Resize", "x", "", n.const([1, 2, 2, 2]))), "channel axis"
    ),
    "ceil mode": (
        lambda: _one_op("MaxPool", kernel_shape=[2, 2], ceil_mode=2), "has ceil_mode = 2"
    ),
    "keepdims": (lambda: _one_op("ArgMax", axis=1, keepdims=2), "has keepdims = 2"),
    "keepdims of a mean": (
        lambda: _with(lambda n: n.op("ReduceMean", "x", n.ints(2, 3), keepdims=-1)),
        "has keepdims = -1",
    ),
    "class axis": (lambda: _one_op("ArgMax", axis=4), "has axis 4 of 4"),
    "softmax over nothing": (lambda: _one_op("Softmax", axis=-5), "has axis -5 of 4"),
    "axis of a mean": (
        lambda: _with(lambda n: n.op("ReduceMean", "x", n.ints(2, 7))), r"has axis \[2, 7\] of 4"
    ),
    "axis twice": (
        lambda: _with(lambda n: n.op("ReduceMean", "x", n.ints(2, -2))),
        r"has axis \[2, -2\] of 4",
    ),
    "axis of a squeeze": (
        lambda: _with(lambda n: n.op("Squeeze", "x", n.ints(4))), "has axis 4 of 4"
    ),
    "squeeze of no axes": (
        lambda: _with(lambda n: n.op("Squeeze", "x", n.const(np.zeros(0), np.int64))),
        "names no axes",
    ),
    "padding value that is empty": (
        lambda: _with(lambda n: n.op(
            "Pad", "x", n.ints(0, 0, 1, 1, 0, 0, 1, 1), n.const(np.zeros(0)))),
        r"padding value is float32 of shape \[0\], not one number",
    ),
    "bounds with a fraction": (
        lambda: _with(lambda n: n.op(
            "Slice", "x", n.ints(1), n.const([np.inf], np.float16), n.ints(2))),
        "ends is of float16, not of whole numbers",
    ),
    "shape with a fraction": (
        lambda: _with(lambda n: n.op("Reshape", "x", n.const([1, 3.7, -1]))),
        "shape is of float32, not of whole numbers",
    ),
    "index with a fraction": (
        lambda: _with(lambda n: n.op("Gather", "x", n.const([0.5]))),
        "index is of float32, not of whole numbers",
    ),
    "bound beyond all values": (
        lambda: _with(lambda n: n.op("Clip", n.op("Softmax", "x"), n.const(np.inf))),
        "has the bounds inf, ",
    ),
    "infinite exponent of a result": (
        lambda: _with(lambda n: n.op("Pow", n.op("Softmax", "x"), n.const(np.inf))),
        "has an exponent that is not finite",
    ),
    "a map and itself in another order": (
        lambda: _with(lambda n: n.op("PRelu", "x", n.op("Transpose", "x", perm=[0, 2, 3, 1]))),
        "combines maps of shapes 1x3x9x11, 1x9x11x3",
    ),
    "constant that is cast like the input": (
        lambda: _with(lambda n: n.op("CastLike", n.const([1.0]), "x")),
        "does not depend on the input",
    ),
    "matrix with steps of its inputs": (
        lambda: _with(lambda n: n.conv(n.op("Reshape", n.op(
            "MatMul", n.op("Reshape", "x", n.ints(1, 1, 297)), n.op(
                "DequantizeLinear", n.const(np.ones((1, 297, 3)), np.int8),
                n.const(np.ones(297)), axis=1)), n.ints(1, 3, 1, 1)), 3, 2)),
        "is quantised along axis 1",
    ),
    "no count of the largest": (
        lambda: _with(lambda n: n.nodes.append(helper.make_node(
            "TopK", ["x", n.const(np.zeros(0), np.int64)], ["n0", "i"]))),
        "k has 0 elements, not one",
    ),
    "squares that are not summed": (
        lambda: _with(lambda n: n.op(
            "ReduceSumSquare", n.op("Softmax", "x"), noop_with_empty_axes=1)),
        "has no axes and noop_with_empty_axes",
    ),
    "complex bound": (
        lambda: _with(lambda n: n.op("Clip", "x", n.const(1j, np.complex64))),
        "bound is complex64",
    ),
    "expansion to nothing": (
        lambda: _with(lambda n: n.op(
            "Expand", n.op("Reshape", "x", n.ints(1, 1, 297)), n.ints(1, 0, 297))),
        r"expands a 1x1x297 map to \[1, 0, 297\]",
    ),
    "axis of an unsqueeze": (
        lambda: _with(lambda n: n.op("Unsqueeze", "x", n.ints(5))), "has axis 5 of 5"
    ),
    "axis of a flatten": (lambda: _one_op("Flatten", axis=5), "has axis 5 of 4"),
    "axis of a concat": (lambda: _one_op("Concat", "x", "x", axis=9), "has axis 9 of 4"),
    "axis of a padding": (
        lambda: _with(lambda n: n.conv(
            n.op("Pad", "x", n.ints(1, 1), "", n.ints(6)), 3, 2)),
        "has axis 6 of 4",
    ),
    "axes of a resize": (
        lambda: _with(lambda n: n.op("Resize", "x", "", n.const([2, 2]), axes=[2, 8])),
        r"has axis \[2, 8\] of 4",
    ),
    "order of axes": (
        lambda: _one_op("Transpose", "x", perm=[0, 1, 2, 9]), r"has the order \[0, 1, 2, 9\]"
    ),
    "scale beyond float": (
        lambda: _with(lambda n: n.op("Resize", "x", "", n.const([1, 1, 3e38, 3e38]))),
        "has the scale 3",
    ),
    "maximum of a picture": (
        lambda: _with(lambda n: n.op("GlobalMaxPool", n.op(
            "Resize", "x", "", "", n.ints(1, 3, 1000, 1000)))),
        "maximum of 1000 x 1000 values",
    ),
    "pool padding": (
        lambda: _one_op("MaxPool", kernel_shape=[2, 2], pads=[2, 0, 0, 0]),
        "a window lies wholly in the padding",
    ),
    "maximum with gaps and SAME": (
        lambda: _one_op(
            "MaxPool", kernel_shape=[1, 2], dilations=[1, 2], auto_pad="SAME_LOWER"
        ),
        "ONNX and onnxruntime make different sizes",
    ),
    "average rounded up and VALID": (
        lambda: _one_op(
            "AveragePool", kernel_shape=[2, 3], strides=[2, 3], auto_pad="VALID", ceil_mode=1
        ),
        "ONNX and onnxruntime make different sizes",
    ),
    "huge padding": (lambda: _conv(pads=[1 << 20, 0, 0, 0]), "larger than 65536"),
    "huge map": (
        lambda: _with(lambda n: n.op("Resize", "x", "", "", n.ints(1, 3, 1 << 30, 1 << 30))),
        "too large",
    ),
    "large map": (
        lambda: _with(lambda n: n.op("Resize", "x", "", "", n.ints(1, 3, 1 << 14, 1 << 14))),
        "too large",
    ),
    "average of ceil and padding": (
        lambda: _one_op("AveragePool", kernel_shape=[3, 3], strides=[3, 3], ceil_mode=1,
                        pads=[1, 1, 1, 1], count_include_pad=1),
        "rounds its size up",
    ),
    "training": (
        lambda: _with(lambda n: n.op("Dropout", "x", "", n.const(True, bool))), "training mode"
    ),
    "constant output": (
        lambda: _with(lambda n: n.op("Neg", n.random(3))), "does not depend on the input"
    ),
    "cast": (lambda: _one_op("Cast", to=TensorProto.INT8), "casts to INT8"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case, tmp_path):
    build, pattern = REFUSED[case]
    net = build()
    path = net.save(tmp_path)
    (problem,) = check_onnx(path)
    assert problem.remedy
    with pytest.raises(UnsupportedModel, match=pattern):
        import_onnx(path)
