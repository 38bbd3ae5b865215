"""Detectors: YOLOv3-tiny (arXiv 1804.02767); networks of the shape of YOLOv5n and YOLOv8n (their
repositories' model files describe the layers), with boxes decoded at the end."""

from __future__ import annotations

import numpy as np

from fpga_gen_models.zoo.sketch import INPUT, Sketch

CLASSES = 80
ANCHORS = 3
BINS = 16  # of a distance to a side of a box


def yolov3_tiny(s: Sketch) -> None:
    """Two maps of raw predictions."""
    x, depth, skip = INPUT, 3 * (CLASSES + 5), ""
    for width in (16, 32, 64, 128, 256):
        x = skip = s.conv(x, width, act="leaky")
        x = s.pool(x)
    x = s.conv(x, 512, act="leaky")
    _, height, width = s.shapes[x]
    x = s.node("MaxPool", [x], (512, height, width), kernel_shape=[2, 2], strides=[1, 1],
               pads=[0, 0, 1, 1])  # fmt: skip
    x = s.conv(s.conv(x, 1024, act="leaky"), 256, 1, act="leaky")
    s.output(s.conv(s.conv(x, 512, act="leaky"), depth, 1, act=""))
    y = s.resize(s.conv(x, 128, 1, act="leaky"), (2 * height, 2 * width), "nearest")
    y = s.conv(s.concat([y, skip]), 256, act="leaky")
    s.output(s.conv(y, depth, 1, act=""))


