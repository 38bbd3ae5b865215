"""The weights of an ONNX file, to be changed where a layer of the graph is one of its nodes."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx
from onnx import helper, numpy_helper

from fpga_gen.graph.ir import Conv

LIKE = 1e-4  # two weights that are equal but for rounding


class _Layer(NamedTuple):
    """A Conv or Gemm of the file. weight: (filters, ...), bias: (filters,) or None; names: of their
    initialisers; transposed: the file has the filters last."""

    node: onnx.NodeProto
    weight: np.ndarray
    names: tuple[str, ...]
    transposed: bool


class OnnxWeights:
    """The float weights of a model by node name."""

    def __init__(self, path: Path) -> None:
        self.model = onnx.load(path)
        graph = self.model.graph
        self.tensors = {t.name: t for t in graph.initializer}
        self._sources = {o: n for n in graph.node for o in n.output}
        self._uses = [name for n in graph.node for name in n.input]
        self.layers: dict[str, _Layer] = {}
        for node in graph.node:
            layer = self._layer(node)
            if layer is not None:
                self.layers[node.name or node.output[0]] = layer

    def _layer(self, node: onnx.NodeProto) -> _Layer | None:
        if node.op_type not in ("Conv", "Gemm") or node.domain not in ("", "ai.onnx"):
            return None
        attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        if any(attributes.get(name, 1) != 1 for name in ("alpha", "beta")):
            return None
        names = []
        for name in (n for n in node.input[1:3] if n):
            while name in self._sources and self._sources[name].op_type == "Cast":
                name = self._sources[name].input[0]
            names.append(name)
        if not names or not all(n in self.tensors and self._uses.count(n) == 1 for n in names):
            return None
        weight = numpy_helper.to_array(self.tensors[names[0]])
        if weight.dtype.kind != "f" or weight.ndim < 2:
            return None
        transposed = node.op_type == "Gemm" and not attributes.get("transB", 0)
        return _Layer(node, weight.T if transposed else weight, tuple(names), transposed)

    def of(self, node: Conv) -> _Layer | None:
        """The layer of the file that a node of the graph is, whose weights may be those of the file
        times a factor for each filter."""
        layer = self.layers.get(node.name) or self.layers.get(node.onnx_name)
        if layer is None or len(node.terms) != 1 or node.terms[0].groups > 1:
            return None
        mine, own = node.terms[0].weight, layer.weight
        if mine.size != own.size or len(mine) != len(own):
            return None
        mine, own = mine.reshape(len(mine), -1), own.reshape(len(own), -1).astype(np.float64)
        scaled = own * _factors(own, mine)[:, None]
        room = LIKE * np.abs(mine).max(1, initial=0)[:, None]
        return layer if (np.abs(scaled - mine) <= room).all() else None

    @property
    def rounding(self) -> float:
        """Relative error of the coarsest type that the file keeps weights in."""
        types = {layer.weight.dtype for layer in self.layers.values()}
        return max((float(np.finfo(dtype).eps) for dtype in types), default=0.0)

    def update(self, before: Conv, after: Conv) -> None:
        """The changes of a layer's weights and of its bias into the file."""
        layer = self.of(before)
        assert layer is not None
        new = after.terms[0].weight.reshape(len(layer.weight), -1).astype(np.float64)
        old = layer.weight.reshape(new.shape).astype(np.float64)
        factors = _factors(old, before.terms[0].weight.reshape(new.shape))
        scale = np.where(factors == 0, 1, factors)
        weight = (new / scale[:, None]).reshape(layer.weight.shape)
        self._write(layer.names[0], weight.T if layer.transposed else weight)
        change = (after.bias.astype(np.float64) - before.bias) / scale
        if len(layer.names) > 1:
            bias = numpy_helper.to_array(self.tensors[layer.names[1]])
            shape = bias.shape if bias.size > 1 else change.shape  # one is of all filters
            self._write(layer.names[1], (bias.reshape(-1) + change).reshape(shape))
        elif change.any():
            self._add_bias(layer, change)

    def _write(self, name: str, values: np.ndarray) -> None:
        tensor = self.tensors[name]
        dtype = helper.tensor_dtype_to_np_dtype(tensor.data_type)
        tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(values, dtype), name))

    def _add_bias(self, layer: _Layer, values: np.ndarray) -> None:
        """A bias for a node that has none."""
        name = f"{layer.node.output[0]}.bias"
        while name in self.tensors or name in self._sources:
            name += "_"
        cast = layer.node.input[1] != layer.names[0]  # to what the node computes with
        dtype = np.float32 if cast else layer.weight.dtype
        tensor = numpy_helper.from_array(values.astype(dtype), name)
        self.model.graph.initializer.append(tensor)
        self.tensors[name] = self.model.graph.initializer[-1]
        del layer.node.input[2:]
        layer.node.input.append(name)


def _factors(own: np.ndarray, mine: np.ndarray) -> np.ndarray:
    """(F,) what each row of `own` (F, K) was multiplied with to be that of `mine`: 0 for a row of
    zeros."""
    at = np.abs(own).argmax(1)[:, None]
    largest = np.take_along_axis(own, at, 1)[:, 0].astype(np.float64)
    there = np.take_along_axis(mine, at, 1)[:, 0]
    return np.where(largest == 0, 0, there / np.where(largest == 0, 1, largest))
