"""Order of execution: steps over whole maps or, in chains, over bands of their rows.

A chain is a run of convolutions and max-pools of which each feeds only the next. Run band by band
(depth first), its inner maps exist only as bands of rows; rows that two bands need (the halo) are
computed twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from fpga_gen.contract.params import EngineParams
from fpga_gen.quant.ir import QAdd, QConv, QInterleave, QMaxPool, QMul, QNode, QResample, QuantGraph
from fpga_gen.schedule.lower.placement import Home, map_layout
from fpga_gen.schedule.place.allocate import Demand
from fpga_gen_host.regions import InputLayout, MapLayout

Rows = tuple[int, int]  # [first, end)


@dataclass(frozen=True)
class Chain:
    """Nodes [first, last] of the graph, run in `bands` bands of output rows of the last one."""

    first: int
    last: int
    bands: int


@dataclass(frozen=True)
class MapBuffer:
    """A map, or the band of its rows [first_row, first_row + layout.height), in memory.

    run: the object that is allocated, named after its first buffer; first_channel: where in the
    run's channels the map starts (see packing); rolls: buffers of one run hold the same map, one
    after the other.
    """

    name: str
    layout: MapLayout
    first_row: int = 0
    run: str = ""
    first_channel: int = 0
    rolls: bool = False

    @property
    def owner(self) -> str:
        return self.run or self.name

    @property
    def offset(self) -> int:
        """Words from the start of the run to the map's first plane."""
        return self.first_channel // self.layout.word_channels * self.layout.plane


@dataclass(frozen=True)
class Step:
    """One node over a window of output rows. buffers: buffer name of every map it touches."""

    index: int
    node: QNode
    rows: Rows
    buffers: dict[str, str]

    @property
    def name(self) -> str:
        return self.node.name


@dataclass(frozen=True)
class Transfer:
    """Rows of a map from its home in DRAM to a buffer (`load`), or from there to its home; alone:
    the buffer is free behind the STORE, for which its next writer then waits."""

    tensor: str
    rows: Rows
    buffer: str
    load: bool
    alone: bool = False

    @property
    def name(self) -> str:
        return self.tensor

    @property
    def buffers(self) -> dict[str, str]:
        return {self.tensor: self.buffer}


@dataclass(frozen=True)
class Move:
    """Rows of a map from one buffer to another, or further up in the same words."""

    tensor: str
    rows: Rows
    source: str
    target: str

    @property
    def name(self) -> str:
        return self.tensor

    @property
    def buffers(self) -> dict[str, str]:
        return {"from": self.source, "to": self.target}


@dataclass(frozen=True)
class FusedSegment:
    """Nodes [first, last], whose steps end in front of step `end`, in so many bands."""

    first: int
    last: int
    bands: int
    end: int


@dataclass(frozen=True)
class Plan:
    """homes: of the maps that lie in DRAM for a while. Without any, the input is loaded as a whole
    before the first step, and what is a result is stored by the step that completes it. segments:
    in order, with the homes."""

    steps: tuple[Step | Transfer | Move, ...]
    buffers: dict[str, MapBuffer]
    homes: dict[str, Home] = field(default_factory=dict)
    segments: tuple[FusedSegment, ...] = ()


def input_rows(node: QNode, rows: Rows, height: int) -> Rows:
    """Input rows, of `height`, that output rows [first, end) need."""
    if isinstance(node, QAdd | QMul):
        return (0, 1) if height == 1 else rows  # one pixel may meet all of the other map
    if isinstance(node, QInterleave):
        return rows[0] // node.block[0], (rows[1] - 1) // node.block[0] + 1
    if isinstance(node, QResample):
        first, end = rows
        return min(node.y.start[first:end]), max(node.y.start[first:end]) + node.y.taps
    if isinstance(node, QConv):
        windows = [(t.weight.shape[2], t.stride[0], t.pads[0], t.dilation[0]) for t in node.terms]
    else:
        windows = [(node.kernel[0], node.stride[0], node.pads[0], node.dilation[0])]
    first = min(rows[0] * stride - pad for _, stride, pad, _ in windows)
    end = max(
        (rows[1] - 1) * stride - pad + dilation * (kernel - 1) + 1
        for kernel, stride, pad, dilation in windows
    )
    first = min(max(first, 0), height - 1)
    return first, max(min(end, height), first + 1)


