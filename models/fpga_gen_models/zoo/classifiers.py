"""Classifiers of ImageNet: ResNet (arXiv 1512.03385), VGG (1409.1556), AlexNet (1404.5997),
SqueezeNet (1602.07360), DenseNet (1608.06993)."""

from __future__ import annotations

from fpga_gen_models.zoo.sketch import INPUT, Sketch


def _stem(s: Sketch) -> str:
    return s.pool(s.conv(INPUT, 64, 7, 2), 3, 2, 1)


def resnet18(s: Sketch) -> None:
    x = _stem(s)
    for stage, width in enumerate((64, 128, 256, 512)):
        for block in range(2):
            stride = 2 if stage and not block else 1
            y = s.conv(s.conv(x, width, 3, stride), width, act="", gain=0.5)
            short = x if s.shapes[x] == s.shapes[y] else s.conv(x, width, 1, stride, act="")
            x = s.add(y, short, "relu")
    s.classify(x)


def resnet50(s: Sketch) -> None:
    x = _stem(s)
    for stage, (width, count) in enumerate(((64, 3), (128, 4), (256, 6), (512, 3))):
        for block in range(count):
            stride = 2 if stage and not block else 1
            y = s.conv(s.conv(x, width, 1), width, 3, stride)
            y = s.conv(y, 4 * width, 1, act="", gain=0.5)
            short = x if s.shapes[x] == s.shapes[y] else s.conv(x, 4 * width, 1, stride, act="")
            x = s.add(y, short, "relu")
    s.classify(x)


def vgg16(s: Sketch) -> None:
    x = INPUT
    for width, count in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        for _ in range(count):
            x = s.conv(x, width)
        x = s.pool(x)
    s.output(s.dense(s.dense(s.dense(x, 4096, "relu"), 4096, "relu"), 1000))


def alexnet(s: Sketch) -> None:
    x = s.pool(s.conv(INPUT, 64, 11, 4, pad=2), 3, 2)
    x = s.pool(s.conv(x, 192, 5), 3, 2)
    x = s.conv(s.conv(s.conv(x, 384), 256), 256)
    x = s.pool(x, 3, 2)
    s.output(s.dense(s.dense(s.dense(x, 4096, "relu"), 4096, "relu"), 1000))


def squeezenet(s: Sketch) -> None:
    x = s.pool(s.conv(INPUT, 64, 3, 2, pad=0), 3, 2, ceil_mode=1)
    for squeeze, pooled in ((16, False), (16, True), (32, False), (32, True),
                            (48, False), (48, False), (64, False), (64, False)):  # fmt: skip
        y = s.conv(x, squeeze, 1)
        x = s.concat([s.conv(y, 4 * squeeze, 1), s.conv(y, 4 * squeeze, 3)])
        x = s.pool(x, 3, 2, ceil_mode=1) if pooled else x
    x = s.global_average(s.conv(x, 1000, 1))
    s.output(s.node("Flatten", [x], (1000,)))


def densenet121(s: Sketch) -> None:
    x = _stem(s)
    for stage, count in enumerate((6, 12, 24, 16)):
        for _ in range(count):
            y = s.conv(s.norm(x), 128, 1)  # the norm behind this convolution is folded
            x = s.concat([x, s.conv(y, 32, act="")])
        if stage < 3:
            x = s.average(s.conv(s.norm(x), s.shapes[x][0] // 2, 1, act=""))
    s.classify(s.norm(x))
