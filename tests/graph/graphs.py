"""Hand-made graphs for the pass tests, and the check that a pass changes no value."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np

from fpga_gen.graph.axis import axis_table, identity_axis
from fpga_gen.graph.interpreter import run_float
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
from fpga_gen.graph.verify import verify, window_shape
from fpga_gen_host.model_input import HostInput
from fpga_gen_host.resample import resize_rows

RELU = Activation(0.0, math.inf)


class Maker:
    """Builds a Graph node by node; every method returns the name of the new map."""

    def __init__(self, shape: tuple[int, int, int] = (3, 8, 10), seed: int = 0) -> None:
        self.rng = np.random.default_rng(seed)
        self.tensors = {"x": Tensor("x", *shape)}
        self.nodes = []

    def _add(self, kind, shape, **fields) -> str:
        name = f"t{len(self.nodes)}"
        self.tensors[name] = Tensor(name, *map(int, shape))
        self.nodes.append(kind(name=f"node{len(self.nodes)}", output=name, **fields))
        return name

    def conv(
        self, x, cout, k=3, *, activation=Activation(), groups=1, bias=True, **geometry
    ) -> str:
        shape = self.tensors[x].shape
        kh, kw = (k, k) if isinstance(k, int) else k
        geometry = {"pads": (kh // 2, kw // 2, kh // 2, kw // 2), **geometry}
        weight = self.rng.normal(size=(cout, shape[0] // groups, kh, kw)).astype(np.float32)
        term = ConvTerm(x, weight, groups=groups, **geometry)
        size = window_shape(shape, (kh, kw), term.stride, term.pads, term.dilation)
        values = self.rng.normal(size=cout) if bias else np.zeros(cout)
        return self._add(
            Conv,
            (cout, *size),
            terms=(term,),
            bias=values.astype(np.float32),
            activation=activation,
        )

    def affine(self, x, *, activation=Activation(), bias=True) -> str:
        channels = self.tensors[x].channels
        return self.conv(x, channels, 1, groups=channels, activation=activation, bias=bias)

    def copy(self, x, activation=Activation()) -> str:
        shape = self.tensors[x].shape
        y, z = identity_axis(shape[1]), identity_axis(shape[2])
        return self._add(Resample, shape, input=x, y=y, x=z, activation=activation)

    def resize(self, x, size, mode="linear", activation=Activation()) -> str:
        shape = self.tensors[x].shape
        tables = [
            axis_table(n, resize_rows(n, m, Fraction(m, n), mode, "half_pixel"))
            for n, m in zip(shape[1:], size, strict=True)
        ]
        return self._add(
            Resample, (shape[0], *size), input=x, y=tables[0], x=tables[1], activation=activation
        )

    def mean(self, x) -> str:
        """Over all pixels."""
        channels, *size = self.tensors[x].shape
        y, z = (AxisTable(n, (0,), ((1,) * n,), n) for n in size)
        return self._add(Resample, (channels, 1, 1), input=x, y=y, x=z)

    def pool(self, x, k=2, s=2, pads=(0, 0, 0, 0)) -> str:
        return self.max_pool(x, (k, k), (s, s), pads)

    def max_pool(self, x, kernel, stride=(1, 1), pads=(0, 0, 0, 0), dilation=(1, 1)) -> str:
        shape = self.tensors[x].shape
        size = window_shape(shape, kernel, stride, pads, dilation)
        return self._add(
            MaxPool, (shape[0], *size),
            input=x, kernel=kernel, stride=stride, pads=pads, dilation=dilation,
        )  # fmt: skip

    def concat(self, *xs) -> str:
        shapes = [self.tensors[x].shape for x in xs]
        return self._add(Concat, (sum(s[0] for s in shapes), *shapes[0][1:]), inputs=xs)

    def add(self, *xs, activation=Activation()) -> str:
        return self._add(Add, self.tensors[xs[0]].shape, inputs=xs, activation=activation)

    def mul(self, a, b, activation=Activation()) -> str:
        return self._add(Mul, self.tensors[a].shape, inputs=(a, b), activation=activation)

    def graph(self, *outputs: str) -> Graph:
        outputs = outputs or (self.nodes[-1].output,)
        names = tuple(f"out{i}" for i in range(len(outputs)))
        shape = self.tensors["x"].shape
        graph = Graph(
            "net", "x", outputs, dict(self.tensors), tuple(self.nodes), HostInput(shape),
            output_names=names,
        )  # fmt: skip
        verify(graph)
        return graph


def kinds(graph: Graph) -> list[str]:
    return [type(n).__name__ for n in graph.nodes]


def outputs_of(graph: Graph, seed: int = 3) -> list[np.ndarray]:
    image = np.random.default_rng(seed).normal(size=graph.host_input.model_shape)
    values = run_float(graph, image.astype(np.float32))
    return [values[name] for name in graph.outputs]


def assert_same(before: Graph, after: Graph) -> None:
    """Both graphs are valid and compute the same outputs up to float rounding."""
    verify(after)
    assert len(before.outputs) == len(after.outputs)
    assert before.output_names == after.output_names
    for want, have in zip(outputs_of(before), outputs_of(after), strict=True):
        scale = max(1.0, float(np.abs(want).max()))
        np.testing.assert_allclose(have, want, atol=2e-5 * scale, rtol=1e-4)
