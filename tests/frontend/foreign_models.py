"""Networks with the layers of well-known ones, random weights: what people bring."""

from __future__ import annotations

import numpy as np

from tests.frontend.activation_models import OPSET, silu
from tests.frontend.onnx_models import Net


def _width(value: float, divisor: int = 8) -> int:
    return max(divisor, int(value + divisor / 2) // divisor * divisor)


def _excite(net: Net, x: str, channels: int) -> str:
    squeezed = _width(channels / 4)
    y = net.op("GlobalAveragePool", x)
    y = net.op("Relu", net.conv(y, channels, squeezed, 1))
    return net.op("Mul", x, net.op("HardSigmoid", net.conv(y, squeezed, channels, 1), alpha=1 / 6))


# Kernel, expanded channels, channels, squeeze and excite, hard swish, stride.
SMALL_V3 = (
    (3, 16, 16, True, False, 2),
    (3, 72, 24, False, False, 2),
    (3, 88, 24, False, False, 1),
    (5, 96, 40, True, True, 2),
    (5, 240, 40, True, True, 1),
    (5, 240, 40, True, True, 1),
    (5, 120, 48, True, True, 1),
    (5, 144, 48, True, True, 1),
    (5, 288, 96, True, True, 2),
    (5, 576, 96, True, True, 1),
    (5, 576, 96, True, True, 1),
)


def mobilenet_v3_small(size: int = 224) -> Net:
    """Inverted residuals, HardSwish, gates with HardSigmoid (Howard et al. 2019)."""
    net = Net(shape=(1, 3, size, size), opset=OPSET)
    x, channels = net.op("HardSwish", net.conv("x", 3, 16, strides=[2, 2])), 16
    for kernel, wide, out, excite, swish, stride in SMALL_V3:
        act = "HardSwish" if swish else "Relu"
        y = x if wide == channels else net.op(act, net.conv(x, channels, wide, 1))
        y = net.op(act, net.conv(y, 1, wide, kernel, group=wide, strides=[stride] * 2))
        y = net.conv(_excite(net, y, wide) if excite else y, wide, out, 1)
        x = net.op("Add", x, y) if stride == 1 and out == channels else y
        channels = out
    x = net.op("HardSwish", net.conv(x, channels, 576, 1))
    x = net.op("Flatten", net.op("GlobalAveragePool", x))
    x = net.op("HardSwish", net.op("Gemm", x, net.random(576, 1024), net.random(1024)))
    net.op("Gemm", x, net.random(1024, 1000), net.random(1000))
    return net


# Expansion, channels, repeats, stride, kernel.
B0 = (
    (1, 16, 1, 1, 3),
    (6, 24, 2, 2, 3),
    (6, 40, 2, 2, 5),
    (6, 80, 3, 2, 3),
    (6, 112, 3, 1, 5),
    (6, 192, 4, 2, 5),
    (6, 320, 1, 1, 3),
)


def efficientnet_b0(size: int = 224) -> Net:
    """Inverted residuals with SiLU, gates of SiLU and Sigmoid (Tan and Le 2019)."""
    net = Net(shape=(1, 3, size, size), opset=OPSET)
    x, channels = silu(net, net.conv("x", 3, 32, strides=[2, 2])), 32
    for expand, out, repeats, first, kernel in B0:
        for stride in (first, *[1] * (repeats - 1)):
            wide, squeezed = channels * expand, max(1, channels // 4)
            y = x if expand == 1 else silu(net, net.conv(x, channels, wide, 1))
            y = silu(net, net.conv(y, 1, wide, kernel, group=wide, strides=[stride] * 2))
            z = silu(net, net.conv(net.op("GlobalAveragePool", y), wide, squeezed, 1))
            z = net.op("Sigmoid", net.conv(z, squeezed, wide, 1))
            y = net.conv(net.op("Mul", z, y), wide, out, 1)
            x = net.op("Add", y, x) if stride == 1 and out == channels else y
            channels = out
    x = net.op("GlobalAveragePool", silu(net, net.conv(x, channels, 1280, 1)))
    net.op("Gemm", net.op("Flatten", x), net.random(1280, 1000), net.random(1000))
    return net


class _Yolo:
    """Parts of YOLOv8 with SiLU; the halves of C2f are convolutions of their own."""

    def __init__(self, size: int) -> None:
        self.net = Net(shape=(1, 3, size, size), opset=OPSET)

    def conv(self, x: str, cin: int, cout: int, k: int = 3, stride: int = 1) -> str:
        return silu(self.net, self.net.conv(x, cin, cout, k, strides=[stride] * 2))

    def c2f(self, x: str, cin: int, cout: int, repeats: int, shortcut: bool) -> str:
        half = cout // 2
        parts = [self.conv(x, cin, half, 1), self.conv(x, cin, half, 1)]
        for _ in range(repeats):
            y = self.conv(self.conv(parts[-1], half, half), half, half)
            parts.append(self.net.op("Add", parts[-1], y) if shortcut else y)
        return self.conv(self.concat(*parts), half * len(parts), cout, 1)

    def sppf(self, x: str, channels: int) -> str:
        parts = [self.conv(x, channels, channels // 2, 1)]
        for _ in range(3):
            parts.append(self.net.op("MaxPool", parts[-1], kernel_shape=[5, 5], pads=[2] * 4))
        return self.conv(self.concat(*parts), 2 * channels, channels, 1)

    def concat(self, *parts: str) -> str:
        return self.net.op("Concat", *parts, axis=1)

    def twice(self, x: str) -> str:
        scales = self.net.const(np.array([1, 1, 2, 2]))
        return self.net.op("Resize", x, "", scales, mode="nearest")

    def head(self, x: str, channels: int) -> tuple[str, str]:
        box, classes = ((64, 64), (80, 80))
        made = []
        for hidden, out in (box, classes):
            y = self.conv(self.conv(x, channels, hidden), hidden, hidden)
            made.append(self.net.conv(y, hidden, out, 1))
        return made[0], made[1]


def yolov8n(size: int = 640) -> tuple[Net, tuple[str, ...]]:
    """(network, names of its six output maps): backbone, neck and heads without the decoding."""
    y = _Yolo(size)
    x = y.conv(y.conv("x", 3, 16, stride=2), 16, 32, stride=2)
    x = y.conv(y.c2f(x, 32, 32, 1, True), 32, 64, stride=2)
    p3 = y.c2f(x, 64, 64, 2, True)
    p4 = y.c2f(y.conv(p3, 64, 128, stride=2), 128, 128, 2, True)
    p5 = y.sppf(y.c2f(y.conv(p4, 128, 256, stride=2), 256, 256, 1, True), 256)
    n4 = y.c2f(y.concat(y.twice(p5), p4), 384, 128, 1, False)
    n3 = y.c2f(y.concat(y.twice(n4), p3), 192, 64, 1, False)
    m4 = y.c2f(y.concat(y.conv(n3, 64, 64, stride=2), n4), 192, 128, 1, False)
    m5 = y.c2f(y.concat(y.conv(m4, 128, 128, stride=2), p5), 384, 256, 1, False)
    heads = [y.head(n3, 64), y.head(m4, 128), y.head(m5, 256)]
    return y.net, tuple(name for pair in heads for name in pair)
