"""HarDNet-39DS, -68DS, -68 and -85.

Source: Chao, Kao, Ruan, Huang, Lin, "HarDNet: A Low Memory Traffic Network", ICCV 2019
(arXiv 1909.00948), tables 2 and 3. Parameter names are those of the checkpoints the authors
published, so their files load strictly.
"""

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Stage:
    """One HarDBlock and the 1x1 transition behind it.

    layers: convolutions in the block; growth: its growth rate k; channels: width of the transition;
    downsample: whether a stride-2 step follows the transition.
    """

    layers: int
    growth: int
    channels: int
    downsample: bool


@dataclass(frozen=True)
class HarDNetSpec:
    """Shape of one member of the family.

    stem: widths of the two stem convolutions; multiplier: the low-dimension compression factor m;
    depthwise: the "DS" variant (1x1 + depthwise 3x3 in place of 3x3, depthwise downsampling);
    last_block_dropout: HarDNet-85 has one extra dropout, which takes up an index in `base`.
    """

    stem: tuple[int, int]
    stages: tuple[Stage, ...]
    multiplier: float = 1.7
    depthwise: bool = False
    dropout: float = 0.1
    last_block_dropout: bool = False


_STAGES_39 = (
    Stage(4, 16, 96, True),
    Stage(16, 20, 320, True),
    Stage(8, 64, 640, True),
    Stage(4, 160, 1024, False),
)
_STAGES_68 = (
    Stage(8, 14, 128, True),
    Stage(16, 16, 256, False),
    Stage(16, 20, 320, True),
    Stage(16, 40, 640, True),
    Stage(4, 160, 1024, False),
)
_STAGES_85 = (
    Stage(8, 24, 192, True),
    Stage(16, 24, 256, False),
    Stage(16, 28, 320, True),
    Stage(16, 36, 480, False),
    Stage(16, 48, 720, True),
    Stage(4, 256, 1280, False),
)

SPECS: dict[str, HarDNetSpec] = {
    "39ds": HarDNetSpec((24, 48), _STAGES_39, multiplier=1.6, depthwise=True, dropout=0.05),
    "68ds": HarDNetSpec((32, 64), _STAGES_68, depthwise=True, dropout=0.05),
    "68": HarDNetSpec((32, 64), _STAGES_68),
    "85": HarDNetSpec((48, 96), _STAGES_85, dropout=0.2, last_block_dropout=True),
}


def block_links(layer: int) -> list[int]:
    """Inputs of layer `layer` (1-based; 0 is the block's input), nearest first.

    Layer l reads layer l - 2^n for every n with 2^n dividing l (paper, section 3.1).
    """
    if layer == 0:
        return []
    return [layer - (1 << n) for n in range(layer.bit_length()) if layer % (1 << n) == 0]


def block_width(layer: int, growth: int, multiplier: float) -> int:
    """Output channels of layer `layer`: k * m^n, 2^n the largest that divides it, made even."""
    width: float = growth
    for _ in range(len(block_links(layer)) - 1):
        width *= multiplier
    return int(int(width + 1) / 2) * 2


class ConvLayer(nn.Sequential):
    """Convolution without bias, BatchNorm, ReLU6. [N, C, H, W] -> [N, out, H/stride, W/stride]."""

    def __init__(self, channels: int, out: int, kernel: int = 3, stride: int = 1) -> None:
        conv = nn.Conv2d(channels, out, kernel, stride, padding=kernel // 2, bias=False)
        parts = {"conv": conv, "norm": nn.BatchNorm2d(out), "relu": nn.ReLU6(inplace=True)}
        super().__init__(OrderedDict(parts))


class DWConvLayer(nn.Sequential):
    """Depthwise 3x3 and BatchNorm, no activation."""

    def __init__(self, channels: int, stride: int = 1) -> None:
        conv = nn.Conv2d(channels, channels, 3, stride, padding=1, groups=channels, bias=False)
        super().__init__(OrderedDict({"dwconv": conv, "norm": nn.BatchNorm2d(channels)}))


class CombConvLayer(nn.Sequential):
    """1x1 convolution (with activation), then depthwise 3x3 (without)."""

    def __init__(self, channels: int, out: int) -> None:
        parts = {"layer1": ConvLayer(channels, out, kernel=1), "layer2": DWConvLayer(out)}
        super().__init__(OrderedDict(parts))


class HarDBlock(nn.Module):
    """Harmonic dense block.

    Every layer concatenates its links (nearest first). The block's output concatenates the odd
    layers and the last one, in order.
    """

    def __init__(
        self, channels: int, growth: int, multiplier: float, layers: int, depthwise: bool = False
    ) -> None:
        super().__init__()
        widths = [channels] + [block_width(i, growth, multiplier) for i in range(1, layers + 1)]
        self.links = [block_links(i) for i in range(1, layers + 1)]
        self.kept = [i for i in range(1, layers + 1) if i % 2 == 1 or i == layers]
        self.out_channels = sum(widths[i] for i in self.kept)
        make = CombConvLayer if depthwise else ConvLayer
        self.layers = nn.ModuleList(
            make(sum(widths[j] for j in links), widths[i])
            for i, links in enumerate(self.links, start=1)
        )

    def forward(self, x: Tensor) -> Tensor:
        maps = [x]
        for layer, links in zip(self.layers, self.links, strict=True):
            inputs = [maps[i] for i in links]
            maps.append(layer(inputs[0] if len(inputs) == 1 else torch.cat(inputs, 1)))
        return torch.cat([maps[i] for i in self.kept], 1)


def backbone_layers(spec: HarDNetSpec) -> Iterator[nn.Module]:
    """The feature extractor, one module per index of `base`, without the classifier tail."""
    first, second = spec.stem
    yield ConvLayer(3, first, stride=2)
    yield ConvLayer(first, second, kernel=1 if spec.depthwise else 3)
    if spec.depthwise:
        yield DWConvLayer(second, stride=2)
    else:
        yield nn.MaxPool2d(kernel_size=3, stride=2, padding=1)
    channels = second
    for index, stage in enumerate(spec.stages):
        block = HarDBlock(channels, stage.growth, spec.multiplier, stage.layers, spec.depthwise)
        yield block
        if spec.last_block_dropout and index == len(spec.stages) - 1:
            yield nn.Dropout(0.1)
        yield ConvLayer(block.out_channels, stage.channels, kernel=1)
        channels = stage.channels
        if stage.downsample and spec.depthwise:
            yield DWConvLayer(channels, stride=2)
        elif stage.downsample:
            yield nn.MaxPool2d(kernel_size=2, stride=2)


class HarDNet(nn.Module):
    """Classifier: [N, 3, H, W] normalised RGB -> [N, classes] logits; H, W multiples of 32.

    The last entry of `base` is the tail: global average pooling, flatten, dropout, linear, so that
    the linear layer is `base.N.3` as in the published checkpoints.
    """

    def __init__(self, spec: HarDNetSpec, classes: int = 1000) -> None:
        super().__init__()
        self.base = nn.ModuleList(backbone_layers(spec))
        tail = (
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Dropout(spec.dropout),
            nn.Linear(spec.stages[-1].channels, classes),
        )
        self.base.append(nn.Sequential(*tail))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.base:
            x = layer(x)
        return x


def build_hardnet(variant: str, classes: int = 1000) -> HarDNet:
    """HarDNet by variant: a key of `SPECS` ("39ds", "68ds", "68", "85"). Raises KeyError."""
    return HarDNet(SPECS[variant], classes)
