"""Which maps stay on chip and which lie in DRAM for a while, where the memory cannot hold them all.

The network runs segment by segment (see segments), each in bands of output rows; what a band reads
of a map in DRAM is loaded for it, what it writes of one is stored behind it. Between two segments
that touch a map, it is kept on chip as a whole or not at all. The search (spill_search) chooses
segments, bands and what is kept: the fewest bytes of DRAM, work that is done twice counted as the
bytes that move meanwhile, such that every segment fits the memory.
"""

from __future__ import annotations

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
from fpga_gen.schedule.place.segments import Segments, band_counts
from fpga_gen.schedule.place.spill_search import Offer, Residence, SpillProblem
from fpga_gen_host.regions import MapLayout, OutputLayout

MAX_NODES = 4  # nodes of a segment: longer ones recompute more halo than they save
BAND_CYCLES = 300  # cost of one more instruction: decode, wait, last drain
HOME_ALIGN = 64  # bytes: every map in DRAM starts on a boundary of its own


def needs(
    qgraph: QuantGraph, params: EngineParams, segments: Segments, chain: Chain, words: Words,
    rate: float,
) -> Offer:  # fmt: skip
    """What a segment in bands takes; rate: bytes of DRAM per cycle."""
    nodes, bands = segments.nodes(chain), segments.rows(chain)
    leaving = segments.results(chain)
    tall: dict[str, int] = defaultdict(int)
    total: dict[str, int] = defaultdict(int)
    for windows in bands:
        for name, (first, end) in segments.read(chain, windows).items():
            tall[name] = max(tall[name], end - first)
            total[name] += end - first
    results: dict[str, int] = {}
    cycles = float(BAND_CYCLES * (len(bands) - 1) * len(nodes))
    inner = extra = 0
    for position, node in enumerate(nodes):
        out = qgraph.tensors[node.output]
        rows = [b[position][1] - b[position][0] for b in bands]
        cycles += segments.cycles(chain.first + position) * (sum(rows) / out.height - 1)
        if isinstance(node, QConv):
            extra += (len(bands) - 1) * sum(t.weight.size for t in node.terms)
        size = words(node.output, max(rows))
        if node.output in leaving:
            results[node.output] = (2 if len(bands) > 1 else 1) * size
        else:
            inner += size
    external = {
        name: (words(name, tall[name]), total[name] * _row_bytes(qgraph, params, name))
        for name in tall
    }
    return Offer(chain.bands, external, inner, results, extra + round(cycles * rate))


def gaps(nodes: Sequence[int]) -> list[tuple[int, int]]:
    """(touch, next touch) of a map; of one that nobody reads its producer twice."""
    return list(pairwise(nodes)) or [(nodes[0], nodes[0])]


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
    words, segments = Words(qgraph, params), Segments(qgraph, params)
    offers: dict[tuple[int, int], tuple[Offer, ...]] = {}
    own: dict[tuple[int, int], frozenset[str]] = {}
    for first in range(len(qgraph.nodes)):
        for last in range(first, min(first + MAX_NODES, len(qgraph.nodes))):
            if not segments.possible(first, last):
                continue
            chains = [
                Chain(first, last, bands)
                for bands in band_counts(qgraph.tensors[qgraph.nodes[last].output].height)
            ]
            offers[first, last] = tuple(
                needs(qgraph, params, segments, chain, words, rate) for chain in chains
            )
            leaving = segments.results(chains[0])
            own[first, last] = frozenset(
                n.output for n in segments.nodes(chains[0]) if n.output not in leaving
            )
    whole = {n: words(n, t.height) for n, t in qgraph.tensors.items()}
    return SpillProblem(
        len(qgraph.nodes),
        offers,
        tuple((*n.inputs, n.output) for n in qgraph.nodes),
        own,
        {
            name: tuple((name, a, b) for a, b in gaps(segments.touches(name)))
            for name in qgraph.tensors
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
    words, segments = Words(qgraph, params), Segments(qgraph, params)
    for index, node in enumerate(qgraph.nodes):
        chain = Chain(index, index, qgraph.tensors[node.output].height)
        offer = needs(qgraph, params, segments, chain, words, 0.0)
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
        self.gaps, self.segments = state.problem.gaps, Segments(qgraph, params)
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
        leaving = self.segments.results(chain)
        for name in leaving:
            if self._present(name, first, last):
                rows = (0, self.qgraph.tensors[name].height)
                self.on_chip[name] = self._buffer(name, name, rows)
        bands = self.segments.rows(chain)
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
        for name, rows in self.segments.read(chain, windows).items():
            if name not in used:
                used[name] = self._buffer(f"{name}@{label}", name, rows)
                self.steps.append(Transfer(name, rows, used[name], True))
        for offset, (node, rows) in enumerate(zip(nodes, windows, strict=True)):
            if node.output not in used:
                used[node.output] = self._buffer(f"{node.output}@{label}", node.output, rows)
            maps = {name: used[name] for name in (*node.inputs, node.output)}
            self.steps.append(Step(chain.first + offset, node, rows, maps))
        return used
