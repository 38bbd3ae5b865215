"""HarDNet-39DS, -68DS, -68 and -85.

Source: Chao, Kao, Ruan, Huang, Lin, "HarDNet: A Low Memory Traffic Network", ICCV 2019
(arXiv 1909.00948), tables 2 and 3. Parameter names are those of the checkpoints the authors
published, so their files load strictly.
"""

from collections import OrderedDict
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from fpga_gen_models.hardnet_spec import SPECS, HarDNetSpec, block_links, block_width


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
