"""Parts of networks on HarDNet (arXiv 1909.00948), as the zoo draws them."""

from __future__ import annotations

from collections.abc import Iterator

from fpga_gen_models.hardnet_spec import SPECS, HarDNetSpec, block_links, block_width
from fpga_gen_models.zoo.sketch import INPUT, Sketch


def hard_block(
    s: Sketch, x: str, growth: int, layers: int, multiplier: float = 1.7, act: str = "relu"
) -> str:
    """Harmonic dense block: every layer joins its links, the block its odd layers and the last."""
    maps = [x]
    for layer in range(1, layers + 1):
        links = [maps[k] for k in block_links(layer)]
        joined = s.concat(links) if len(links) > 1 else links[0]
        maps.append(s.conv(joined, block_width(layer, growth, multiplier), act=act))
    return s.concat([maps[k] for k in range(1, layers + 1) if k % 2 or k == layers])


def stages(s: Sketch, spec: HarDNetSpec) -> Iterator[tuple[str, str]]:
    """(block, transition) of every stage of a HarDNet, without the classifier."""
    x = s.conv(s.conv(INPUT, spec.stem[0], 3, 2, act="relu6"), spec.stem[1], act="relu6")
    x = s.pool(x, 3, 2, 1)
    for stage in spec.stages:
        block = hard_block(s, x, stage.growth, stage.layers, spec.multiplier, "relu6")
        x = s.conv(block, stage.channels, 1, act="relu6")
        yield block, x
        if stage.downsample:
            x = s.pool(x)


def classifier(s: Sketch, variant: str) -> None:
    """HarDNet-68 or -85 for ImageNet."""
    *_, (_, x) = stages(s, SPECS[variant])
    s.classify(x)
