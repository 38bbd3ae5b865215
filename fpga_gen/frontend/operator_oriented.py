"""Operator-oriented quantised models as QDQ models: QLinearConv and its kin become the operator on
real numbers between DequantizeLinear and QuantizeLinear, with the same scales and zero points.

Sources: ONNX QLinearConv-10 and QLinearMatMul-10, onnxruntime's com.microsoft contrib operators.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import onnx
from onnx import helper

MICROSOFT = "com.microsoft"
ELEMENTWISE = {"QLinearAdd": "Add", "QLinearMul": "Mul"}
SINGLE = {
    "QLinearAveragePool": "AveragePool",
    "QLinearGlobalAveragePool": "GlobalAveragePool",
    "QLinearLeakyRelu": "LeakyRelu",
    "QLinearReduceMean": "ReduceMean",
    "QLinearSigmoid": "Sigmoid",
    "QLinearSoftmax": "Softmax",
}


@dataclass
class _Rewrite:
    """Nodes that take the place of one."""

    node: onnx.NodeProto
    nodes: list[onnx.NodeProto] = field(default_factory=list)

    def input(self, index: int) -> str:
        """Name of an input; empty where it is missing."""
        return self.node.input[index] if index < len(self.node.input) else ""

    def add(
        self,
        kind: str,
        inputs: Sequence[str],
        suffix: str = "",
        copied: Iterable[onnx.AttributeProto] = (),
        **attributes,
    ) -> str:
        """A node; without a suffix it has the name of the one that it stands for. copied: further
        attributes, as they are."""
        base = self.node.name or self.node.output[0]
        output = f"{self.node.output[0]}/{suffix or kind}"
        name = f"{base}/{suffix}" if suffix else base
        self.nodes.append(helper.make_node(kind, inputs, [output], name=name, **attributes))
        self.nodes[-1].attribute.extend(copied)
        return output

    def real(self, index: int, suffix: str, **attributes) -> str:
        """Real numbers of input `index`, whose scale and zero point follow it."""
        inputs = [self.input(index + k) for k in range(3)]
        return self.add("DequantizeLinear", inputs, suffix, **attributes)

    def integers(self, value: str, scale: int) -> None:
        """The node's output: `value` with the scale and zero point in inputs from `scale` on; real
        numbers where none is given."""
        (output,) = self.node.output
        if not self.input(scale):
            self.nodes.append(helper.make_node("Identity", [value], [output]))
            return
        inputs = [value, self.input(scale), self.input(scale + 1)]
        name = f"{self.node.name or output}/quantise"
        self.nodes.append(helper.make_node("QuantizeLinear", inputs, [output], name=name))

    def attributes(self, *without: str) -> list[onnx.AttributeProto]:
        """The node's attributes but some."""
        return [a for a in self.node.attribute if a.name not in without]

    def is_set(self, name: str) -> bool:
        """Whether an attribute is an integer other than 0."""
        return any(a.name == name and a.i for a in self.node.attribute)

    def bias(self, index: int, scales: tuple[int, int]) -> list[str]:
        """The int32 bias, if there is one, as real numbers: its step is the product of scales."""
        if not self.input(index):
            return []
        step = self.add("Mul", [self.input(s) for s in scales], "bias_scale")
        return [self.add("DequantizeLinear", [self.input(index), step], "bias", axis=0)]


def _conv(r: _Rewrite) -> None:
    x, weight = r.real(0, "x"), r.real(3, "weight", axis=0)
    r.integers(r.add("Conv", [x, weight, *r.bias(8, (1, 4))], copied=r.attributes()), 6)


def _matmul(r: _Rewrite) -> None:
    r.integers(r.add("MatMul", [r.real(0, "a"), r.real(3, "b", axis=1)]), 6)


def _gemm(r: _Rewrite) -> None:
    axis = 0 if r.is_set("transB") else 1
    inputs = [r.real(0, "a"), r.real(3, "b", axis=axis), *r.bias(6, (1, 4))]
    r.integers(r.add("Gemm", inputs, copied=r.attributes()), 7)


def _elementwise(r: _Rewrite) -> None:
    r.integers(r.add(ELEMENTWISE[r.node.op_type], [r.real(0, "a"), r.real(3, "b")]), 6)


def _single(r: _Rewrite) -> None:
    kind = SINGLE[r.node.op_type]
    last = r.is_set("channels_last")
    x = r.real(0, "x")
    if last:
        x = r.add("Transpose", [x], "to_channels_first", perm=[0, 3, 1, 2])
    y = r.add(kind, [x], copied=r.attributes("channels_last", "opset"))
    if last:
        y = r.add("Transpose", [y], "to_channels_last", perm=[0, 2, 3, 1])
    r.integers(y, 3)


def _concat(r: _Rewrite) -> None:
    parts = [r.real(i, f"part_{i}") for i in range(2, len(r.node.input), 3)]
    r.integers(r.add("Concat", parts, copied=r.attributes()), 0)


REWRITES: dict[tuple[str, str], Callable[[_Rewrite], None]] = {
    ("", "QLinearConv"): _conv,
    (MICROSOFT, "QLinearConv"): _conv,
    ("", "QLinearMatMul"): _matmul,
    (MICROSOFT, "QLinearMatMul"): _matmul,
    (MICROSOFT, "QGemm"): _gemm,
    (MICROSOFT, "QLinearConcat"): _concat,
    **{(MICROSOFT, kind): _elementwise for kind in ELEMENTWISE},
    **{(MICROSOFT, kind): _single for kind in SINGLE},
}


def to_qdq(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model without operator-oriented quantisation; the model itself if it has none."""
    if not any((n.domain, n.op_type) in REWRITES for n in model.graph.node):
        return model
    nodes: list[onnx.NodeProto] = []
    for node in model.graph.node:
        rewrite = REWRITES.get((node.domain, node.op_type))
        if rewrite is None or len(node.output) != 1:
            nodes.append(node)
            continue
        state = _Rewrite(node)
        rewrite(state)
        nodes += state.nodes
    result = onnx.ModelProto()
    result.CopyFrom(model)
    del result.graph.node[:]
    result.graph.node.extend(nodes)
    return result
