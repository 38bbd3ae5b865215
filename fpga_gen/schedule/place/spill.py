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
from itertools import pairwise

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
    band_rows,
    chain_end,
    input_rows,
)
from fpga_gen.schedule.place.spill_search import Offer, Residence, SpillProblem
from fpga_gen_host.regions import MapLayout, OutputLayout

MAX_CHAIN = 4  # longer chains recompute more halo than they save
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


def _band_counts(height: int) -> list[int]:
    """Numbers of bands to choose from: every step makes bands noticeably lower."""
    counts, n = [], 1
    while n <= height:
        counts.append(n)
        n = max(n + 1, n * 5 // 4)
    return [n for n in counts if n == 1 or -(-height // n) != -(-height // (n - 1))]


def needs(qgraph: QuantGraph, params: EngineParams, chain: Chain, rate: float) -> Offer:
    """What a segment in bands takes; rate: bytes of DRAM per cycle."""
    nodes = qgraph.nodes[chain.first : chain.last + 1]
    bands = band_rows(qgraph, chain, row_align(qgraph, params, nodes[-1].output))
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
        if position < len(nodes) - 1:
            inner += _words(qgraph, params, node.output, max(rows))
        else:
            per_band = max(rows)
    result = nodes[-1].output
    return Offer(
        chain.bands,
        {
            name: (_words(qgraph, params, name, tall[name]),
                   total[name] * _words(qgraph, params, name, 1) * params.in_channels)
            for name in tall
        },
        inner,
        (2 if len(bands) > 1 else 1) * _words(qgraph, params, result, per_band),
        extra + round(cycles * rate),
    )  # fmt: skip


def row_align(qgraph: QuantGraph, params: EngineParams, name: str) -> int:
    """Every so many rows of a map begin with a beat of DRAM."""
    return params.beat_words // math.gcd(params.beat_words, qgraph.tensors[name].width)


def _words(qgraph: QuantGraph, params: EngineParams, name: str, rows: int) -> int:
    return buffer_layout(qgraph.tensors[name], params, rows).words


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


def problem(qgraph: QuantGraph, params: EngineParams, capacity: int, rate: float) -> SpillProblem:
    """The choice for a memory of `capacity` words; rate: bytes of DRAM per cycle."""
    offers, own = {}, {}
    for first in range(len(qgraph.nodes)):
        end = max(first, min(chain_end(qgraph, first), first + MAX_CHAIN - 1))
        for last in range(first, end + 1):
            height = qgraph.tensors[qgraph.nodes[last].output].height
            offers[first, last] = tuple(
                needs(qgraph, params, Chain(first, last, bands), rate)
                for bands in _band_counts(height)
            )
            own[first, last] = frozenset(n.output for n in qgraph.nodes[first:last])
    whole = {n: _words(qgraph, params, n, t.height) for n, t in qgraph.tensors.items()}
    return SpillProblem(
        len(qgraph.nodes),
        offers,
        tuple(n.output for n in qgraph.nodes),
        own,
        {
            name: tuple((name, a, b) for a, b in gaps(nodes))
            for name, nodes in touches(qgraph).items()
        },
        whole,
        {name: words * params.in_channels for name, words in whole.items()},
        frozenset({qgraph.input, *qgraph.outputs}),
        capacity,
    )


def spilled_plan(qgraph: QuantGraph, params: EngineParams, state: Residence) -> Plan | None:
    """The plan of a choice; None if a segment does not fit however low its bands, or if the input
    is a result, for which there is no way."""
    offers = {first: state.offer(first)[0] for first in sorted(state.segments)}
    if None in offers.values() or qgraph.input in qgraph.outputs:
        return None
    builder = _Builder(qgraph, params, state)
    for first, offer in offers.items():
        assert offer is not None
        builder.segment(Chain(first, state.segments[first], offer.bands))
    return Plan(tuple(builder.steps), builder.buffers, builder.homes)


def check_rows(qgraph: QuantGraph, params: EngineParams) -> None:
    """NoRoom if the rows that one row of a layer needs do not fit the memory."""
    for index, node in enumerate(qgraph.nodes):
        chain = Chain(index, index, qgraph.tensors[node.output].height)
        offer = needs(qgraph, params, chain, 0.0)
        words = offer.output + sum(band for band, _ in offer.external.values())
        if words > params.words:
            size = params.in_channels
            raise NoRoom(
                f"feature maps of layer '{node.name}' need {words * size} bytes even a row at a "
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

    def __init__(self, qgraph: QuantGraph, params: EngineParams, state: Residence) -> None:
        self.qgraph, self.params, self.kept = qgraph, params, state.kept
        self.gaps = state.problem.gaps
        self.steps: list[Step | Transfer] = []
        self.buffers: dict[str, MapBuffer] = {}
        self.on_chip: dict[str, str] = {}
        self.homes = {
            qgraph.input: Home(home_layout(qgraph.tensors[qgraph.input], params), Region.INPUT, 0)
        }
        at = 0
        leaving = [n for n in qgraph.tensors if not state.is_own(n) and not self._stays(n)]
        for name in dict.fromkeys((*qgraph.outputs, *leaving)):
            if name in self.homes:
                continue
            layout = home_layout(qgraph.tensors[name], params)
            self.homes[name] = Home(layout, Region.OUTPUT, at)
            at += layout.words * params.in_channels
            at += -at % HOME_ALIGN

    def _stays(self, name: str) -> bool:
        return all(gap in self.kept for gap in self.gaps[name])

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
        result = nodes[-1].output
        own = {n.output for n in nodes[:-1]}
        for name in dict.fromkeys(i for n in nodes for i in n.inputs):
            whole = name not in own and self._present(name, first, last)
            if whole and name not in self.on_chip:
                rows = (0, self.qgraph.tensors[name].height)
                self.on_chip[name] = self._buffer(f"{name}@{first}", name, rows)
                self.steps.append(Transfer(name, rows, self.on_chip[name], True))
        if self._present(result, first, last):
            rows = (0, self.qgraph.tensors[result].height)
            self.on_chip[result] = self._buffer(result, result, rows)
        align = row_align(self.qgraph, self.params, result)
        for band, windows in enumerate(band_rows(self.qgraph, chain, align)):
            self._band(chain, f"{first}.{band}", windows)
        if result in self.on_chip and result in self.homes:
            rows = (0, self.qgraph.tensors[result].height)
            self.steps.append(Transfer(result, rows, self.on_chip[result], False))
        for name in list(self.on_chip):
            if not any(g in self.kept and g[1] <= last < g[2] for g in self.gaps[name]):
                del self.on_chip[name]

    def _band(self, chain: Chain, label: str, windows: Sequence[Rows]) -> None:
        """One band; windows: output rows of the nodes."""
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
        result = nodes[-1].output
        if result not in self.on_chip:
            self.steps.append(Transfer(result, windows[-1], used[result], False))
