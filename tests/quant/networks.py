"""Tiny float networks and integer networks that hold every kind of node."""

from __future__ import annotations

import numpy as np

from fpga_gen.contract.epilogue import Epilogue
from fpga_gen.contract.numerics import I8, I16, TWO_TERM, U8
from fpga_gen.graph.ir import (
    Activation,
    Add,
    AxisTable,
    Concat,
    Conv,
    ConvTerm,
    Graph,
    MaxPool,
    Mul,
    Resample,
    Tensor,
)
from fpga_gen.quant.ir import (
    QAdd,
    QConv,
    QConvTerm,
    QMaxPool,
    QMul,
    QResample,
    QTensor,
    QuantGraph,
)
from fpga_gen_host.host_ops import HostOp
from fpga_gen_host.model_input import HostInput

RELU, RELU6 = Activation(0.0), Activation(0.0, 6.0)


def upsample(size: int) -> AxisTable:
    """Linear resampling to twice the size with denominator 4 (half-pixel centres)."""
    start, weights = [], []
    for i in range(2 * size):
        low = (2 * i - 1) // 4
        at = min(max(low, 0), size - 2)
        right = min(max((2 * i - 1) / 4 - at, 0), 1)
        start.append(at)
        weights.append((4 - round(4 * right), round(4 * right)))
    return AxisTable(size, tuple(start), tuple(weights), 4)


def mean(size: int) -> AxisTable:
    return AxisTable(size, (0,), ((1,) * size,), size)


