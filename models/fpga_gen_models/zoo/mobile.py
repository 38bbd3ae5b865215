"""Networks for small processors: MobileNetV2 (arXiv 1801.04381), MobileNetV3 (1905.02244),
EfficientNet (1905.11946) and its lite form, ShuffleNetV2 (1807.11164)."""

from __future__ import annotations

from fpga_gen_models.zoo.sketch import INPUT, Sketch

# expansion, channels, blocks, stride
MOBILENET_V2 = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1),
                (6, 160, 3, 2), (6, 320, 1, 1))  # fmt: skip
# kernel, expanded channels, channels, gate, activation, stride
MOBILENET_V3 = (
    (3, 16, 16, False, "relu", 1), (3, 64, 24, False, "relu", 2), (3, 72, 24, False, "relu", 1),
    (5, 72, 40, True, "relu", 2), (5, 120, 40, True, "relu", 1), (5, 120, 40, True, "relu", 1),
    (3, 240, 80, False, "hswish", 2), (3, 200, 80, False, "hswish", 1),
    (3, 184, 80, False, "hswish", 1), (3, 184, 80, False, "hswish", 1),
    (3, 480, 112, True, "hswish", 1), (3, 672, 112, True, "hswish", 1),
    (5, 672, 160, True, "hswish", 2), (5, 960, 160, True, "hswish", 1),
    (5, 960, 160, True, "hswish", 1),
)  # fmt: skip
# expansion, channels, blocks, stride, kernel
EFFICIENTNET = ((1, 16, 1, 1, 3), (6, 24, 2, 2, 3), (6, 40, 2, 2, 5), (6, 80, 3, 2, 3),
                (6, 112, 3, 1, 5), (6, 192, 4, 2, 5), (6, 320, 1, 1, 3))  # fmt: skip


def inverted(
    s: Sketch,
    x: str,
    inner: int,
    channels: int,
    *,
    stride: int = 1,
    kernel: int = 3,
    act: str = "relu6",
    squeezed: int = 0,
    gate: str = "sigmoid",
    squeeze_act: str = "relu",
    dilation: int = 1,
) -> str:
    """Expand, depthwise, gate (if `squeezed` channels are given), project; with a shortcut where
    the shape stays."""
    y = x if inner == s.shapes[x][0] else s.conv(x, inner, 1, act=act)
    y = s.conv(y, inner, kernel, stride, groups=inner, act=act, dilation=dilation)
    if squeezed:
        weights = s.conv(s.global_average(y), squeezed, 1, act=squeeze_act)
        y = s.mul(y, s.conv(weights, inner, 1, act=gate))
    y = s.conv(y, channels, 1, act="", gain=1.0)
    return s.add(y, x) if s.shapes[x] == s.shapes[y] else y


def mobilenet_v2_features(s: Sketch, *, dilated: bool = False) -> str:
    """Its last map before the classifier's convolution; dilated: of 1/16 of the picture's size,
    with dilation instead of the last stride."""
    x, rate = s.conv(INPUT, 32, 3, 2, act="relu6"), 1
    for expansion, channels, count, stride in MOBILENET_V2:
        for block in range(count):
            step = 1 if block else stride
            if dilated and channels == 160 and not block:
                step, rate = 1, 2
            inner = expansion * s.shapes[x][0]
            x = inverted(s, x, inner, channels, stride=step, dilation=rate)
    return x


def mobilenet_v2(s: Sketch) -> None:
    s.classify(s.conv(mobilenet_v2_features(s), 1280, 1, act="relu6"))


def mobilenet_v3(s: Sketch) -> None:
    x = s.conv(INPUT, 16, 3, 2, act="hswish")
    for kernel, inner, channels, gated, act, stride in MOBILENET_V3:
        squeezed = (inner // 4 + 7) // 8 * 8 if gated else 0
        x = inverted(s, x, inner, channels, stride=stride, kernel=kernel, act=act,
                     squeezed=squeezed, gate="hsigmoid")  # fmt: skip
    x = s.global_average(s.conv(x, 960, 1, act="hswish"))
    s.output(s.dense(s.dense(x, 1280, "hswish"), 1000))


def _efficientnet(s: Sketch, act: str, *, gated: bool) -> None:
    x = s.conv(INPUT, 32, 3, 2, act=act)
    for expansion, channels, count, stride, kernel in EFFICIENTNET:
        for block in range(count):
            depth = s.shapes[x][0]
            x = inverted(s, x, expansion * depth, channels, stride=1 if block else stride,
                         kernel=kernel, act=act, squeezed=max(1, depth // 4) if gated else 0,
                         squeeze_act=act)  # fmt: skip
    s.classify(s.conv(x, 1280, 1, act=act))


def efficientnet_b0(s: Sketch) -> None:
    _efficientnet(s, "silu", gated=True)


def efficientnet_lite0(s: Sketch) -> None:
    _efficientnet(s, "relu6", gated=False)


def shufflenet_v2(s: Sketch) -> None:
    x = s.pool(s.conv(INPUT, 24, 3, 2), 3, 2, 1)
    for channels, count in ((116, 4), (232, 8), (464, 4)):
        half = channels // 2
        for block in range(count):
            if block:
                left, right = s.split(x, (half, half))
            else:
                depth = s.shapes[x][0]
                left = s.conv(x, depth, 3, 2, groups=depth, act="")
                left, right = s.conv(left, half, 1), x
            y = s.conv(right, half, 1)
            y = s.conv(y, half, 3, 1 if block else 2, groups=half, act="")
            x = s.concat([left, s.conv(y, half, 1)])
            _, height, width = s.shapes[x]
            x = s.transpose(s.reshape(x, 2, half, height, width), 0, 2, 1, 3, 4)
            x = s.reshape(x, channels, height, width)
    s.classify(s.conv(x, 1024, 1))
