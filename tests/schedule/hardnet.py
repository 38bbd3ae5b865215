"""HarDNet-MSEG as a quantised graph with random weights: the real shapes, any input size.

Source of the shapes: arXiv 1909.00948 (HarDNet-68), arXiv 2101.07172 (HarDNet-MSEG). Two siblings
of the decoder's products stay at 16 bits. The stem reads the image in 2x2 blocks (12 channels).
"""

from __future__ import annotations

from fpga_gen.contract.numerics import I8, I16, U8, Format
from fpga_gen.contract.params import EngineParams
from tests.schedule.graphs import Builder, Example, linear_table

STAGES = (
    (8, 14, 128, True),
    (16, 16, 256, False),
    (16, 20, 320, True),
    (16, 40, 640, True),
    (4, 160, 1024, False),
)
FEATURES = (2, 3, 4)  # stages whose transition feeds the decoder
MULTIPLIER = 1.7
TOP = 40  # largest weight: keeps the widest sums of 16-bit maps within the accumulator


def _links(layer: int) -> list[int]:
    return [layer - (1 << n) for n in range(layer.bit_length()) if layer % (1 << n) == 0]


def _width(layer: int, growth: int) -> int:
    width = float(growth)
    for _ in range(len(_links(layer)) - 1):
        width *= MULTIPLIER
    return int(int(width + 1) / 2) * 2


def _same(
    b: Builder,
    source,
    channels: int,
    kernel: tuple[int, int],
    fmt: Format,
    dilation: int = 1,
    kinds: tuple | None = None,
) -> str:
    """Convolution that keeps the map's size."""
    kinds = kinds or b.kinds(channels)
    py, px = (k // 2 * dilation for k in kernel)
    term = b.term(source, kinds, kernel, (1, 1), (py, px, py, px), (dilation,) * 2, TOP)
    return b.conv(term, kinds, fmt)


def _encoder(b: Builder, size: int) -> list[str]:
    x = b.input(12, size // 2, size // 2)
    kinds = b.kinds(32)
    x = b.conv(b.term(x, kinds, (2, 2), pads=(1, 1, 0, 0), top=TOP), kinds, U8)
    x = b.pool(_same(b, x, 64, (3, 3), U8), 3, 2, (1, 1, 1, 1))
    features = []
    for index, (layers, growth, channels, downsample) in enumerate(STAGES):
        maps = [x]
        for layer in range(1, layers + 1):
            inputs = tuple(maps[k] for k in _links(layer))
            maps.append(_same(b, inputs, _width(layer, growth), (3, 3), U8))
        kept = tuple(maps[i] for i in range(1, layers + 1) if i % 2 or i == layers)
        x = _same(b, kept, channels, (1, 1), U8)
        if index in FEATURES:
            features.append(x)
        if downsample:
            x = b.pool(x, 2, 2)
    return features


def _rfb(b: Builder, x: str, kinds: tuple) -> str:
    """Receptive field block with its residual as a second term of the last convolution."""
    branches = [_same(b, x, 32, (1, 1), I8)]
    for k in (3, 5, 7):
        y = _same(b, x, 32, (1, 1), I8)
        y = _same(b, y, 32, (1, k), I8)
        y = _same(b, y, 32, (k, 1), I8)
        branches.append(_same(b, y, 32, (3, 3), I8, dilation=k))
    terms = [
        b.term(tuple(branches), kinds, (3, 3), pads=(1, 1, 1, 1), top=TOP),
        b.term(x, kinds, (1, 1), top=TOP),
    ]
    return b.conv(terms, kinds, U8)


def _up(b: Builder, x: str) -> str:
    t = b.tensors[x]
    return b.resample(
        x, linear_table(t.height, 2 * t.height), linear_table(t.width, 2 * t.width), t.format
    )


def hardnet_mseg(params: EngineParams, size: int = 352, seed: int = 0) -> Example:
    """The network up to its logits at stride 8; size: input height and width, multiple of 32."""
    b = Builder("hardnet-mseg", params, seed)
    high, mid, low = _encoder(b, size)
    kinds = b.kinds(32)
    low, mid, high = (_rfb(b, x, kinds) for x in (low, mid, high))
    low_up = _up(b, low)
    mid_gated = b.mul(_same(b, low_up, 32, (3, 3), I8, kinds=kinds), mid, I16)
    gate = b.mul(
        _same(b, _up(b, low_up), 32, (3, 3), I8, kinds=kinds),
        _same(b, _up(b, mid), 32, (3, 3), I8, kinds=kinds),
        I16,
    )
    high_gated = b.mul(gate, high, I16)
    mid_all = _same(b, (mid_gated, _same(b, low_up, 32, (3, 3), I8)), 64, (3, 3), I8)
    high_all = (high_gated, _same(b, _up(b, mid_all), 64, (3, 3), I8))
    high_all = _same(b, high_all, 96, (3, 3), I8)
    return b.example(_same(b, high_all, 1, (3, 3), I16))
