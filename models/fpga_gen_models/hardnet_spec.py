"""Shapes of the HarDNet family, without torch: stages, links and widths of the blocks.

Source: Chao, Kao, Ruan, Huang, Lin, "HarDNet: A Low Memory Traffic Network", ICCV 2019
(arXiv 1909.00948), tables 2 and 3.
"""

from dataclasses import dataclass


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