def _pyramid_pool(s: Sketch, x: str, channels: int) -> str:
    """SPPF: three max-pools one behind the other, joined."""
    parts = [s.conv(x, s.shapes[x][0] // 2, 1, act="silu")]
    for _ in range(3):
        parts.append(s.pool(parts[-1], 5, 1, 2))
    return s.conv(s.concat(parts), channels, 1, act="silu")


def _bottleneck(s: Sketch, x: str, *, short: bool, kernel: int = 3) -> str:
    width = s.shapes[x][0]
    y = s.conv(s.conv(x, width, kernel, act="silu"), width, act="silu")
    return s.add(x, y) if short else y


def _c3(s: Sketch, x: str, channels: int, count: int, *, short: bool = True) -> str:
    y, width = s.conv(x, channels // 2, 1, act="silu"), channels // 2
    for _ in range(count):
        y = _bottleneck(s, y, short=short, kernel=1)
    return s.conv(s.concat([y, s.conv(x, width, 1, act="silu")]), channels, 1, act="silu")


def _c2f(s: Sketch, x: str, channels: int, count: int, *, short: bool = True) -> str:
    width = channels // 2
    parts = s.split(s.conv(x, channels, 1, act="silu"), (width, width))
    for _ in range(count):
        parts.append(_bottleneck(s, parts[-1], short=short))
    return s.conv(s.concat(parts), channels, 1, act="silu")


def _backbone(s: Sketch, block, stem: int) -> list[str]:
    """Maps of 1/8, 1/16 and 1/32 of the picture's size."""
    x = s.conv(INPUT, 16, stem, 2, pad=(stem - 1) // 2, act="silu")
    found = []
    for width, count in ((32, 1), (64, 2), (128, 3 if block is _c3 else 2), (256, 1)):
        x = block(s, s.conv(x, width, 3, 2, act="silu"), width, count)
        found.append(x)
    return [*found[1:3], _pyramid_pool(s, x, 256)]


def _up(s: Sketch, x: str) -> str:
    _, height, width = s.shapes[x]
    return s.resize(x, (2 * height, 2 * width), "nearest")


def yolov5n(s: Sketch) -> None:
    small, middle, large = _backbone(s, _c3, 6)
    a = s.conv(large, 128, 1, act="silu")
    b = _c3(s, s.concat([_up(s, a), middle]), 128, 1, short=False)
    b = s.conv(b, 64, 1, act="silu")
    c = _c3(s, s.concat([_up(s, b), small]), 64, 1, short=False)
    d = _c3(s, s.concat([s.conv(c, 64, 3, 2, act="silu"), b]), 128, 1, short=False)
    e = _c3(s, s.concat([s.conv(d, 128, 3, 2, act="silu"), a]), 256, 1, short=False)
    heads = [_anchored(s, x, stride) for x, stride in ((c, 8), (d, 16), (e, 32))]
    s.output(s.concat(heads))


def _anchored(s: Sketch, x: str, stride: int) -> str:
    """Boxes of one map: (anchors * pixels, 5 + classes)."""
    values = CLASSES + 5
    y = s.conv(x, ANCHORS * values, 1, act="")
    _, h, w = s.shapes[y]
    y = s.transpose(s.reshape(y, ANCHORS, values, h, w), 0, 1, 3, 4, 2)
    xy, wh, rest = s.split(s.act(y, "sigmoid"), (2, 2, CLASSES + 1), axis=4)
    grid = np.stack(np.meshgrid(np.arange(w), np.arange(h)), -1)[None, None] - 0.5
    anchors = np.broadcast_to(stride * np.arange(1.0, 4.0)[:, None, None, None], (3, h, w, 2))

    def constant(array) -> str:
        return s.constant(np.asarray(array, np.float32))

    xy = s.node("Mul", [xy, constant(2.0)], s.shapes[xy])
    xy = s.node("Add", [xy, constant(grid)], s.shapes[xy])
    xy = s.node("Mul", [xy, constant(stride)], s.shapes[xy])
    wh = s.node("Mul", [wh, constant(2.0)], s.shapes[wh])
    wh = s.node("Pow", [wh, constant(2.0)], s.shapes[wh])
    wh = s.node("Mul", [wh, constant(anchors[None])], s.shapes[wh])
    return s.reshape(s.concat([xy, wh, rest], axis=4), ANCHORS * h * w, values)


def yolov8n(s: Sketch) -> None:
    small, middle, large = _backbone(s, _c2f, 3)
    a = _c2f(s, s.concat([_up(s, large), middle]), 128, 1, short=False)
    b = _c2f(s, s.concat([_up(s, a), small]), 64, 1, short=False)
    c = _c2f(s, s.concat([s.conv(b, 64, 3, 2, act="silu"), a]), 128, 1, short=False)
    d = _c2f(s, s.concat([s.conv(c, 128, 3, 2, act="silu"), large]), 256, 1, short=False)
    flat = []
    for x in (b, c, d):
        box, kind = x, x
        for _ in range(2):
            box, kind = s.conv(box, 64, act="silu"), s.conv(kind, CLASSES, act="silu")
        y = s.concat([s.conv(box, 4 * BINS, 1, act=""), s.conv(kind, CLASSES, 1, act="")])
        _, h, w = s.shapes[y]
        flat.append(s.reshape(y, 4 * BINS + CLASSES, h * w))
    _decoded(s, s.concat(flat, axis=2), [s.shapes[x][1:] for x in (b, c, d)])


def _decoded(s: Sketch, y: str, sizes: list[tuple[int, ...]]) -> None:
    """Boxes as integrals over bins, and scores: (4 + classes, pixels of all maps)."""
    total = s.shapes[y][1]
    box, kind = s.split(y, (4 * BINS, CLASSES))
    box = s.transpose(s.reshape(box, 4, BINS, total), 0, 2, 1, 3)
    box = s.node("Softmax", [box], s.shapes[box], axis=1)
    bins = s.constant(np.arange(BINS, dtype=np.float32).reshape(1, BINS, 1, 1))
    box = s.reshape(s.node("Conv", [box, bins], (1, 4, total)), 4, total)
    points, strides = [], []
    for (h, w), stride in zip(sizes, (8, 16, 32), strict=True):
        grid = np.stack(np.meshgrid(np.arange(w), np.arange(h)), 0).reshape(2, -1) + 0.5
        points.append(grid)
        strides.append(np.full((1, h * w), stride))
    point = s.constant(np.concatenate(points, 1)[None].astype(np.float32))
    low, high = s.split(box, (2, 2))
    low = s.node("Sub", [point, low], (2, total))
    high = s.node("Add", [point, high], (2, total))
    two = s.constant(np.array(2.0, np.float32))
    centre = s.node("Div", [s.add(low, high), two], (2, total))
    box = s.concat([centre, s.node("Sub", [high, low], (2, total))])
    stride = s.constant(np.concatenate(strides, 1)[None].astype(np.float32))
    box = s.node("Mul", [box, stride], (4, total))
    s.output(s.concat([box, s.act(kind, "sigmoid")]))
