"""Rolling bands: which rows of the maps of a segment each of its bands adds, and which it holds.

The last map of a segment grows by `step` rows a band, after the `lead` rows that it lags behind.
What its rows need of the other maps follows backwards, node by node. No row is computed or loaded
twice: rows that a later band needs again are held on chip. The last band completes every map.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, reduce

import numpy as np

from fpga_gen.quant.ir import QAdd, QConv, QInterleave, QMul, QNode, QResample, QuantGraph
from fpga_gen.schedule.place.plan import Rows

FAR = 1 << 20  # a row behind the end of every map


@dataclass(frozen=True)
class Roll:
    """Nodes [first, last] of the graph in bands of `step` rows of the last map, of which the first
    has `lead` less."""

    first: int
    last: int
    step: int
    lead: int = 0


@dataclass(frozen=True, eq=False)
class BandRows:
    """Rows of a map by roll and band: [start, end) are new, [held, end) are there."""

    held: np.ndarray
    start: np.ndarray
    end: np.ndarray

    @cached_property
    def tall(self) -> np.ndarray:
        """Most rows that are there."""
        return (self.end - self.held).max(1)

    @cached_property
    def bands(self) -> np.ndarray:
        """Bands with new rows."""
        return (self.end > self.start).sum(1)

    @cached_property
    def kept(self) -> np.ndarray:
        """Rows of every band but the first that were there before, but elsewhere in the buffer."""
        kept = self.start[:, 1:] - self.held[:, 1:]
        return np.where(self.held[:, 1:] > self.held[:, :-1], kept, 0)

    @cached_property
    def moves(self) -> np.ndarray:
        """Copies that bring held rows to the front of their buffer: none writes where it reads."""
        by = np.maximum(self.held[:, 1:] - self.held[:, :-1], 1)
        return -(-self.kept // by)

    @property
    def added(self) -> np.ndarray:
        """New rows of all bands."""
        return (self.end - self.start).sum(1)

    def rows(self, band: int) -> tuple[Rows, Rows]:
        """(rows that are there, new rows) of a band of the only roll."""
        held, start, end = (int(a[0, band]) for a in (self.held, self.start, self.end))
        return (held, end), (start, end)


def reach(node: QNode, first: np.ndarray, end: np.ndarray, height: int) -> list[np.ndarray]:
    """[first row, end) of an input, of `height` rows, that output rows [first, end) read. End may
    lie outside the map, as the output's may; where it does not, input_rows says the same."""
    if isinstance(node, QAdd | QMul):
        return [first, end] if height > 1 else [0 * first, np.minimum(np.maximum(end, 0), 1)]
    if isinstance(node, QInterleave):
        return [first // node.block[0], -(-end // node.block[0])]
    if isinstance(node, QResample):
        starts = np.asarray(node.y.start)
        last = len(starts) - 1
        inside = starts[np.clip(end, 1, last + 1) - 1] + node.y.taps
        ends = np.where(end > 0, inside, np.minimum(end, 0) * height // len(starts))
        return [starts[np.clip(first, 0, last)], np.where(end > last, height, ends)]
    if isinstance(node, QConv):
        windows = {(t.weight.shape[2], t.stride[0], t.pads[0], t.dilation[0]) for t in node.terms}
    else:
        windows = {(node.kernel[0], node.stride[0], node.pads[0], node.dilation[0])}
    firsts = [first * stride - pad for _, stride, pad, _ in windows]
    ends = [
        (end - 1) * stride - pad + dilation * (kernel - 1) + 1
        for kernel, stride, pad, dilation in windows
    ]
    least = np.minimum(np.maximum(reduce(np.minimum, firsts), 0), height - 1)
    most = reduce(np.maximum, ends)
    return [least, np.where(end > 0, np.maximum(most, least + 1), most)]


class Sweep:
    """The windows of segments that end with one node, for several rolls at a time, from that node
    backwards. windows: by map, those from elsewhere among them; shapes: (step, lead) of the rolls;
    align: every so many rows of a map begin with a beat of DRAM; stored: whether a map is read
    behind the segment, or is a result."""

    def __init__(
        self,
        qgraph: QuantGraph,
        last: int,
        shapes: Sequence[tuple[int, int]],
        align: Callable[[str], int],
        stored: Callable[[str], bool],
    ) -> None:
        self._qgraph, self._align, self._stored = qgraph, align, stored
        self.windows: dict[str, BandRows] = {}
        self._needs: dict[str, tuple[np.ndarray, np.ndarray]] = {}  # lowest row, end
        name = qgraph.nodes[last].output
        self._height = qgraph.tensors[name].height
        grain = align(name)
        step, lead = (-(-n // grain) * grain for n in np.array(shapes).T)
        bands = np.maximum(1, -(-(self._height + lead) // step))
        number = np.arange(1, int(bands.max()) + 1)
        ends = number * step[:, None] - lead[:, None]
        self._ends = np.where(number >= bands[:, None], FAR, ends)
        self.add(last)

    def add(self, at: int) -> bool:
        """Extend the segment by the node in front; whether that is possible: what none of the
        segment reads must be as high as its last map."""
        node = self._qgraph.nodes[at]
        tensor = self._qgraph.tensors[node.output]
        stored = self._stored(node.output)
        needs = self._needs.get(node.output)
        if needs is None:
            if tensor.height != self._height or not stored:
                return False
            needs = np.full_like(self._ends, tensor.height), self._ends
        lowest, end = needs
        if stored:
            grain = self._align(node.output)
            end = -(-end // grain) * grain
        window = _window(lowest, end, tensor.height)
        self.windows[node.output] = window
        adds = window.end > window.start
        done = end >= FAR
        for name in node.inputs:
            height, grain = self._qgraph.tensors[name].height, self._align(name)
            first, ends = reach(node, window.start, np.minimum(end, FAR), height)
            first, ends = np.where(adds, first, height), np.where(done, FAR, ends)
            if name in self._needs:
                first = np.minimum(first, self._needs[name][0])
                ends = np.maximum(ends, self._needs[name][1])
            self._needs[name] = first, ends
            self.windows[name] = _window(first, ends, height, grain)
        return True


def _window(lowest: np.ndarray, end: np.ndarray, height: int, grain: int = 1) -> BandRows:
    """grain: rows come from DRAM, where so many begin with a beat."""
    end = np.clip(np.maximum.accumulate(end, 1), 0, height)
    start = np.concatenate([np.zeros_like(end[:, :1]), end[:, :-1]], 1)
    lowest = np.minimum.accumulate(lowest[:, ::-1], 1)[:, ::-1]
    if grain > 1:
        start = np.where(end > start, start - start % grain, start)
        lowest = lowest - lowest % grain
    return BandRows(np.minimum(lowest, start), start, end)
