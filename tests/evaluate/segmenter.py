"""A network that segments phantoms: seeded random features and a head fitted in closed form."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np

from fpga_gen.frontend.importer import import_onnx
from fpga_gen.graph.interpreter import run_float
from fpga_gen.images import Preprocess, prepare, write_png
from fpga_gen.phantom import draw_phantom
from tests.frontend.onnx_models import Net

SIZE = 40
TRAIN, RIDGE = range(100, 132), 1e-3


def _body(net: Net) -> tuple[str, int]:
    """(features at half the input's size, their number): two scales, concatenated."""
    fine = net.op("Relu", net.conv("x", 3, 12, strides=[2, 2], name="fine"))
    middle = net.op("Relu", net.conv(fine, 12, 12, name="middle"))
    low = net.op("MaxPool", middle, kernel_shape=[2, 2], strides=[2, 2])
    deep = net.op("Relu", net.conv(low, 12, 16, k=5, name="deep"))
    deep = net.op("Relu", net.conv(deep, 16, 16, name="deeper"))
    up = net.op(
        "Resize", deep, "", net.const([1, 1, 2, 2]), mode="linear",
        coordinate_transformation_mode="align_corners",
    )  # fmt: skip
    return net.op("Concat", fine, middle, up, axis=1, name="features"), 40


def _net() -> Net:
    return Net(shape=(1, 3, SIZE, SIZE), opset=17, seed=14)


def _truth(mask: np.ndarray) -> np.ndarray:
    """-1 or 1 at the size of the features."""
    return np.where(mask[::2, ::2], 1.0, -1.0).reshape(-1)


@cache
def _head() -> tuple[np.ndarray, float]:
    """(weights (features,), bias) by ridge regression on the training phantoms."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        net = _net()
        features, _ = _body(net)
        graph = import_onnx(net.save(Path(folder), features))
    rows, wanted = [], []
    for seed in TRAIN:
        picture, mask = draw_phantom(SIZE, SIZE, seed)
        maps = run_float(graph, prepare(picture, (3, SIZE, SIZE), Preprocess()))
        rows.append(maps[graph.outputs[0]].reshape(-1, (SIZE // 2) ** 2).T)
        wanted.append(_truth(mask))
    x, y = np.concatenate(rows).astype(np.float64), np.concatenate(wanted)
    x = np.append(x, np.ones((len(x), 1)), 1)
    weight = np.where(y > 0, 1 / (y > 0).mean(), 1 / (y < 0).mean())  # few pixels are polyp
    square = (x * weight[:, None]).T @ x
    square += RIDGE * (np.diag(np.diag(square)) + np.eye(len(square)))
    solution = np.linalg.solve(square, (x * weight[:, None]).T @ y)
    found, polyp = x @ solution, y > 0
    shift = max(np.linspace(-1, 1, 81), key=lambda s: _dice(found > s, polyp))
    return 4 * solution[:-1], 4 * float(solution[-1] - shift)


def _dice(found: np.ndarray, truth: np.ndarray) -> float:
    return 2 * float((found & truth).sum()) / max(1, int(found.sum() + truth.sum()))


def write_segmenter(folder: Path) -> Path:
    """net.onnx: normalised picture (1, 3, 40, 40) -> logits (1, 1, 20, 20)."""
    weight, bias = _head()
    net = _net()
    features, _ = _body(net)
    kernel = net.const(weight.reshape(1, -1, 1, 1), name="head.weight")
    out = net.op("Conv", features, kernel, net.const([bias], name="head.bias"), name="head")
    return net.save(folder, out)


def write_phantoms(folder: Path, seeds: range) -> None:
    """images/ and masks/ of phantoms."""
    for seed in seeds:
        picture, mask = draw_phantom(SIZE, SIZE, seed)
        write_png(folder / "images" / f"{seed}.png", picture)
        write_png(folder / "masks" / f"{seed}.png", mask.astype(np.uint8) * 255)
