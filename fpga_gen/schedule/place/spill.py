"""Which maps stay on chip and which lie in DRAM for a while, where the memory cannot hold them all.

The network runs segment by segment. A segment is a node or a chain of nodes (see plan) that runs in
bands of output rows; what a band reads of a map in DRAM is loaded for it, what it writes of one is
stored behind it. Between two segments that touch a map, the map is kept on chip as a whole or not
at all. The solver chooses segments, bands and what is kept: the fewest bytes of DRAM, work that is
done twice counted as the bytes that move meanwhile, such that every segment fits the memory.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate, pairwise

import numpy as np

from fpga_gen.contract.isa import Region
from fpga_gen.contract.params import EngineParams
from fpga_gen.errors import ScheduleError
from fpga_gen.quant.ir import QConv, QTensor, QuantGraph
from fpga_gen.schedule.lower.placement import Home, map_layout
from fpga_gen.schedule.lower.work import node_macs
from fpga_gen.schedule.place.allocate import NoRoom
from fpga_gen.schedule.place.plan import (
    Chain,
    MapBuffer,
    Plan,
    Rows,
    Step,
    Transfer,
    input_rows,
)
from fpga_gen.schedule.place.spill_search import Offer, Residence, SpillProblem
from fpga_gen_host.regions import MapLayout, OutputLayout

MAX_CHAIN = 4  # nodes of a segment: longer ones recompute more halo than they save
BAND_CYCLES = 300  # cost of one more instruction: decode, wait, last drain
HOME_ALIGN = 64  # bytes: every map in DRAM starts on a boundary of its own


def touches(qgraph: QuantGraph) -> dict[str, list[int]]:
    """Nodes that touch a map, its producer first (-1: the network's input)."""
    out: dict[str, list[int]] = {qgraph.input: [-1]}
    for index, node in enumerate(qgraph.nodes):
        for name in node.inputs:
            out[name].append(index)
        out[node.output] = [index]
    return out


def gaps(nodes: Sequence[int]) -> list[tuple[int, int]]:
    """(touch, next touch) of a map; of one that nobody reads its producer twice."""
    return list(pairwise(nodes)) or [(nodes[0], nodes[0])]


def external_rows(qgraph: QuantGraph, chain: Chain, windows: Sequence[Rows]) -> dict[str, Rows]:
    """Rows of the maps from elsewhere that one band of a segment reads; windows: its output rows by
    node."""
    nodes = qgraph.nodes[chain.first : chain.last + 1]
    inner = {n.output for n in nodes[:-1]}
    out: dict[str, Rows] = {}
    for node, rows in zip(nodes, windows, strict=True):
        for name in node.inputs:
            if name in inner:
                continue
            first, end = input_rows(node, rows, qgraph.tensors[name].height)
            before = out.get(name, (first, end))
            out[name] = (min(first, before[0]), max(end, before[1]))
    return out


def _results(qgraph: QuantGraph, chain: Chain) -> frozenset[str]:
    """Maps of a segment that others read, or that are results of the network."""
    nodes = qgraph.nodes[chain.first : chain.last + 1]
    others = (*qgraph.nodes[: chain.first], *qgraph.nodes[chain.last + 1 :])
    outside = {name for node in others for name in node.inputs} | set(qgraph.outputs)
    return frozenset({n.output for n in nodes} & outside | {nodes[-1].output})


def _is_segment(qgraph: QuantGraph, first: int, last: int) -> bool:
    """Every node but the last one is read by one of the nodes, so that the rows of the last one
    tell which of its rows a band needs."""
    nodes = qgraph.nodes[first : last + 1]
    return all(
        any(node.output in later.inputs for later in nodes[at + 1 :])
        for at, node in enumerate(nodes[:-1])
    )


def segment_rows(qgraph: QuantGraph, params: EngineParams, chain: Chain) -> list[list[Rows]]:
    """Output rows of every node (inner index) for every band (outer index). The bands of a map that
    others read cover it, those of the other maps what is needed."""
    nodes = qgraph.nodes[chain.first : chain.last + 1]
    leaving = _results(qgraph, chain)
    height = qgraph.tensors[nodes[-1].output].height
    per_band = -(-height // chain.bands)
    per_band += -per_band % row_align(qgraph, params, nodes[-1].output)
    starts = range(0, height, per_band)
    windows: list[list[Rows]] = [[(s, min(s + per_band, height)) for s in starts]]
    for at in range(len(nodes) - 2, -1, -1):
        name = nodes[at].output
        size = qgraph.tensors[name].height
        own: list[Rows] = []
        for band in range(len(starts)):
            read = [
                input_rows(nodes[later], windows[later - at - 1][band], size)
                for later in range(at + 1, len(nodes))
                if name in nodes[later].inputs
            ]
            own.append((min(r[0] for r in read), max(r[1] for r in read)))
        windows.insert(0, _covering(own, size, row_align(qgraph, params, name))
                       if name in leaving else own)  # fmt: skip
    return [[rows[band] for rows in windows] for band in range(len(starts))]


def _covering(bands: list[Rows], height: int, align: int) -> list[Rows]:
    """The bands, longer where they must be so that together they are the whole map; each but the
    first begins with a beat of DRAM."""
    starts = [0, *(first - first % align for first, _ in bands[1:]), height]
    starts = list(accumulate(starts[::-1], min))[::-1]  # none is above a later one
    return [
        (start, max(end, following, start + 1))
        for start, following, (_, end) in zip(starts, starts[1:], bands, strict=False)
    ]


def _band_counts(height: int) -> list[int]:
    """Numbers of bands to choose from: every step makes bands noticeably lower."""
    counts, n = [], 1
    while n <= height:
        counts.append(n)
        n = max(n + 1, n * 4 // 3)
    return [n for n in counts if n == 1 or -(-height // n) != -(-height // (n - 1))]


def needs(
    qgraph: QuantGraph, params: EngineParams, chain: Chain, words: Words, rate: float
) -> Offer:
    """What a segment in bands takes; rate: bytes of DRAM per cycle."""
    nodes = qgraph.nodes[chain.first : chain.last + 1]
    bands = segment_rows(qgraph, params, chain)
    leaving = _results(qgraph, chain)
    results: dict[str, int] = {}
    tall: dict[str, int] = defaultdict(int)
    total: dict[str, int] = defaultdict(int)
    for windows in bands:
        for name, (first, end) in external_rows(qgraph, chain, windows).items():
            first -= first % row_align(qgraph, params, name)
            tall[name] = max(tall[name], end - first)
            total[name] += end - first
    cycles = float(BAND_CYCLES * (len(bands) - 1) * len(nodes))
    extra = 0
    inner = 0
    for position, node in enumerate(nodes):
        out = qgraph.tensors[node.output]
        rows = [b[position][1] - b[position][0] for b in bands]
        work = (
            node_macs(node, qgraph) / params.macs_per_cycle + out.height * out.width / params.pixels
        )
        cycles += work * (sum(rows) / out.height - 1)
        if isinstance(node, QConv):
            extra += (len(bands) - 1) * sum(t.weight.size for t in node.terms)
        size = words(node.output, max(rows))
        if node.output in leaving:
            results[node.output] = (2 if len(bands) > 1 else 1) * size
        else:
            inner += size
    return Offer(
        chain.bands,
        {
            name: (words(name, tall[name]), total[name] * _row_bytes(qgraph, params, name))
            for name in tall
        },
        inner,
        results,
        extra + round(cycles * rate),
    )  # fmt: skip


def row_align(qgraph: QuantGraph, params: EngineParams, name: str) -> int:
    """Every so many rows of a map begin with a beat of DRAM."""
    return params.beat_words // math.gcd(params.beat_words, qgraph.tensors[name].width)


def _row_bytes(qgraph: QuantGraph, params: EngineParams, name: str) -> int:
    """Bytes of a row of a map in all its planes."""
    tensor, word = qgraph.tensors[name], params.in_channels
    return -(-tensor.channels // word) * word * tensor.width * tensor.format.bits // 8


class Words:
    """Words on chip of so many rows of a map."""

    def __init__(self, qgraph: QuantGraph, params: EngineParams) -> None:
        self._qgraph, self._params = qgraph, params
        self._known: dict[tuple[str, int], int] = {}

    def __call__(self, name: str, rows: int) -> int:
        key = (name, rows)
        if key not in self._known:
            tensor = self._qgraph.tensors[name]
            self._known[key] = buffer_layout(tensor, self._params, rows).words
        return self._known[key]


def buffer_layout(tensor: QTensor, params: EngineParams, rows: int) -> MapLayout:
    """Rows of a map on chip, with room for what a LOAD writes, or a STORE reads, behind them."""
    layout = map_layout(tensor, params, rows)
    size = rows * tensor.width
    loaded = params.load_part(size) * params.load_words
    return replace(layout, words=layout.words + loaded - size)


def load_slack(params: EngineParams) -> int:
    """Most words that a LOAD reads behind its rows."""
    return (params.banks + 1) * params.load_words


def home_layout(tensor: QTensor, params: EngineParams) -> MapLayout:
    """A map in DRAM: its planes follow each other, each begins with a beat."""
    layout = map_layout(tensor, params)
    plane = tensor.height * tensor.width
    plane += -plane % params.beat_words
    high = layout.planes * plane
    low = high if layout.low else 0
    return replace(layout, plane=plane, low=low, words=high + low)


def problem(qgraph: QuantGraph, params: EngineParams, rate: float) -> SpillProblem:
    """The choice for the whole memory of an engine; rate: bytes of DRAM per cycle."""
    words = Words(qgraph, params)
    offers, own = {}, {}
    for first in range(len(qgraph.nodes)):
        for last in range(first, min(first + MAX_CHAIN, len(qgraph.nodes))):
            if not _is_segment(qgraph, first, last):
                continue
            height = qgraph.tensors[qgraph.nodes[last].output].height
            offers[first, last] = tuple(
                needs(qgraph, params, Chain(first, last, bands), words, rate)
                for bands in _band_counts(height)
            )
            leaving = _results(qgraph, Chain(first, last, 1))
            own[first, last] = frozenset(
                n.output for n in qgraph.nodes[first:last] if n.output not in leaving
            )
    whole = {n: words(n, t.height) for n, t in qgraph.tensors.items()}
    return SpillProblem(
        len(qgraph.nodes),
        offers,
        tuple((*n.inputs, n.output) for n in qgraph.nodes),
        own,
        {
            name: tuple((name, a, b) for a, b in gaps(nodes))
            for name, nodes in touches(qgraph).items()
        },
        whole,
        {n: t.height * _row_bytes(qgraph, params, n) for n, t in qgraph.tensors.items()},
        frozenset({qgraph.input, *qgraph.outputs}),
        params.words,
    )


def spilled_plan(
    qgraph: QuantGraph, params: EngineParams, state: Residence, alone: bool
) -> Plan | None:
    """The plan of a choice; None if a segment does not fit however low its bands, or if the input
    is a result, for which there is no way. alone: nothing runs beside a STORE, which takes less
    memory."""
    offers = {first: state.offer(first)[0] for first in sorted(state.segments)}
    if None in offers.values() or qgraph.input in qgraph.outputs:
        return None
    builder = _Builder(qgraph, params, state, alone)
    for first, offer in offers.items():
        assert offer is not None
        builder.segment(Chain(first, state.segments[first], offer.bands))
    return Plan(tuple(builder.steps), builder.buffers, builder.homes)


def check_rows(qgraph: QuantGraph, params: EngineParams) -> None:
    """NoRoom if the rows that one row of a layer needs do not fit the memory."""
    for index, node in enumerate(qgraph.nodes):
        chain = Chain(index, index, qgraph.tensors[node.output].height)
        offer = needs(qgraph, params, chain, Words(qgraph, params), 0.0)
        need = sum(offer.results.values()) + sum(band for band, _ in offer.external.values())
        if need > params.words:
            size = params.in_channels
            raise NoRoom(
                f"feature maps of layer '{node.name}' need {need * size} bytes even a row at a "
                f"time, the memory has {params.words * size}: use a smaller input or a larger board"
            )


def check_transfers(plan: Plan, qgraph: QuantGraph) -> None:
    """ScheduleError if rows are loaded that nobody stored before, or stored twice, or if a step
    reads rows that its buffer does not hold: a defect of the plan, refused before it is built."""
    there = {name: np.zeros(t.height, bool) for name, t in qgraph.tensors.items()}
    there[qgraph.input][:] = True
    for step in plan.steps:
        if isinstance(step, Step):
            for name in step.node.inputs:
                first, end = input_rows(step.node, step.rows, qgraph.tensors[name].height)
                buffer = plan.buffers[step.buffers[name]]
                held = (buffer.first_row, buffer.first_row + buffer.layout.height)
                if first < held[0] or end > held[1]:
                    raise ScheduleError(f"layer '{step.name}' reads rows {first}..{end} of '{name}'"
                                        f", of which {held[0]}..{held[1]} are there")  # fmt: skip
            continue
        rows = there[step.tensor][slice(*step.rows)]
        if not rows.all() if step.load else rows.any():
            what = "loaded before they were stored" if step.load else "stored twice"
            raise ScheduleError(f"rows {step.rows} of '{step.tensor}' are {what}")
        rows[:] = True


def output_layout(plan: Plan, qgraph: QuantGraph, params: EngineParams) -> OutputLayout:
    """The output region: results first, maps that leave the chip behind them."""
    homes = [plan.homes[name] for name in dict.fromkeys(qgraph.outputs)]
    ends = [h.offset + h.layout.words * params.in_channels
            for h in plan.homes.values() if h.region == Region.OUTPUT]  # fmt: skip
    size = max(ends) + load_slack(params) * params.in_channels
    return OutputLayout(
        tuple(h.layout for h in homes), tuple(h.offset for h in homes), size + -size % HOME_ALIGN
    )


class _Builder:
    """Steps and buffers, segment by segment. on_chip: buffers of the maps that are there as a whole
    between two segments."""

    def __init__(
        self, qgraph: QuantGraph, params: EngineParams, state: Residence, alone: bool
    ) -> None:
        self.qgraph, self.params, self.kept, self.alone = qgraph, params, state.kept, alone
        self.gaps = state.problem.gaps
        self.steps: list[Step | Transfer] = []
        self.buffers: dict[str, MapBuffer] = {}
        self.on_chip: dict[str, str] = {}
        self.homes = {
            qgraph.input: Home(home_layout(qgraph.tensors[qgraph.input], params), Region.INPUT, 0)
        }
        at = 0
        leaving = [n for n in qgraph.tensors if not state.is_own(n) and not state.stays(n)]
        for name in dict.fromkeys((*qgraph.outputs, *leaving)):
            if name in self.homes:
                continue
            layout = home_layout(qgraph.tensors[name], params)
            self.homes[name] = Home(layout, Region.OUTPUT, at)
            at += layout.words * params.in_channels
            at += -at % HOME_ALIGN

    def _present(self, name: str, first: int, last: int) -> bool:
        """The map is there as a whole while nodes [first, last] run."""
        return any(g in self.kept and g[1] <= last and g[2] >= first for g in self.gaps[name])

    def _buffer(self, name: str, tensor: str, rows: Rows) -> str:
        layout = buffer_layout(self.qgraph.tensors[tensor], self.params, rows[1] - rows[0])
        self.buffers[name] = MapBuffer(name, layout, rows[0])
        return name

    def segment(self, chain: Chain) -> None:
        """The steps of a segment, with what it loads and stores."""
        first, last = chain.first, chain.last
        nodes = self.qgraph.nodes[first : last + 1]
        inner = {n.output for n in nodes}
        for name in dict.fromkeys(i for n in nodes for i in n.inputs):
            whole = name not in inner and self._present(name, first, last)
            if whole and name not in self.on_chip:
                rows = (0, self.qgraph.tensors[name].height)
                self.on_chip[name] = self._buffer(f"{name}@{first}", name, rows)
                self.steps.append(Transfer(name, rows, self.on_chip[name], True))
        leaving = [n.output for n in nodes if n.output in _results(self.qgraph, chain)]
        for name in leaving:
            if self._present(name, first, last):
                rows = (0, self.qgraph.tensors[name].height)
                self.on_chip[name] = self._buffer(name, name, rows)
        bands = segment_rows(self.qgraph, self.params, chain)
        for band, windows in enumerate(bands):
            ends = bands[band + 1] if band + 1 < len(bands) else None
            used = self._band(chain, f"{first}.{band}", windows)
            for position, node in enumerate(nodes):
                if node.output in leaving and node.output not in self.on_chip:
                    end = ends[position][0] if ends else windows[position][1]
                    rows = (windows[position][0], end)
                    if end > rows[0]:
                        self._store(node.output, rows, used[node.output])
        for name in leaving:
            if name in self.on_chip and name in self.homes:
                rows = (0, self.qgraph.tensors[name].height)
                self._store(name, rows, self.on_chip[name])
        for name in list(self.on_chip):
            if not any(g in self.kept and g[1] <= last < g[2] for g in self.gaps[name]):
                del self.on_chip[name]

    def _store(self, name: str, rows: Rows, buffer: str) -> None:
        self.steps.append(Transfer(name, rows, buffer, False, self.alone))

    def _band(self, chain: Chain, label: str, windows: Sequence[Rows]) -> dict[str, str]:
        """One band; windows: output rows of the nodes. Returns its buffers."""
        nodes = self.qgraph.nodes[chain.first : chain.last + 1]
        used = dict(self.on_chip)
        for name, (first, end) in external_rows(self.qgraph, chain, windows).items():
            if name not in used:
                rows = (first - first % row_align(self.qgraph, self.params, name), end)
                used[name] = self._buffer(f"{name}@{label}", name, rows)
                self.steps.append(Transfer(name, rows, used[name], True))
        for offset, (node, rows) in enumerate(zip(nodes, windows, strict=True)):
            if node.output not in used:
                used[node.output] = self._buffer(f"{node.output}@{label}", node.output, rows)
            maps = {name: used[name] for name in (*node.inputs, node.output)}
            self.steps.append(Step(chain.first + offset, node, rows, maps))
        return used
