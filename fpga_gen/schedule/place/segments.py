"""Segments: consecutive nodes that run in bands of the last one's output rows.

Every node but the last is read by a later one of them, so that a band of the last one's rows tells
which rows of the others it needs; rows that two bands need (the halo) are computed twice.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import accumulate

from fpga_gen.contract.params import EngineParams
from fpga_gen.quant.ir import QNode, QuantGraph
from fpga_gen.schedule.lower.work import node_macs
from fpga_gen.schedule.place.plan import Chain, Rows, input_rows


class Segments:
    """The segments of a network on an engine."""

    def __init__(self, qgraph: QuantGraph, params: EngineParams) -> None:
        self._qgraph, self._params = qgraph, params
        self._cycles: dict[int, float] = {}
        self._readers: dict[str, list[int]] = {name: [] for name in qgraph.tensors}
        for index, node in enumerate(qgraph.nodes):
            for name in node.inputs:
                self._readers[name].append(index)

    def cycles(self, index: int) -> float:
        """Least cycles of a node, a max-pool's or the vector unit's included."""
        if index not in self._cycles:
            node, params = self._qgraph.nodes[index], self._params
            out = self._qgraph.tensors[node.output]
            macs = node_macs(node, self._qgraph) / params.macs_per_cycle
            self._cycles[index] = macs + out.height * out.width / params.pixels
        return self._cycles[index]

    def touches(self, name: str) -> list[int]:
        """Nodes that touch a map, its producer first (-1: it is the network's input)."""
        outputs = [node.output for node in self._qgraph.nodes]
        producer = -1 if name == self._qgraph.input else outputs.index(name)
        return [producer, *self._readers[name]]

    def nodes(self, chain: Chain) -> tuple[QNode, ...]:
        return self._qgraph.nodes[chain.first : chain.last + 1]

    def possible(self, first: int, last: int) -> bool:
        """Nodes [first, last] are a segment."""
        return all(
            any(at < reader <= last for reader in self._readers[self._qgraph.nodes[at].output])
            for at in range(first, last)
        )

    def results(self, chain: Chain) -> list[str]:
        """Maps of a segment that others read, or that are results of the network."""
        return [
            node.output
            for node in self.nodes(chain)
            if node.output in self._qgraph.outputs
            or not self._readers[node.output]
            or self._readers[node.output][-1] > chain.last
        ]

    def align(self, name: str) -> int:
        """Every so many rows of a map begin with a beat of DRAM."""
        beat = self._params.beat_words
        return beat // math.gcd(beat, self._qgraph.tensors[name].width)

    def rows(self, chain: Chain) -> list[list[Rows]]:
        """Output rows of every node (inner index) for every band (outer index). The bands of a map
        that others read cover it, those of the other maps what is needed."""
        nodes, results = self.nodes(chain), self.results(chain)
        height = self._qgraph.tensors[nodes[-1].output].height
        per_band = -(-height // chain.bands)
        per_band += -per_band % self.align(nodes[-1].output)
        starts = range(0, height, per_band)
        windows: list[list[Rows]] = [[(s, min(s + per_band, height)) for s in starts]]
        for at in range(len(nodes) - 2, -1, -1):
            name = nodes[at].output
            size = self._qgraph.tensors[name].height
            readers = [k for k in range(at + 1, len(nodes)) if name in nodes[k].inputs]
            own: list[Rows] = []
            for band in range(len(starts)):
                read = [input_rows(nodes[k], windows[k - at - 1][band], size) for k in readers]
                own.append((min(r[0] for r in read), max(r[1] for r in read)))
            own = _covering(own, size, self.align(name)) if name in results else own
            windows.insert(0, own)
        return [[rows[band] for rows in windows] for band in range(len(starts))]

    def read(self, chain: Chain, windows: Sequence[Rows]) -> dict[str, Rows]:
        """Rows of the maps from elsewhere that one band reads, from the beginning of a beat of DRAM
        on; windows: its output rows by node."""
        nodes = self.nodes(chain)
        inner = {n.output for n in nodes}
        out: dict[str, Rows] = {}
        for node, rows in zip(nodes, windows, strict=True):
            for name in node.inputs:
                if name in inner:
                    continue
                first, end = input_rows(node, rows, self._qgraph.tensors[name].height)
                before = out.get(name, (first, end))
                out[name] = (min(first, before[0]), max(end, before[1]))
        return {n: (first - first % self.align(n), end) for n, (first, end) in out.items()}


def _covering(bands: list[Rows], height: int, align: int) -> list[Rows]:
    """The bands, longer where they must be so that together they are the whole map; each but the
    first begins with a beat of DRAM."""
    starts = [0, *(first - first % align for first, _ in bands[1:]), height]
    starts = list(accumulate(starts[::-1], min))[::-1]  # none is above a later one
    return [
        (start, max(end, following, start + 1))
        for start, following, (_, end) in zip(starts, starts[1:], bands, strict=False)
    ]


def band_counts(height: int) -> list[int]:
    """Numbers of bands to choose from: every step makes bands noticeably lower."""
    counts, n = [], 1
    while n <= height:
        counts.append(n)
        n = max(n + 1, n * 4 // 3)
    return [n for n in counts if n == 1 or -(-height // n) != -(-height // (n - 1))]
