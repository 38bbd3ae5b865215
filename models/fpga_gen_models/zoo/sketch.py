"""A pencil for networks: appends ONNX nodes and remembers the shape of every value."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET, IR_VERSION = 17, 8
INPUT = "image"


class Sketch:
    """Nodes, weights and shapes (without the batch axis) of a network under construction."""

    def __init__(self, shape: Sequence[int], *, seed: int = 0, half: bool = False) -> None:
        self.rng = np.random.default_rng(seed)
        self.half = half
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self.shapes: dict[str, tuple[int, ...]] = {INPUT: tuple(shape)}
        self.outputs: dict[str, int] = {}  # name to type of the elements

    # --- the pencil -------------------------------------------------------------------------

    def node(self, kind: str, inputs: Sequence[str], shape: Sequence[int], **attributes) -> str:
        """Append a node with one result of a shape; the result's name."""
        name = f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [name], name=name, **attributes))
        self.shapes[name] = tuple(shape)
        return name

    def constant(self, array: np.ndarray) -> str:
        """A constant as it is."""
        name = f"constant_{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def ints(self, *values: int) -> str:
        return self.constant(np.array(values, np.int64))

    def random(self, shape: Sequence[int], fan: int, gain: float = 2.0) -> str:
        """Normal weights of the variance that keeps activations in range (He et al., 2015)."""
        array = self.rng.standard_normal(tuple(shape), np.float32)
        array *= np.float32(np.sqrt(gain / fan))
        if not self.half:
            return self.constant(array)
        small = self.constant(array.astype(np.float16))
        return self.node("Cast", [small], (), to=TensorProto.FLOAT)

    def bias(self, filters: int) -> str:
        return self.constant(self.rng.uniform(-0.1, 0.1, filters).astype(np.float32))

    # --- layers -----------------------------------------------------------------------------

    def conv(
        self,
        x: str,
        filters: int,
        kernel: int | tuple[int, ...] = 3,
        stride: int = 1,
        *,
        groups: int = 1,
        dilation: int = 1,
        pad: int | None = None,
        act: str = "relu",
        gain: float = 2.0,
    ) -> str:
        """Convolution with bias, padded to keep the size, and an activation ('' for none)."""
        channels, *pixels = self.shapes[x]
        sides = (kernel,) * len(pixels) if isinstance(kernel, int) else kernel
        pads = [pad if pad is not None else dilation * (k // 2) for k in sides]
        out = [
            (n + 2 * p - dilation * (k - 1) - 1) // stride + 1
            for n, p, k in zip(pixels, pads, sides, strict=True)
        ]
        fan = channels // groups * int(np.prod(sides))
        weight = self.random((filters, channels // groups, *sides), fan, gain)
        y = self.node(
            "Conv", [x, weight, self.bias(filters)], (filters, *out), kernel_shape=list(sides),
            strides=[stride] * len(sides), pads=pads * 2, dilations=[dilation] * len(sides),
            group=groups,
        )  # fmt: skip
        return self.act(y, act)

    def transposed(self, x: str, filters: int, kernel: int = 2, stride: int = 2) -> str:
        """Transposed convolution that multiplies the size by `stride`."""
        channels, height, width = self.shapes[x]
        weight = self.random((channels, filters, kernel, kernel), channels)
        pad = (kernel - stride) // 2
        return self.node(
            "ConvTranspose", [x, weight, self.bias(filters)],
            (filters, height * stride, width * stride), kernel_shape=[kernel] * 2,
            strides=[stride] * 2, pads=[pad] * 4,
        )  # fmt: skip

    def norm(self, x: str, act: str = "relu") -> str:
        """Batch normalisation that stands alone, as before a convolution."""
        channels = self.shapes[x][0]
        spread = self.constant(self.rng.uniform(0.5, 1.5, channels).astype(np.float32))
        inputs = [x, spread, self.bias(channels), self.bias(channels), spread]
        return self.act(self.node("BatchNormalization", inputs, self.shapes[x]), act)

    def act(self, x: str, kind: str) -> str:
        """relu, relu6, leaky, silu, hswish, sigmoid, hsigmoid; '' for none."""
        shape = self.shapes[x]
        match kind:
            case "":
                return x
            case "relu6":
                ends = [self.constant(np.array(v, np.float32)) for v in (0, 6)]
                return self.node("Clip", [x, *ends], shape)
            case "leaky":
                return self.node("LeakyRelu", [x], shape, alpha=0.1)
            case "silu":
                return self.node("Mul", [x, self.node("Sigmoid", [x], shape)], shape)
            case "hswish":
                return self.node("HardSwish", [x], shape)
            case "hsigmoid":
                return self.node("HardSigmoid", [x], shape, alpha=1 / 6, beta=0.5)
        return self.node({"relu": "Relu", "sigmoid": "Sigmoid"}[kind], [x], shape)

    def pool(self, x: str, kernel: int = 2, stride: int = 2, pad: int = 0, **attributes) -> str:
        """Max-pool."""
        channels, *pixels = self.shapes[x]
        extra = kernel - 1 if attributes.get("ceil_mode") else 0
        out = [(n + 2 * pad - kernel + min(extra, stride - 1)) // stride + 1 for n in pixels]
        dims = len(pixels)
        return self.node(
            "MaxPool", [x], (channels, *out), kernel_shape=[kernel] * dims,
            strides=[stride] * dims, pads=[pad] * (2 * dims), **attributes,
        )  # fmt: skip

    def average(self, x: str, kernel: int = 2, stride: int = 2, pad: int = 0) -> str:
        """Mean of windows, of padded ones with the zeros."""
        channels, *pixels = self.shapes[x]
        out = [(n + 2 * pad - kernel) // stride + 1 for n in pixels]
        padding = {"pads": [pad] * 4, "count_include_pad": 1} if pad else {}
        return self.node(
            "AveragePool", [x], (channels, *out), kernel_shape=[kernel] * 2,
            strides=[stride] * 2, **padding,
        )  # fmt: skip

    def global_average(self, x: str) -> str:
        channels, *pixels = self.shapes[x]
        return self.node("GlobalAveragePool", [x], (channels, *[1] * len(pixels)))

    def add(self, a: str, b: str, act: str = "") -> str:
        return self.act(self.node("Add", [a, b], self.shapes[a]), act)

    def mul(self, a: str, b: str) -> str:
        return self.node("Mul", [a, b], self.shapes[a])

    def concat(self, parts: Sequence[str], axis: int = 1) -> str:
        """Joins values; axis counts the batch axis."""
        shape = list(self.shapes[parts[0]])
        shape[axis - 1] = sum(self.shapes[p][axis - 1] for p in parts)
        return self.node("Concat", list(parts), shape, axis=axis)

    def split(self, x: str, sizes: Sequence[int], axis: int = 1) -> list[str]:
        """Parts of a value; axis counts the batch axis."""
        shape, number = list(self.shapes[x]), len(self.nodes)
        names = [f"split_{number}_{k}" for k in range(len(sizes))]
        for name, size in zip(names, sizes, strict=True):
            shape[axis - 1] = size
            self.shapes[name] = tuple(shape)
        inputs = [x, self.ints(*sizes)]
        self.nodes.append(
            helper.make_node("Split", inputs, names, name=f"split_{number}", axis=axis)
        )
        return names

    def reshape(self, x: str, *shape: int) -> str:
        """Another shape, the batch axis apart."""
        return self.node("Reshape", [x, self.ints(1, *shape)], shape)

    def transpose(self, x: str, *order: int) -> str:
        """Another order of the axes, the batch axis 0 first."""
        shape = [self.shapes[x][a - 1] for a in order[1:]]
        return self.node("Transpose", [x], shape, perm=list(order))

    def resize(
        self, x: str, size: tuple[int, int], mode: str = "linear", *, corners: bool = False
    ) -> str:
        """To another height and width; corners: the outermost pixels stay where they are."""
        channels, height, width = self.shapes[x]
        if corners:
            inputs = [x, "", "", self.ints(1, channels, *size)]
            way = {"coordinate_transformation_mode": "align_corners"}
            return self.node("Resize", inputs, (channels, *size), mode=mode, **way)
        scales = [1.0, 1.0, size[0] / height, size[1] / width]
        way = {"coordinate_transformation_mode": "half_pixel"} if mode == "linear" else {
            "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"
        }  # fmt: skip
        inputs = [x, "", self.constant(np.array(scales, np.float32))]
        return self.node("Resize", inputs, (channels, *size), mode=mode, **way)

    def dense(self, x: str, filters: int, act: str = "") -> str:
        """Flatten and a fully connected layer."""
        count = int(np.prod(self.shapes[x]))
        flat = self.node("Flatten", [x], (count,))
        weight = self.random((filters, count), count)
        y = self.node("Gemm", [flat, weight, self.bias(filters)], (filters,), transB=1)
        return self.act(y, act)

    def classify(self, x: str, classes: int = 1000) -> None:
        """Global mean and a fully connected layer, the usual end of a classifier."""
        self.output(self.dense(self.global_average(x), classes))

    # --- the end ----------------------------------------------------------------------------

    def output(self, x: str, kind: int = TensorProto.FLOAT) -> None:
        self.outputs[x] = kind

    def save(self, path: Path, name: str) -> Path:
        """Writes the model."""
        float32 = TensorProto.FLOAT
        shape = [1, *self.shapes[INPUT]]
        ends = [
            helper.make_tensor_value_info(o, kind, [1, *self.shapes[o]])
            for o, kind in self.outputs.items()
        ]
        source = helper.make_tensor_value_info(INPUT, float32, shape)
        graph = helper.make_graph(self.nodes, name, [source], ends, self.weights)
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION
        )
        onnx.save(model, path)
        return path
