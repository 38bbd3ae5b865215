"""Tiny networks quantised by onnxruntime in QDQ format."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import onnx
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

from tests.frontend.onnx_models import Net

SHAPE = (3, 13, 15)


def pictures(n: int, seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.normal(size=SHAPE).astype(np.float32) for _ in range(n)]


class _Reader(CalibrationDataReader):
    def __init__(self, images: list[np.ndarray]) -> None:
        self.left = iter([{"x": image[None]} for image in images])

    def get_next(self):
        return next(self.left, None)


def chain(folder: Path) -> Path:
    """conv, relu, conv, relu, max-pool, add of a 1x1 convolution, relu, conv; no concat."""
    net = Net(shape=(1, *SHAPE), opset=17)
    a = net.op("Relu", net.conv("x", 3, 8))
    b = net.op("Relu", net.conv(a, 8, 8, bias=False))
    pool = net.op("MaxPool", b, kernel_shape=[2, 2], strides=[2, 2])
    side = net.conv(pool, 8, 8, k=1)
    total = net.op("Relu", net.op("Add", side, pool))
    net.conv(total, 8, 5, name="head")
    return net.save(folder)


def groups(folder: Path) -> Path:
    """A depthwise convolution, one in two groups, a transposed one in two, and one of channels in
    another order."""
    net = Net(shape=(1, *SHAPE), opset=17)
    a = net.op("Relu", net.conv("x", 3, 8))
    b = net.op("Relu", net.conv(a, 1, 8, group=8))
    c = net.op("Relu", net.conv(b, 4, 6, group=2))
    d = net.op("ConvTranspose", c, net.random(6, 3, 2, 2), strides=[2, 2], group=2)
    net.conv(net.op("Gather", d, net.ints(5, 0, 2), axis=1), 3, 4, name="head")
    return net.save(folder)


def branches(folder: Path) -> Path:
    """Two branches of different scales, concatenated and read by a 1x1 convolution."""
    net = Net(shape=(1, *SHAPE), opset=17)
    a = net.op("Relu", net.conv("x", 3, 8))
    b = net.op("Relu", net.conv(a, 8, 8))
    net.conv(net.op("Concat", a, b, axis=1, name="join"), 16, 6, k=1, name="mix")
    return net.save(folder)


def quantised(path: Path, *, signed: bool = True, symmetric: bool = False, **options) -> Path:
    """QDQ model beside `path`, int8 weights per channel, int8 or uint8 activations."""
    out = path.with_name("quantised.onnx")
    logging.disable(logging.WARNING)
    try:
        quantize_static(
            path, out, _Reader(pictures(8)), quant_format=QuantFormat.QDQ, per_channel=True,
            activation_type=QuantType.QInt8 if signed else QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            extra_options={"ActivationSymmetric": symmetric, **options},
        )  # fmt: skip
    finally:
        logging.disable(logging.NOTSET)
    return out


def initializers(path: Path) -> dict[str, np.ndarray]:
    model = onnx.load(path)
    return {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}
