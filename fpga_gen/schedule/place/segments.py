"""Segments: consecutive nodes that run in rolling bands, and what each takes of memory and DRAM."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from fpga_gen.contract.params import PORT_BITS, EngineParams
from fpga_gen.quant.ir import QConv, QNode, QTensor, QuantGraph
from fpga_gen.schedule.lower.placement import map_layout
from fpga_gen.schedule.lower.work import node_macs
from fpga_gen.schedule.place.residence import Offer
from fpga_gen.schedule.place.rolling import BandRows, Roll, Sweep
from fpga_gen_host.regions import MapLayout

MAX_NODES = 12  # nodes of a segment
MOST_BANDS = 48  # of a segment of several nodes
LEADS = (0, 4, 8)  # rows by which the last map of a segment may lag behind
BAND_CYCLES = 300  # cost of one more instruction: decode, wait, last drain
COPY_CYCLES = 60  # the same of one that moves held rows
STORE_RATE = PORT_BITS / 8  # bytes that a STORE sends in a cycle


class Segments:
    """The segments of a network on an engine. rate: bytes of DRAM per cycle."""

    def __init__(self, qgraph: QuantGraph, params: EngineParams, rate: float) -> None:
        self.qgraph, self.params, self.rate = qgraph, params, rate
        self._words: dict[tuple[str, int], int] = {}
        self._slack: dict[int, int] = {}
        self._readers: dict[str, list[int]] = {name: [] for name in qgraph.tensors}
        for index, node in enumerate(qgraph.nodes):
            for name in node.inputs:
                self._readers[name].append(index)

    def touches(self, name: str) -> list[int]:
        """Nodes that touch a map, its producer first (-1: it is the network's input)."""
        outputs = [node.output for node in self.qgraph.nodes]
        producer = -1 if name == self.qgraph.input else outputs.index(name)
        return [producer, *self._readers[name]]

    def nodes(self, roll: Roll) -> tuple[QNode, ...]:
        return self.qgraph.nodes[roll.first : roll.last + 1]

    def stored(self, name: str, last: int) -> bool:
        """A map is read behind node `last`, or is a result of the network."""
        readers = self._readers[name]
        return name in self.qgraph.outputs or not readers or readers[-1] > last

    def results(self, roll: Roll) -> list[str]:
        """Maps of a segment that others read, or that are results of the network."""
        return [n.output for n in self.nodes(roll) if self.stored(n.output, roll.last)]

    def align(self, name: str) -> int:
        """Every so many rows of a map begin with a beat of DRAM."""
        beat = self.params.beat_words
        return beat // math.gcd(beat, self.qgraph.tensors[name].width)

    def row_bytes(self, name: str) -> int:
        """Bytes of a row of a map in all its planes."""
        tensor, word = self.qgraph.tensors[name], self.params.in_channels
        return -(-tensor.channels // word) * word * tensor.width * tensor.format.bits // 8

    def words(self, name: str, rows: int) -> int:
        """Words on chip of so many rows of a map."""
        key = (name, rows)
        if key not in self._words:
            self._words[key] = buffer_layout(self.qgraph.tensors[name], self.params, rows).words
        return self._words[key]

    def loaded_rows(self, name: str, window: BandRows) -> np.ndarray:
        """Rows of the buffer of a map from DRAM, by roll: what a LOAD of new rows writes behind
        them must not reach the held rows of the next plane."""
        width = self.qgraph.tensors[name].width
        counts, place = np.unique((window.end - window.start) * width, return_inverse=True)
        behind = np.array([self._behind(count) for count in counts.tolist()])
        extra = -(-behind // width)[place.reshape(window.end.shape)]
        tall = (window.end - window.held + np.where(window.start > window.held, extra, 0)).max(1)
        return np.where((window.kept > 0).any(1), tall, window.tall)

    def _behind(self, count: int) -> int:
        """Words that a LOAD of so many writes behind them."""
        if count not in self._slack:
            self._slack[count] = self.params.load_part(count) * self.params.load_words - count
        return self._slack[count] if count else 0

    def _sweep(self, last: int, shapes: Sequence[tuple[int, int]]) -> Sweep:
        return Sweep(self.qgraph, last, shapes, self.align, lambda name: self.stored(name, last))

    def windows(self, roll: Roll) -> dict[str, BandRows]:
        """Rows of all maps of a segment."""
        sweep = self._sweep(roll.last, [(roll.step, roll.lead)])
        for at in range(roll.last - 1, roll.first - 1, -1):
            possible = sweep.add(at)
            assert possible, "a segment that was offered"
        return sweep.windows

    def offers(self, last: int, capacity: int) -> Iterator[tuple[int, list[Offer]]]:
        """(first node, what it takes in which bands) of all segments that end with a node;
        capacity: in words."""
        height = self.qgraph.tensors[self.qgraph.nodes[last].output].height
        steps = [-(-height // count) for count in band_counts(height)]
        tally = _Tally(self, last, [(step, 0) for step in steps])
        yield last, tally.offers(last)
        shapes = [
            (step, lead)
            for step in steps
            if height <= MOST_BANDS * step
            for lead in LEADS
            if lead == 0 or step < height
        ]
        tally = _Tally(self, last, shapes)
        for first in range(last - 1, max(-1, last - MAX_NODES), -1):
            if not tally.add(first) or tally.inner.min() > capacity:
                break
            yield first, tally.offers(first)

    def smallest(self, index: int) -> int:
        """Words that one row of a layer needs with the rows that it reads."""
        offer = _Tally(self, index, [(1, 0)]).offers(index)[-1]
        return sum(offer.results.values()) + sum(band for band, _ in offer.external.values())


class _Tally:
    """What segments that end with a node take, for several rolls, while they are extended
    backwards. inner: words of the maps that exist only within."""

    def __init__(self, segments: Segments, last: int, shapes: Sequence[tuple[int, int]]) -> None:
        self._segments, self._last, self._shapes = segments, last, shapes
        self._sweep = segments._sweep(last, shapes)
        self.inner = np.zeros(len(shapes), int)
        self._extra = np.zeros(len(shapes))
        self._own: set[str] = set()
        self._external: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        self._results: dict[str, np.ndarray] = {}
        self._stored: dict[str, int] = {}  # bytes of the results
        self._banded = np.zeros(len(shapes), bool)
        # Cycles of convolutions, and of the longest one whose result is stored.
        self._computed = self._storing = 0.0
        self._copies: dict[str, np.ndarray] = {}
        self._account(last)

    def add(self, at: int) -> bool:
        if not self._sweep.add(at):
            return False
        self._account(at)
        return True

    def _account(self, at: int) -> None:
        segments = self._segments
        qgraph, params = segments.qgraph, segments.params
        node = qgraph.nodes[at]
        window, out = self._sweep.windows[node.output], qgraph.tensors[node.output]
        if segments.stored(node.output, self._last):
            self._results[node.output] = self._words(node.output, window.tall)
            self._stored[node.output] = out.height * segments.row_bytes(node.output)
            self._banded |= window.bands > 1
        else:
            self.inner += self._words(node.output, window.tall)
        self._external.pop(node.output, None)
        self._own.add(node.output)
        again = window.bands - 1
        if isinstance(node, QConv):
            self._extra += again * sum(t.weight.size for t in node.terms)
        whole = node_macs(node, qgraph) / params.macs_per_cycle
        self._computed += whole
        if node.output in self._stored:
            self._storing = max(self._storing, whole)
        whole += out.height * out.width / params.pixels  # a max-pool has no MACs
        cycles = BAND_CYCLES * again + whole * (window.added / out.height - 1)
        self._extra += cycles * segments.rate
        for name in (node.output, *node.inputs):
            window, tensor = self._sweep.windows[name], qgraph.tensors[name]
            planes = -(-tensor.channels // params.in_channels) * tensor.format.bits // 8
            moved = window.kept.sum(1) * (tensor.width * planes / params.pool_pixels)
            copies = COPY_CYCLES * window.moves.sum(1) + moved
            self._copies[name] = copies * segments.rate
            if name not in self._own:
                size = self._words(name, segments.loaded_rows(name, window))
                self._external[name] = (size, window.added * segments.row_bytes(name))

    def _words(self, name: str, rows: np.ndarray) -> np.ndarray:
        return np.array([self._segments.words(name, n) for n in rows.tolist()])

    def offers(self, first: int) -> list[Offer]:
        """The cheapest first, without those that take no less memory than a cheaper one. Results
        have two buffers, so that one is stored while the other is filled, or one, whose STORE runs
        beside the other convolutions of the segment."""
        extra = self._extra + sum(self._copies.values())
        load = sum(loaded for _, loaded in self._external.values())
        band = self.inner + sum(words for words, _ in self._external.values())
        written = sum(self._results.values())
        whole = sum(self._stored.values())
        count = len(self._shapes)
        exposed = max(0.0, whole / STORE_RATE - (self._computed - self._storing))
        extra = np.concatenate(
            [extra, extra + np.where(self._banded, exposed * self._segments.rate, 0)]
        )
        cost = extra + np.concatenate([load, load])
        size = np.concatenate([band + written * np.where(self._banded, 2, 1), band + written])
        found: list[Offer] = []
        least = math.inf
        for k in np.lexsort((size, cost)).tolist():
            if size[k] >= least:
                continue
            least = size[k]
            alone, k = k >= count, k % count
            buffers = 2 if self._banded[k] and not alone else 1
            found.append(
                Offer(
                    Roll(first, self._last, *self._shapes[k]),
                    {n: (int(w[k]), int(b[k])) for n, (w, b) in self._external.items()},
                    int(self.inner[k]),
                    {n: buffers * int(w[k]) for n, w in self._results.items()},
                    round(float(extra[k + count * alone])),
                    alone,
                )
            )
        return found


def buffer_layout(tensor: QTensor, params: EngineParams, rows: int) -> MapLayout:
    """Rows of a map on chip, with room for what a LOAD writes, or a STORE reads, behind them."""
    layout = map_layout(tensor, params, rows)
    size = rows * tensor.width
    spare = params.load_part(size) * params.load_words
    return replace(layout, words=layout.words + spare - size)


def home_layout(tensor: QTensor, params: EngineParams) -> MapLayout:
    """A map in DRAM: its planes follow each other, each begins with a beat."""
    layout = map_layout(tensor, params)
    plane = tensor.height * tensor.width
    plane += -plane % params.beat_words
    high = layout.planes * plane
    low = high if layout.low else 0
    return replace(layout, plane=plane, low=low, words=high + low)


def load_slack(params: EngineParams) -> int:
    """Most words that a LOAD reads behind its rows."""
    return (params.banks + 1) * params.load_words


def band_counts(height: int) -> list[int]:
    """Numbers of bands to choose from: every step makes bands noticeably lower."""
    counts, n = [], 1
    while n <= height:
        counts.append(n)
        n = max(n + 1, n * 4 // 3)
    return [n for n in counts if n == 1 or -(-height // n) != -(-height // (n - 1))]
