"""Networks that people bring, at their full size: ONNX with random weights, as PyTorch exports them
in evaluation mode (batch normalisation folded into the convolutions)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from tests.frontend.onnx_models import Net


def _relu(net: Net, x: str, top: float | None = None) -> str:
    if top is None:
        return net.op("Relu", x)
    return net.op("Clip", x, net.const(0.0), net.const(top))


def _classifier(net: Net, x: str, channels: int) -> str:
    x = net.op("Flatten", net.op("GlobalAveragePool", x))
    weight = net.const(net.rng.normal(size=(1000, channels)) / np.sqrt(channels))
    return net.op("Gemm", x, weight, net.random(1000), transB=1)


def resnet18(net: Net) -> str:
    """He et al. 2015, at 224x224."""
    x = _relu(net, net.conv("x", 3, 64, 7, strides=[2, 2]))
    x = net.op("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    channels = 64
    for stage, width in enumerate((64, 128, 256, 512)):
        for block in range(2):
            stride = 2 if stage and not block else 1
            y = _relu(net, net.conv(x, channels, width, strides=[stride, stride]))
            y = net.conv(y, width, width)
            if stride == 2:
                x = net.conv(x, channels, width, 1, strides=[2, 2])
            x, channels = _relu(net, net.op("Add", y, x)), width
    return _classifier(net, x, channels)


MOBILE = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1),
          (6, 160, 3, 2), (6, 320, 1, 1))  # fmt: skip


def mobilenet_v2(net: Net) -> str:
    """Sandler et al. 2018, width 1, at 224x224."""
    x = _relu(net, net.conv("x", 3, 32, strides=[2, 2]), 6.0)
    channels = 32
    for expand, width, repeats, first in MOBILE:
        for block in range(repeats):
            stride, inner, y = first if not block else 1, channels * expand, x
            if expand > 1:
                y = _relu(net, net.conv(y, channels, inner, 1), 6.0)
            y = _relu(net, net.conv(y, 1, inner, group=inner, strides=[stride, stride]), 6.0)
            y = net.conv(y, inner, width, 1)
            x = net.op("Add", x, y) if stride == 1 and channels == width else y
            channels = width
    return _classifier(net, _relu(net, net.conv(x, channels, 1280, 1), 6.0), 1280)


def _csp(net: Net, x: str, channels: int, width: int, repeats: int, shortcut: bool) -> str:
    """Two branches that share a 1x1 convolution; one goes through bottlenecks."""
    half = width // 2
    x = _relu(net, net.conv(x, channels, 2 * half, 1))
    left = _relu(net, net.conv(x, 2 * half, half, 1))
    right = _relu(net, net.conv(x, 2 * half, half, 1))
    parts = [left, right]
    for _ in range(repeats):
        y = _relu(net, net.conv(_relu(net, net.conv(right, half, half)), half, half))
        right = net.op("Add", y, right) if shortcut else y
        parts.append(right)
    joined = net.op("Concat", *parts, axis=1)
    return _relu(net, net.conv(joined, half * len(parts), width, 1))


def yolo(net: Net) -> str:
    """A detector in the manner of YOLOv8n at 640x640, with ReLU: backbone, SPPF, two-way neck, and
    the map of its finest head."""
    x = _relu(net, net.conv("x", 3, 16, strides=[2, 2]))
    maps, channels = [], 16
    for width, repeats in ((32, 1), (64, 2), (128, 2), (256, 1)):
        x = _relu(net, net.conv(x, channels, width, strides=[2, 2]))
        x = _csp(net, x, width, width, repeats, True)
        channels = width
        maps.append((x, width))
    y = _relu(net, net.conv(x, 256, 128, 1))
    pools = [y]
    for _ in range(3):
        pools.append(net.op("MaxPool", pools[-1], kernel_shape=[5, 5], pads=[2, 2, 2, 2]))
    x = _relu(net, net.conv(net.op("Concat", *pools, axis=1), 512, 256, 1))
    channels = 256
    for source, width in (maps[2], maps[1]):
        x = net.op("Resize", x, "", net.const([1, 1, 2, 2]), mode="nearest")
        x = net.op("Concat", x, source, axis=1)
        x = _csp(net, x, channels + width, width, 1, False)
        channels = width
    head = _relu(net, net.conv(_relu(net, net.conv(x, 64, 64)), 64, 64))
    return net.conv(head, 64, 64, 1)


ZOO: dict[str, tuple[int, Callable[[Net], str]]] = {
    "resnet18": (224, resnet18),
    "mobilenet_v2": (224, mobilenet_v2),
    "yolo": (640, yolo),
}


def write_network(name: str, folder: Path) -> Path:
    """The network as FOLDER/NAME.onnx."""
    size, build = ZOO[name]
    net = Net((1, 3, size, size))
    output = build(net)
    return net.save(folder, output).rename(folder / f"{name}.onnx")
