"""Activation ranges: histograms of float maps and the scale with the least squared error."""

from __future__ import annotations

import numpy as np

from fpga_gen.contract.numerics import I8, I16, U8, Format
from fpga_gen.graph.ir import (
    ACTIVATED,
    Add,
    Concat,
    Conv,
    Graph,
    Interleave,
    MaxPool,
    Mul,
    Resample,
    Select,
)
from fpga_gen.quant.segments import sources_of

BINS = 1024  # of |x| up to a histogram's limit
SAMPLES = 1 << 17  # elements of one map of one image that enter its histogram
WIDE_MARGIN = 1.25  # 16-bit maps have range to spare for values calibration did not see
NARROW_MARGIN = 1.1  # clipping hurts unseen images more than it helps those of calibration


class Histogram:
    """Histogram of |x| of one map; its limit doubles when a value exceeds it.

    Exact zeros (most of a ReLU map) cost no rounding error and are not counted.
    """

    def __init__(self) -> None:
        self.counts = np.zeros(BINS, np.int64)
        self.limit = 0.0
        self.extreme = 0.0

    def add(self, values: np.ndarray) -> None:
        """Count the elements of a float array: a subset of large ones, always the extreme."""
        size = np.abs(values.reshape(-1))
        extreme = float(size.max(initial=0.0))
        if extreme == 0.0:
            return
        self.extreme = max(self.extreme, extreme)
        if self.limit == 0.0:
            self.limit = extreme
        while extreme > self.limit:
            pairs = self.counts.reshape(-1, 2).sum(1)
            self.counts = np.concatenate([pairs, np.zeros_like(pairs)])
            self.limit *= 2
        size = size[:: max(1, size.size // SAMPLES) | 1]
        index = (size[size > 0] * (BINS / self.limit)).astype(np.int64)
        self.counts += np.bincount(np.minimum(index, BINS - 1), minlength=BINS)

    def best_range(self, levels: int) -> float:
        """Range r of least squared error: steps of r / levels inside, |x| > r is clipped to r.

        Inside the range the error is uniform over a step, but no larger than the value itself.
        """
        centre = (np.arange(BINS) + 0.5) / BINS
        edge = (np.arange(BINS) + 1.0) / BINS  # candidate ranges, relative to the limit
        n = self.counts.astype(np.float64)

        def above(values: np.ndarray) -> np.ndarray:
            return np.append(values[::-1].cumsum()[::-1][1:], 0.0)

        clipped = above(n * centre**2) - 2 * edge * above(n * centre) + edge**2 * above(n)
        step = np.square(edge / levels) / 12
        inside = (n.cumsum() - n[0]) * step + n[0] * np.minimum(step, centre[0] ** 2)
        return min(float(edge[(clipped + inside).argmin()]) * self.limit, self.extreme)

    def scale(self, fmt: Format, limit: float = np.inf) -> float:
        """Scale of a map in a format; 1.0 for a map that is always zero.

        limit: bound of |x| that the map's activation guarantees.
        """
        if self.extreme == 0.0:
            return 1.0
        top = fmt.hi - fmt.zero
        if fmt.bits == 16:
            return min(WIDE_MARGIN * self.extreme, limit) / top
        return min(NARROW_MARGIN * self.best_range(top), limit) / top


def non_negative_tensors(graph: Graph) -> set[str]:
    """Tensors that cannot be negative by construction (pixels, ReLU and what follows)."""
    sure: set[str] = {graph.input} if graph.host_input.gain else set()
    for node in graph.nodes:
        match node:
            case Conv():
                ok = node.activation.non_negative
            case MaxPool() | Concat() | Select() | Interleave():
                ok = all(i in sure for i in node.inputs)
            case Resample():
                positive = min(w for t in (node.y, node.x) for row in t.weights for w in row) >= 0
                ok = node.activation.non_negative or (positive and node.input in sure)
            case Add() | Mul():
                ok = node.activation.non_negative or all(i in sure for i in node.inputs)
        if ok:
            sure.add(node.output)
    return sure


def pool_roots(graph: Graph) -> dict[str, str]:
    """tensor -> the tensor whose scale and format it shares (output of a max-pool or an Interleave
    -> its input)."""
    roots = {t: t for t in graph.tensors}
    for node in graph.nodes:
        if isinstance(node, MaxPool | Interleave):
            roots[node.output] = roots[node.input]
    return roots


def stored_tensors(graph: Graph) -> list[str]:
    """Tensors that exist in memory: the input and all outputs of nodes but views."""
    views = Concat | Select
    return [graph.input] + [n.output for n in graph.nodes if not isinstance(n, views)]


def curved_tensors(graph: Graph) -> list[str]:
    """Tensors whose activation is no clip: 8 bits out of a table."""
    return [n.output for n in graph.nodes if isinstance(n, ACTIVATED) and not n.activation.is_clip]


def clip_limits(graph: Graph) -> dict[str, float]:
    """tensor -> bound of |x| that its activation guarantees (infinite if none does)."""
    limits = dict.fromkeys(graph.tensors, np.inf)
    for node in graph.nodes:
        if isinstance(node, MaxPool | Interleave):
            limits[node.output] = limits[node.input]
        elif not isinstance(node, Concat | Select):
            limits[node.output] = node.activation.bound
    return limits


def tensor_formats(graph: Graph, wide: set[str]) -> dict[str, Format]:
    """Format of every stored tensor; `wide` names those with 16 bits."""
    positive = non_negative_tensors(graph)
    roots = pool_roots(graph)
    formats: dict[str, Format] = {}
    for name in stored_tensors(graph):
        root = roots[name]
        formats[name] = I16 if root in wide else U8 if root in positive else I8
    return formats


def segments_of(graph: Graph) -> dict[str, tuple[str, ...]]:
    """tensor -> the stored tensors it consists of (concats and selections resolved)."""
    return {t: tuple(s.tensor for s in parts) for t, parts in sources_of(graph).items()}
