"""Segmentation on HarDNet: FC-HarDNet-70 (arXiv 1909.00948, section 4.2, and the authors' published
network) and the same with cross-stage partial blocks (CSPNet, arXiv 1911.11929)."""

from __future__ import annotations

from collections.abc import Callable

from onnx import TensorProto

from fpga_gen_models.zoo.hardnet import hard_block
from fpga_gen_models.zoo.sketch import INPUT, Sketch

CLASSES = 19  # of Cityscapes
WIDTHS = (64, 96, 160, 224, 320)
GROWTHS = (10, 16, 18, 24, 32)
LAYERS = (4, 4, 8, 8, 8)

Block = Callable[[Sketch, str, int, int], str]


def partial_block(s: Sketch, x: str, growth: int, layers: int) -> str:
    """Half the channels go through a harmonic dense block, the others past it."""
    channels = s.shapes[x][0]
    past, through = s.split(x, (channels // 2, channels - channels // 2))
    return s.concat([past, hard_block(s, through, growth, layers)])


def _quarter_size(s: Sketch, block: Block) -> str:
    """Scores of the classes at a quarter of the picture's size."""
    x = INPUT
    for width, stride in ((16, 2), (24, 1), (32, 2), (48, 1)):
        x = s.conv(x, width, 3, stride)
    skips = []
    for at, (growth, layers, width) in enumerate(zip(GROWTHS, LAYERS, WIDTHS, strict=True)):
        if at:
            x = s.average(x)
        x = block(s, x, growth, layers)
        skips.append(x)
        x = s.conv(x, width, 1)
    for growth, layers, skip in list(zip(GROWTHS, LAYERS, skips, strict=True))[-2::-1]:
        _, height, width = s.shapes[skip]
        x = s.concat([s.resize(x, (height, width), corners=True), skip])
        x = block(s, s.conv(x, s.shapes[x][0] // 2, 1), growth, layers)
    return s.conv(x, CLASSES, 1, act="")


def _whole_size(s: Sketch, x: str) -> None:
    """As published: scores enlarged to the size of the picture."""
    _, height, width = s.shapes[INPUT]
    s.output(s.resize(x, (height, width), corners=True))


def fc_hardnet70(s: Sketch) -> None:
    _whole_size(s, _quarter_size(s, hard_block))


def fc_hardnet70_classes(s: Sketch) -> None:
    """The class of every pixel at a quarter of the size. That is not the published definition,
    which enlarges scores first: near borders of classes the two differ."""
    x = _quarter_size(s, hard_block)
    _, height, width = s.shapes[x]
    s.output(s.node("ArgMax", [x], (height, width), axis=1, keepdims=0), TensorProto.INT64)


def csp_hardnet(s: Sketch) -> None:
    _whole_size(s, _quarter_size(s, partial_block))