def all_nodes(seed: int = 0, channels: int = 12) -> Graph:
    """Every node kind: dense, grouped, strided, dilated and two-term convolutions, concats."""
    rng = np.random.default_rng(seed)
    c = channels

    def term(name: str, fan_in: int, out: int, k: int = 3, groups: int = 1, **geometry):
        shape = (out, fan_in // groups, k, k)
        weight = rng.standard_normal(shape) * np.sqrt(2 / (fan_in // groups * k * k))
        return ConvTerm(name, weight.astype(np.float32), groups=groups, **geometry)

    def bias(n: int) -> np.ndarray:
        return (0.1 * rng.standard_normal(n)).astype(np.float32)

    same = {"pads": (1, 1, 1, 1)}
    nodes = (
        Conv("stem", (term("image", 3, c, stride=(2, 2), **same),), bias(c), "a", RELU6, "Conv_0"),
        MaxPool("pool", "a", "b", (2, 2), (2, 2), (0, 0, 0, 0)),
        Conv("deep", (term("b", c, c, dilation=(2, 2), pads=(2, 2, 2, 2)),), bias(c), "d", RELU),
        Conv("depthwise", (term("d", c, c, groups=c, **same),), bias(c), "e", RELU6),
        Concat("cat", ("b", "d", "e"), "bde"),
        Conv("mix", (term("bde", 3 * c, c, k=1),), bias(c), "m"),
        Conv("two", (term("bde", 3 * c, c, **same), term("m", c, c, k=1)), bias(c), "t"),
        Add("add", ("m", "t", "d"), "s", RELU),
        Mul("mul", ("m", "t"), "p"),
        Mul("mul3", ("p", "t"), "q"),
        Resample("up", "s", "u", upsample(6), upsample(7)),
        Conv("grouped", (term("q", c, 8, groups=2, **same),), bias(8), "g", Activation(-1.0, 1.5)),
        Conv("head", (term("u", c, 5),), bias(5), "h"),
        Resample("pooled", "g", "z", mean(6), mean(7)),
    )
    sizes = {
        "image": (3, 24, 28), "a": (c, 12, 14), "u": (c, 12, 14), "bde": (3 * c, 6, 7),
        "g": (8, 6, 7), "h": (5, 10, 12), "z": (8, 1, 1),
    }  # fmt: skip
    names = ["image", *(n.output for n in nodes)]
    tensors = {n: Tensor(n, *sizes.get(n, (c, 6, 7))) for n in names}
    return Graph(
        "all-nodes", "image", ("h", "z"), tensors, nodes, HostInput((3, 24, 28)),
        (HostOp("sigmoid", "h"),), ("mask", "class"),
    )  # fmt: skip


def random_qgraph(seed: int) -> QuantGraph:
    """Integer network with all nodes and formats, odd geometry and saturating clips."""
    rng = np.random.default_rng(seed)
    tensors: dict[str, QTensor] = {}

    def tensor(name: str, channels: int, height: int, width: int, fmt) -> str:
        tensors[name] = QTensor(name, channels, height, width, 0.1, fmt, (0,) * channels)
        return name

    def conv(name: str, terms: tuple[QConvTerm, ...], out: str, wide: bool) -> QConv:
        t = tensors[out]
        reach = 2**22 if wide else 2**13
        return QConv(
            name, terms, out, wide,
            rng.integers(-reach, reach, t.channels).astype(np.int32),
            rng.integers(2**15, 2**16, t.channels).astype(np.int32),
            rng.integers(*((27, 31) if wide else (21, 27)), t.channels).astype(np.int32),
            Epilogue(t.format, t.format.lo if seed % 2 else t.format.zero, t.format.hi - 3),
        )  # fmt: skip

    def term(inputs: tuple[str, ...], out: int, kh: int, kw: int, stride, pads, dilation):
        fan = sum(tensors[i].channels for i in inputs)
        weight = rng.integers(-127, 128, (out, fan, kh, kw)).astype(np.int8)
        return QConvTerm(inputs, weight, stride, pads, dilation)

    tensor("x", 3, 7, 8, I8)
    tensor("a", 4, 6, 4, U8)
    tensor("w", 3, 6, 4, I16)
    tensor("c", 3, 3, 2, I8)
    tensor("d", 3, 3, 2, I16)
    tensor("e", 3, 3, 2, U8)
    tensor("pool", 4, 3, 3, U8)
    tensor("sum", 3, 3, 2, I8)
    tensor("prod", 3, 3, 2, I16)
    tensor("up", 3, 6, 1, I8)
    step = rng.integers(2**15, 2**16, 4)
    a = conv("a", (term(("x",), 4, 3, 2, (1, 2), (0, 1, 1, 0), (1, 2)),), "a", False)
    w = conv("w", (term(("x",), 3, 3, 2, (1, 2), (0, 1, 1, 0), (1, 2)),), "w", False)
    c = conv("c", (term(("a", "w"), 3, 3, 3, (2, 2), (2, 1, 0, 0), (1, 1)),), "c", True)
    d = conv("d", (term(("a",), 3, 1, 3, (2, 2), (0, 1, 0, 0), (1, 1)),
                   term(("w", "a"), 3, 1, 1, (2, 3), (0, 0, 0, 0), (1, 1))), "d", True)  # fmt: skip
    e = conv("e", (term(("a",), 3, 3, 3, (2, 3), (0, 1, 2, 2), (1, 1)),), "e", False)
    nodes = (
        a, w, c, d, e,
        QMaxPool("pool", "a", "pool", (3, 2), (2, 2), (1, 1, 1, 1), (1, 1)),
        QAdd("sum", ("c", "d", "e"), (30000, -113, 2048), "sum", int(step[0]), 31,
             Epilogue(I8, -100, 90)),
        QMul("prod", ("d", "e"), "prod", int(step[1]), 22, Epilogue(I16, -30000, 32767)),
        QResample("up", "d", "up", upsample(3), AxisTable(2, (0,), ((1, 2),), 3),
                  int(step[2]), 28, Epilogue(I8, -128, 100)),
    )  # fmt: skip
    return QuantGraph("random", "x", ("up",), tensors, nodes, TWO_TERM, HostInput((3, 7, 8)))


def images(n: int, shape: tuple[int, int, int] = (3, 24, 28), seed: int = 7) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(shape).astype(np.float32) for _ in range(n)]
