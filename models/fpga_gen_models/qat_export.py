"""The compiler's graph as an ONNX file whose maps carry their quantisation (QDQ).

Weights stay float: they lie on grids that only fold with the scales of a layer's inputs, and the
compiler finds them there (fpga_gen/quant/grids.py).
"""

import math
from collections.abc import Iterator, Mapping

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from fpga_gen.graph.axis import average_axis, is_identity, resize_axis
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
)
from fpga_gen.quant.ir import QTensor, QuantGraph
from fpga_gen_host.host_ops import HostOp, run_host_ops
from fpga_gen_host.resample import COORDINATE_MODES, NEAREST_MODES, exact_scale

OPSET = 21  # the first with 16-bit QuantizeLinear
IR_VERSION = 10


class _Writer:
    """Nodes and initialisers of the file; `value` maps a graph tensor to the name of its value."""

    def __init__(
        self, graph: Graph, tensors: dict[str, QTensor], labels: Mapping[str, str]
    ) -> None:
        self.graph, self.tensors, self.host_input = graph, tensors, graph.host_input
        self.labels = labels
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, onnx.TensorProto] = {}
        self.value: dict[str, str] = {}

    def constant(self, name: str, array: np.ndarray) -> str:
        self.constants.setdefault(name, numpy_helper.from_array(array, name))
        return name

    def node(self, op: str, inputs: list[str], output: str, **attributes) -> str:
        name = f"{op}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [output], name, **attributes))
        return output

    def clipped(self, source: str, clip: Activation) -> str:
        """Name of the map after its activation."""
        if clip.is_identity:
            return source
        if clip == Activation(0.0, math.inf):
            return self.node("Relu", [source], f"{source}.relu")
        ends = [
            self.constant(f"clip.{v:g}", np.array(v, np.float32)) if math.isfinite(v) else ""
            for v in (clip.lo, clip.hi)
        ]
        return self.node("Clip", [source, *ends], f"{source}.clip")

    def quantised(self, source: str, tensor: str) -> None:
        """QuantizeLinear and DequantizeLinear with the tensor's scale and format."""
        t = self.tensors[tensor]
        dtype = {"i8": np.int8, "u8": np.uint8, "i16": np.int16}[t.format.name]
        scale = self.constant(f"{tensor}.scale", np.array(t.scale, np.float32))
        zero = self.constant(f"zero.{t.format.name}", np.array(0, dtype))
        levels = self.node("QuantizeLinear", [source, scale, zero], f"{tensor}.levels")
        self.value[tensor] = self.node(
            "DequantizeLinear", [levels, scale, zero], f"{tensor}.quantised"
        )

    def _kernel(self, node: Conv, number: int) -> str:
        """Name of a term's weights: of the first one as in the model, by which reports call the
        layer, unless another layer has that name."""
        known = f"{self.labels.get(node.onnx_name, '')}.weight"
        if number or known == ".weight" or known in self.constants:
            return f"{node.name}.weight{number}"
        return known

    def conv(self, node: Conv) -> str:
        parts, bias = [], node.bias.astype(np.float64)
        for number, term in enumerate(node.terms):
            weight, stride, pads = self._geometry(term)
            if (
                term.input == self.graph.input and self.host_input.gain
            ):  # the file takes no raw pixels
                gain, offset = (
                    np.array(v)[:, None, None]
                    for v in (self.host_input.gain, self.host_input.offset)
                )
                bias = bias + (weight * offset).sum((1, 2, 3))
                weight = weight * gain
            kernel = self.constant(self._kernel(node, number), weight.astype(np.float32))
            names = [self.value[term.input], kernel]
            if number == len(node.terms) - 1:
                names.append(self.constant(f"{node.name}.bias", bias.astype(np.float32)))
            parts.append(
                self.node(
                    "Conv", names, f"{node.output}.term{number}",
                    strides=stride, pads=pads, dilations=term.dilation, group=term.groups,
                    kernel_shape=weight.shape[2:],
                )
            )  # fmt: skip
        total = parts[0]
        for number, part in enumerate(parts[1:], 1):
            total = self.node("Add", [total, part], f"{node.output}.sum{number}")
        return self.clipped(total, node.activation)

    def _geometry(self, term: ConvTerm) -> tuple[np.ndarray, tuple[int, ...], tuple[int, ...]]:
        """(weight, stride, pads) on the model's input where the term reads a rearranged one."""
        if term.input != self.graph.input:
            return term.weight, term.stride, term.pads
        b = self.host_input.space_to_depth
        out, deep, kh, kw = term.weight.shape
        blocks = term.weight.reshape(out, b, b, deep // (b * b), kh, kw)
        weight = blocks.transpose(0, 3, 4, 1, 5, 2).reshape(out, -1, b * kh, b * kw)
        pads = [b * p + q for p, q in zip(term.pads, self.host_input.pads, strict=True)]
        for axis, (before, after) in enumerate(((0, 2), (1, 3))):  # zeros that only padded
            used = np.flatnonzero(weight.any((0, 1, 3 - axis)))
            size = weight.shape[2 + axis] if b > 1 else 0
            first = min(int(used[0]), pads[before]) if size and used.size else 0
            cut = min(size - 1 - int(used[-1]), pads[after]) if size and used.size else 0
            weight = weight.take(np.arange(first, weight.shape[2 + axis] - cut), 2 + axis)
            pads[before] -= first
            pads[after] -= cut
        stride = (b * term.stride[0], b * term.stride[1])
        return np.ascontiguousarray(weight), stride, tuple(pads)

    def resample(self, node: Resample) -> str:
        source = self.value[node.input]
        if is_identity(node.y) and is_identity(node.x):
            return self.clipped(
                self.node("Identity", [source], f"{node.output}.copy"), node.activation
            )
        if node.y == _mean(node.y) and node.x == _mean(node.x):
            pooled = self.node("GlobalAveragePool", [source], f"{node.output}.mean")
            return self.clipped(pooled, node.activation)
        found = next((m for m in _modes() if _matches(node.y, m) and _matches(node.x, m)), None)
        if found is None:
            raise ValueError(f"{node.name}: a resampling that no Resize describes")
        size = (node.y.out_size, node.x.out_size)
        return self.clipped(self.resize(source, node.output, size, *found), node.activation)

    def resize(
        self, source: str, output: str, size: tuple[int, int], mode: str, coordinates: str,
        nearest: str,
    ) -> str:  # fmt: skip
        channels = self.graph.tensors[output].channels
        sizes = self.constant(f"{output}.sizes{size}", np.array([1, channels, *size], np.int64))
        return self.node(
            "Resize", [source, "", "", sizes], f"{output}.resized{len(self.nodes)}", mode=mode,
            coordinate_transformation_mode=coordinates, nearest_mode=nearest,
        )  # fmt: skip

    def host(self, tensor: str, source: str, op: HostOp) -> str:
        a = op.attributes
        if op.kind == "resize":
            return self.resize(
                source, tensor, tuple(a["size"]), a["mode"],
                a["coordinate_transformation_mode"], a["nearest_mode"],
            )  # fmt: skip
        if op.kind == "sigmoid":
            return self.node("Sigmoid", [source], f"{tensor}.sigmoid")
        if op.kind == "reshape":
            shape = self.constant(f"{tensor}.shape", np.array(a["shape"], np.int64))
            return self.node("Reshape", [source, shape], f"{tensor}.reshaped")
        raise ValueError(f"the network ends in {op.kind}, which is not written")


def _mean(table: AxisTable) -> AxisTable | None:
    size = table.in_size
    return average_axis(size, 1, size, 1, 0) if table.out_size == 1 and size < 256 else None


def _modes() -> Iterator[tuple[str, str, str]]:
    for coordinates in COORDINATE_MODES:
        yield "linear", coordinates, NEAREST_MODES[0]
    for coordinates in COORDINATE_MODES:
        for nearest in NEAREST_MODES:
            if nearest != "simple":
                yield "nearest", coordinates, nearest


def _matches(table: AxisTable, mode: tuple[str, str, str]) -> bool:
    n, m = table.in_size, table.out_size
    return table == resize_axis(n, m, exact_scale(m / n, n, m), *mode)


def graph_bytes(graph: Graph, qgraph: QuantGraph, labels: Mapping[str, str] = {}) -> bytes:
    """An ONNX file of an optimised float graph with the formats and scales of `qgraph`, checked.

    labels: of layers, by name of their node in the ONNX file that the graph came from; see
    `fpga_gen.frontend.labels`.

    ValueError names a node that ONNX cannot express.
    """
    writer = _Writer(graph, qgraph.tensors, labels)
    writer.value[graph.input] = "image"
    if not graph.host_input.gain:  # pixels are 8-bit integers already
        writer.quantised("image", graph.input)
    for node in graph.nodes:
        inputs = [writer.value[i] for i in node.inputs]
        match node:
            case Concat():
                writer.value[node.output] = writer.node("Concat", inputs, node.output, axis=1)
                continue
            case MaxPool():
                writer.value[node.output] = writer.node(
                    "MaxPool", inputs, node.output, kernel_shape=node.kernel,
                    strides=node.stride, pads=node.pads, dilations=node.dilation,
                )  # fmt: skip
                continue
            case Conv():
                result = writer.conv(node)
            case Resample():
                result = writer.resample(node)
            case Add():
                total = writer.node("Sum", inputs, f"{node.output}.sum")
                result = writer.clipped(total, node.activation)
            case Mul():
                product = writer.node("Mul", inputs, f"{node.output}.product")
                result = writer.clipped(product, node.activation)
        writer.quantised(result, node.output)
    outputs = []
    zeros = {t: np.zeros(graph.tensors[t].shape, np.float32) for t in graph.outputs}
    shapes = {name: value.shape for name, value in run_host_ops(graph, zeros).items()}
    ends = {tensor: (tensor, writer.value[tensor]) for tensor in graph.outputs}
    for op in graph.host_ops:
        tensor, value = ends[op.reads[0]]
        ends[op.target] = (tensor, writer.host(tensor, value, op))
    for result, name in zip(graph.results or graph.outputs, graph.output_names, strict=True):
        writer.node("Identity", [ends[result][1]], name)
        outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shapes[name]))
    shape = [1, *graph.host_input.model_shape]
    inputs = [helper.make_tensor_value_info("image", TensorProto.FLOAT, shape)]
    body = helper.make_graph(
        writer.nodes, graph.name, inputs, outputs, list(writer.constants.values())
    )
    model = helper.make_model(
        body, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION
    )
    onnx.checker.check_model(model)
    return model.SerializeToString()
