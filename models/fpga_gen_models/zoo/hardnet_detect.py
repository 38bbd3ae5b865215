"""Detectors on HarDNet: SSD (arXiv 1512.02325), CenterNet (1904.07850) and FairMOT (2004.01888),
with the layers of the networks that the authors of HarDNet published."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fpga_gen_models.hardnet_spec import SPECS
from fpga_gen_models.zoo.hardnet import hard_block
from fpga_gen_models.zoo.sketch import INPUT, Sketch

SSD_CLASSES = 81  # of COCO, the background among them
EXTRAS = {300: ((512, 2), (256, 2), (256, 1), (256, 1)), 512: ((512, 2), *((256, 2),) * 3)}
BOXES = {300: (6, 6, 6, 6, 4, 4), 512: (6, 6, 6, 6, 6, 4, 4)}
SIDE = 32  # channels that bypass a stage of the decoder
EMBEDDING = 128  # values that tell people apart
NORM_OFFSET = 0.1  # keeps the divisor of a sum-to-one norm from zero


def _ssd_maps(s: Sketch, variant: str) -> tuple[str, str]:
    """Maps at an eighth and a sixteenth or thirty-second of the picture, and the bridge."""
    spec = SPECS[variant]
    x = s.conv(s.conv(INPUT, spec.stem[0], 3, 2), spec.stem[1])
    x = s.pool(x, 3, 2, 1)
    first = ""
    last = len(spec.stages) - 2  # of the classifier the last stage is left out
    for at, stage in enumerate(spec.stages[: last + 1]):
        x = s.conv(hard_block(s, x, stage.growth, stage.layers), stage.channels, 1)
        first = x if stage.channels == 320 else first
        if at == 0:
            x = s.pool(x, ceil_mode=1)
        elif stage.downsample and at != last:
            x = s.pool(x)
    x = s.pool(x, 3, 1, 1)
    if variant == "68":
        x = s.conv(s.conv(x, 640, dilation=4), 640, 1)
    else:
        x = s.conv(s.conv(x, 960), 720, 1)
    return first, x


def _unit_length(s: Sketch, x: str, gain: float = 20.0) -> str:
    """Every pixel's channels divided by their length, times a factor for each channel."""
    channels, height, width = s.shapes[x]
    two = s.constant(np.array(2.0, np.float32))
    square = s.node("Pow", [x, two], s.shapes[x])
    total = s.node("ReduceSum", [square, s.ints(1)], (1, height, width), keepdims=1)
    length = s.node("Sqrt", [total], (1, height, width))
    least = s.constant(np.array(1e-10, np.float32))
    length = s.node("Add", [length, least], (1, height, width))
    unit = s.node("Div", [x, length], s.shapes[x])
    factors = s.constant(np.full((1, channels, 1, 1), gain, np.float32))
    return s.node("Mul", [factors, unit], s.shapes[x])


def ssd(s: Sketch, variant: str) -> None:
    """Two results: offsets of all default boxes, and scores of their classes."""
    size = 512 if s.shapes[INPUT][1] >= 512 else 300
    first, x = _ssd_maps(s, variant)
    sources = [_unit_length(s, first), x]
    for at, (width, stride) in enumerate(EXTRAS[size]):
        x = s.conv(s.conv(x, 256 if at == 0 else 128, 1), width, 3, stride, pad=int(stride == 2))
        sources.append(x)
    if size == 512:
        sources.append(s.conv(s.conv(x, 128, 1), 256, 4, pad=1))
    for values in (4, SSD_CLASSES):
        parts = []
        for x, boxes in zip(sources, BOXES[size], strict=True):
            y = s.conv(x, boxes * values, act="")
            _, height, width = s.shapes[y]
            y = s.transpose(y, 0, 2, 3, 1)
            parts.append(s.reshape(y, height * width * boxes, values))
        s.output(s.concat(parts))


def ssd_hardnet68(s: Sketch) -> None:
    ssd(s, "68")


def ssd_hardnet85(s: Sketch) -> None:
    ssd(s, "85")


def _three_views(s: Sketch, x: str) -> str:
    """A map, its mean of 9x9 pixels, and the map with every channel divided by its sum."""
    mean = s.average(x, 9, 1, 4)
    channels = s.shapes[x][0]
    total = s.node("ReduceSum", [x, s.ints(2, 3)], (channels, 1, 1), keepdims=1)
    offset = s.constant(np.array(NORM_OFFSET, np.float32))
    total = s.node("Add", [total, offset], (channels, 1, 1))
    return s.concat([x, mean, s.node("Div", [x, total], s.shapes[x])])


def _centres(s: Sketch) -> str:
    """The U-shaped HarDNet-85: features at a quarter of the picture's size."""
    spec = SPECS["85"]
    x = s.conv(INPUT, spec.stem[0], 3, 2)
    x = skip = s.conv(x, spec.stem[1])
    skips = {0: skip}
    x = s.average(x, 3, 2, 1)
    for at, stage in enumerate(spec.stages[:5]):
        x = hard_block(s, x, stage.growth, stage.layers)
        skips[at + 1] = x
        if at < 4:
            x = s.conv(x, stage.channels, 1)
            if stage.downsample:
                x = s.average(x)
    x = s.average(s.conv(x, 256, 1))
    x = hard_block(s, _three_views(s, x), 80, 8)
    sides = []
    for skip, width, side, growth, layers in (
        (skips[5], 224, SIDE, 64, 8), (skips[3], 160, SIDE, 48, 8), (skips[1], 96, 0, 28, 4),
    ):  # fmt: skip
        _, height, columns = s.shapes[skip]
        x = s.concat([s.resize(x, (height, columns), corners=True), skip])
        x = s.conv(x, width + side, 1)
        if side:
            x, past = s.split(x, (width, side))
            sides.append(past)
        x = hard_block(s, _three_views(s, x), growth, layers)
    _, height, columns = s.shapes[x]
    enlarged = [s.resize(past, (height, columns), corners=True) for past in sides]
    return s.concat([*enlarged[::-1], x])


def _heads(s: Sketch, x: str, heads: Sequence[int]) -> list[str]:
    return [s.conv(s.conv(x, max(128, 4 * n)), n, 1, act="") for n in heads]


def centernet_hardnet85(s: Sketch) -> None:
    """Peaks of 80 classes, sizes, offsets of the centres."""
    peaks, boxes = _heads(s, _centres(s), (80, 4))
    for result in (peaks, *s.split(boxes, (2, 2))):
        s.output(result)


def fairmot_hardnet85(s: Sketch) -> None:
    """Peaks of people, distances to the four sides of their boxes, embeddings, offsets."""
    for result in _heads(s, _centres(s), (1, 4, EMBEDDING, 2)):
        s.output(result)
