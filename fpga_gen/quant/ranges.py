"""Activation ranges: histograms of float maps and the scale with the least squared error."""

from __future__ import annotations

import numpy as np

from fpga_gen.graph.ir import Add, Clip, Concat, Conv, Graph, MaxPool, Mul, Resample
from fpga_gen.quant.numerics import I8, I16, U8, Format

BINS = 1024  # of |x| up to a histogram's limit
SAMPLES = 1 << 17  # elements of one map of one image that enter its histogram
WIDE_MARGIN = 1.25  # 16-bit maps have range to spare for values calibration did not see
SMALLEST_GAIN = 1 / 16  # a channel that calibration hardly saw keeps some range


class Histogram:
    """Histograms of |x|, one for the whole map or one per channel; limits double when exceeded.

    Exact zeros (most of a ReLU map) cost no rounding error and are not counted.
    """

    def __init__(self, channels: int = 1) -> None:
        self.counts = np.zeros((channels, BINS), np.int64)
        self.limit = np.zeros(channels)
        self.extreme = np.zeros(channels)

    def add(self, values: np.ndarray) -> None:
        """Count the elements of a float map (C, H, W): a subset of large maps, all extremes."""
        rows = self.limit.size
        size = np.abs(values.reshape(rows, -1))
        extreme = size.max(1)
        self.extreme = np.maximum(self.extreme, extreme)
        fresh = self.limit == 0
        self.limit[fresh] = extreme[fresh] * 1.0001
        while (grow := np.flatnonzero(extreme > self.limit)).size:
            self.counts[grow] = np.concatenate(
                [
                    self.counts[grow].reshape(grow.size, -1, 2).sum(2),
                    np.zeros((grow.size, BINS // 2)),
                ],
                axis=1,
            )
            self.limit[grow] *= 2
        size = size[:, :: max(1, values.size // SAMPLES) | 1]
        per_bin = np.where(self.limit > 0, self.limit, 1.0) / BINS
        index = np.minimum((size / per_bin[:, None]).astype(np.int64), BINS - 1)
        index += BINS * np.arange(rows)[:, None]
        flat = np.bincount(index[size > 0], minlength=rows * BINS)
        self.counts += flat.reshape(rows, BINS)

    def ranges(self, levels: int) -> np.ndarray:
        """(rows,) range r of least squared error: r / levels per step, |x| > r is clipped to r.

        Inside the range the error is uniform over a step (but no larger than the value itself).
        """
        centre = (np.arange(BINS) + 0.5) / BINS
        edge = (np.arange(BINS) + 1.0) / BINS  # candidate ranges, relative to the limit
        n = self.counts.astype(np.float64)

        def above(values: np.ndarray) -> np.ndarray:
            total = values[:, ::-1].cumsum(1)[:, ::-1]
            return np.concatenate([total[:, 1:], np.zeros((len(values), 1))], 1)

        clipped = above(n * centre**2) - 2 * edge * above(n * centre) + edge**2 * above(n)
        step = np.square(edge / levels) / 12
        inside = (n.cumsum(1) - n[:, :1]) * step + n[:, :1] * np.minimum(step, centre[0] ** 2)
        best = edge[(clipped + inside).argmin(1)] * self.limit
        return np.minimum(best, self.extreme)

    def scale(self, fmt: Format) -> tuple[float, tuple[float, ...] | None]:
        """(scale, gains) of a map in a format; scale 1.0 for a map that is always zero.

        Gains are the channels' ranges relative to the largest one; None with a single histogram
        and for 16 bits, where resolution is no concern.
        """
        top = fmt.hi - fmt.zero
        if not self.extreme.any():
            return 1.0, None
        if fmt.bits == 16:
            return WIDE_MARGIN * float(self.extreme.max()) / top, None
        ranges = self.ranges(top)
        largest = float(ranges.max())
        if ranges.size == 1:
            return largest / top, None
        gains = np.where(self.extreme > 0, np.maximum(ranges / largest, SMALLEST_GAIN), 1.0)
        return largest / top, tuple(float(g) for g in gains)


def equalised_tensors(graph: Graph) -> set[str]:
    """Tensors whose channels may have scales of their own.

    A convolution's output with all pooled or resampled versions of it, if only convolutions read
    them: channel gains then fold into weights. The clip must commute with gains: none, or a lower
    bound of 0; an upper bound is implied by the range of an unsigned map.
    """
    segments = segments_of(graph)
    roots = {t: t for t in graph.tensors}
    spoilt = {graph.input, *graph.outputs}
    for node in graph.nodes:
        match node:
            case MaxPool() | Resample():
                roots[node.output] = roots[node.input]
                if isinstance(node, Resample) and node.clip != Clip():
                    spoilt.add(node.output)
            case Conv():
                if node.clip.lo not in (0, -np.inf) or (
                    node.clip.lo != 0 and node.clip.hi < np.inf
                ):
                    spoilt.add(node.output)
            case Add() | Mul():
                spoilt.update(node.inputs, [node.output])
    spoilt.update(s for t in tuple(spoilt) for s in segments[t])
    bad = {roots[t] for t in spoilt}
    return {t for t in stored_tensors(graph) if roots[t] not in bad}


def scale_roots(graph: Graph) -> dict[str, str]:
    """tensor -> the tensor whose gains it has: through max-pools and resamplings."""
    roots = {t: t for t in graph.tensors}
    for node in graph.nodes:
        if isinstance(node, MaxPool | Resample):
            roots[node.output] = roots[node.input]
    return roots


def non_negative_tensors(graph: Graph) -> set[str]:
    """Tensors that cannot be negative by construction (ReLU and what follows from it)."""
    sure: set[str] = set()
    for node in graph.nodes:
        match node:
            case Conv():
                ok = node.clip.lo >= 0
            case MaxPool() | Concat():
                ok = all(i in sure for i in node.inputs)
            case Resample():
                positive = min(w for t in (node.y, node.x) for row in t.weights for w in row) >= 0
                ok = node.clip.lo >= 0 or (positive and node.input in sure)
            case Add() | Mul():
                ok = node.clip.lo >= 0 or all(i in sure for i in node.inputs)
        if ok:
            sure.add(node.output)
    return sure


def pool_roots(graph: Graph) -> dict[str, str]:
    """tensor -> the tensor whose scale and format it shares (max-pool output -> its input)."""
    roots = {t: t for t in graph.tensors}
    for node in graph.nodes:
        if isinstance(node, MaxPool):
            roots[node.output] = roots[node.input]
    return roots


def stored_tensors(graph: Graph) -> list[str]:
    """Tensors that exist in memory: the input and all node outputs except concats."""
    return [graph.input] + [n.output for n in graph.nodes if not isinstance(n, Concat)]


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
    """tensor -> the stored tensors it consists of (concats resolved)."""
    table: dict[str, tuple[str, ...]] = {t: (t,) for t in graph.tensors}
    for node in graph.nodes:
        if isinstance(node, Concat):
            table[node.output] = tuple(s for i in node.inputs for s in table[i])
    return table