def band_rows(qgraph: QuantGraph, chain: Chain) -> list[list[Rows]]:
    """Output rows of every node of a chain (inner index) for every band (outer index)."""
    nodes = qgraph.nodes[chain.first : chain.last + 1]
    height = qgraph.tensors[nodes[-1].output].height
    per_band = -(-height // chain.bands)
    bands = []
    for start in range(0, height, per_band):
        windows = [(start, min(start + per_band, height))]
        for node in reversed(nodes[1:]):
            assert isinstance(node, QConv | QMaxPool), "a chain has no other nodes"
            inner = qgraph.tensors[nodes[len(nodes) - len(windows) - 1].output]
            windows.append(input_rows(node, windows[-1], inner.height))
        bands.append(windows[::-1])
    return bands


def chain_end(qgraph: QuantGraph, first: int) -> int:
    """Last node of the longest chain that starts at node `first`; first - 1 if none can."""
    readers: dict[str, int] = {}
    for node in qgraph.nodes:
        for name in node.inputs:
            readers[name] = readers.get(name, 0) + 1
    last = first - 1
    for index in range(first, len(qgraph.nodes)):
        node = qgraph.nodes[index]
        if not isinstance(node, QConv | QMaxPool):
            break
        if index > first:
            inner = qgraph.nodes[index - 1].output
            if inner in qgraph.outputs or readers.get(inner) != 1 or inner not in node.inputs:
                break
        last = index
    return last


def make_plan(
    qgraph: QuantGraph,
    params: EngineParams,
    layouts: dict[str, MapLayout],
    chains: tuple[Chain, ...] = (),
) -> Plan:
    """Steps and buffers; layouts: of the whole maps."""
    buffers = {qgraph.input: MapBuffer(qgraph.input, layouts[qgraph.input])}
    steps: list[Step] = []
    starts = {c.first: c for c in chains}
    index = 0
    while index < len(qgraph.nodes):
        chain = starts.get(index, Chain(index, index, 1))
        nodes = qgraph.nodes[chain.first : chain.last + 1]
        inner = {n.output for n in nodes[:-1]}
        for band, windows in enumerate(band_rows(qgraph, chain)):
            for offset, (node, rows) in enumerate(zip(nodes, windows, strict=True)):
                name = node.output
                if name in inner:
                    name = f"{node.output}@{band}"
                    layout = map_layout(qgraph.tensors[node.output], params, rows[1] - rows[0])
                    buffers[name] = MapBuffer(name, layout, rows[0])
                else:
                    buffers.setdefault(name, MapBuffer(name, layouts[name]))
                used = {i: f"{i}@{band}" if i in inner else i for i in node.inputs}
                used[node.output] = name
                steps.append(Step(chain.first + offset, node, rows, used))
        index = chain.last + 1
    return Plan(tuple(steps), buffers)


def demands(plan: Plan, qgraph: QuantGraph, host_input: InputLayout) -> list[Demand]:
    """Size and lifetime of every buffer; the outputs live until they are stored.

    A run of several maps is one object of several pieces: a plane lives from the first write to
    the last read of any map in it.
    """
    first: dict[str, int] = {}
    last: dict[str, int] = {}
    if not plan.homes:
        first[qgraph.input] = last[qgraph.input] = 0
    end = len(plan.steps)
    for at, step in enumerate(plan.steps):
        for name in step.buffers.values():
            first.setdefault(name, at)
            last[name] = at
    for name in () if plan.homes else qgraph.outputs:
        last[name] = end
    for at, step in enumerate(plan.steps):
        if isinstance(step, Transfer) and not step.load:
            last[step.buffer] = max(last[step.buffer], _read_by(plan.steps, at))
    out = []
    maps: dict[str, set[str]] = {}
    for buffer in plan.buffers.values():
        maps.setdefault(buffer.owner, set()).add(buffer.layout.tensor)
    planes: dict[str, dict[int, Rows]] = {}
    rolling: dict[str, Demand] = {}
    for name, start in first.items():
        buffer = plan.buffers[name]
        if buffer.rolls:
            demand = Demand(buffer.owner, buffer.layout.words, start, last[name])
            before = rolling.get(buffer.owner, demand)
            rolling[buffer.owner] = replace(
                demand, first=min(start, before.first), last=max(last[name], before.last)
            )
            continue
        if len(maps[buffer.owner]) > 1:
            lives = planes.setdefault(buffer.owner, {})
            plane = buffer.first_channel // buffer.layout.word_channels
            for index in range(plane, plane + buffer.layout.planes):
                a, b = lives.get(index, (start, last[name]))
                lives[index] = (min(a, start), max(b, last[name]))
            continue
        words = buffer.layout.words
        if name == qgraph.input:
            words = max(words, host_input.part * host_input.load_words)
        out.append(Demand(name, words, start, last[name]))
    out += rolling.values()
    for owner, lives in planes.items():
        out += _pieces(owner, plan.buffers[owner].layout, lives)
    return out


def _read_by(steps: Sequence[Step | Transfer | Move], at: int) -> int:
    """Step in which a STORE may still read: it has ended when the next one begins, and before its
    map is loaded."""
    stored = steps[at]
    if isinstance(stored, Transfer) and stored.alone:
        return at
    for after in range(at + 1, len(steps)):
        step = steps[after]
        if isinstance(step, Transfer) and step.load and step.tensor == steps[at].name:
            return after - 1
        if isinstance(step, Transfer) and not step.load:
            return after
    return len(steps)


def _pieces(owner: str, layout: MapLayout, lives: dict[int, tuple[int, int]]) -> list[Demand]:
    """Demands of a run: neighbouring planes of equal lifetime in one piece."""
    pieces: list[Demand] = []
    for plane, (first, last) in sorted(lives.items()):
        offset = plane * layout.plane
        words = layout.height * layout.width
        if pieces and (pieces[-1].first, pieces[-1].last) == (first, last):
            before = pieces.pop()
            offset, words = before.offset, offset + words - before.offset
        pieces.append(Demand(owner, words, first, last, offset))
    return pieces
