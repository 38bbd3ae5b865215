"""Packing of channel tails: maps whose channels follow one another in shared planes.

A map takes whole planes of CI channels, and a convolution spends weight slots on the empty lanes
of each tail. In a run of maps, every map starts where the one before it ends, so that a plane
that two maps share is read once for both. A reader of one of them may then touch a plane more;
the search weighs all readers.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from fpga_gen.contract.params import EngineParams
from fpga_gen.quant.ir import QConv, QuantGraph
from fpga_gen.schedule.cycles.timing import Timing
from fpga_gen.schedule.lower.conv_blocks import conv_geometry
from fpga_gen.schedule.lower.conv_plan import group_prices, mode_mix
from fpga_gen.schedule.lower.placement import map_layout
from fpga_gen.schedule.lower.walk import live_taps
from fpga_gen.schedule.place.allocate import Allocation, allocate_quickly, find_allocation
from fpga_gen.schedule.place.pack_search import Reader, search_runs
from fpga_gen.schedule.place.plan import Plan, demands
from fpga_gen_host.regions import InputLayout

Runs = tuple[tuple[str, ...], ...]
TOO_MANY = 1e12  # cycles of a layer that would not fit the weight buffer


def packable(qgraph: QuantGraph, plan: Plan) -> set[str]:
    """Maps that may start at any byte of a word and share it: 8 bits, made and read by dense
    convolutions alone (all other instructions move whole words), and held as a whole."""
    convs = [n for n in qgraph.nodes if isinstance(n, QConv)]
    free = {n.output for n in convs} - set(qgraph.outputs)
    free = {name for name in free if name in plan.buffers}
    free = {name for name in free if qgraph.tensors[name].format.bits == 8}
    for node in qgraph.nodes:
        if not isinstance(node, QConv):
            free -= set(node.inputs)
            continue
        for term in node.terms:
            if term.groups > 1:
                free -= set(term.inputs)
    return free


def _readers(
    qgraph: QuantGraph, params: EngineParams, timing: Timing, index: dict[str, int]
) -> list[Reader]:
    """The convolutions that read packable maps."""
    readers = []
    word = params.in_channels
    for node in qgraph.nodes:
        if not isinstance(node, QConv) or not any(i in index for i in node.inputs):
            continue
        geometry = conv_geometry(node, qgraph.tensors)
        out = qgraph.tensors[node.output]
        wide = out.format.bits == 16
        prices = group_prices(params, timing, geometry, wide, params.tile_groups)
        parts, fixed = [], 0
        for term in node.terms:
            taps = len(live_taps(geometry, term.kernel, term.pads[:2], term.dilation)) or 1
            for name, count in Counter(term.inputs).items():
                tensor = qgraph.tensors[name]
                planes = -(-tensor.channels // word) * (tensor.format.bits // 8)
                fixed += taps * planes * (count - (name in index))
            parts.append((taps, tuple(dict.fromkeys(index[i] for i in term.inputs if i in index))))
        table: dict[int, float] = {}

        def cycles(slots: int, table=table, prices=prices, channels=out.channels) -> float:
            if slots not in table:
                mix = mode_mix(params, prices, channels, slots)
                table[slots] = float(mix[1]) if mix else TOO_MANY
            return table[slots]

        readers.append(Reader(tuple(parts), fixed, cycles))
    return readers


def find_runs(qgraph: QuantGraph, params: EngineParams, plan: Plan, timing: Timing) -> Runs:
    """Runs of maps that save the most cycles; () where none saves any."""
    names = sorted(packable(qgraph, plan), key=list(qgraph.tensors).index)
    index = {name: i for i, name in enumerate(names)}
    tensors = [qgraph.tensors[name] for name in names]
    classes: dict[tuple[int, int, int], list[int]] = {}
    for i, t in enumerate(tensors):
        classes.setdefault((t.height, t.width, t.format.zero), []).append(i)
    shared = [
        maps
        for maps in classes.values()
        if len(maps) > 1 and any(tensors[i].channels % params.in_channels for i in maps)
    ]
    if not shared:
        return ()
    readers = _readers(qgraph, params, timing, index)
    sizes = [t.channels for t in tensors]
    own = {i for maps in shared for i in maps}
    readers = [_without(reader, own, sizes, params.in_channels) for reader in readers]
    found = search_runs(shared, sizes, readers, params.in_channels)
    return tuple(tuple(names[i] for i in run) for run in found)


def _without(reader: Reader, own: set[int], sizes: list[int], word: int) -> Reader:
    """The reader with the maps outside `own` counted as fixed slots."""
    fixed = reader.fixed
    parts = []
    for taps, maps in reader.parts:
        fixed += taps * sum(-(-sizes[m] // word) for m in maps if m not in own)
        parts.append((taps, tuple(m for m in maps if m in own)))
    return Reader(tuple(p for p in parts if p[1]), fixed, reader.cycles)


def with_runs(plan: Plan, qgraph: QuantGraph, params: EngineParams, runs: Runs) -> Plan:
    """The plan with the maps of every run in shared planes."""
    buffers = dict(plan.buffers)
    for run in runs:
        start = 0
        for name in run:
            tensor = qgraph.tensors[name]
            layout = map_layout(tensor, params, byte_offset=start % params.in_channels)
            buffers[name] = replace(buffers[name], layout=layout, run=run[0], first_channel=start)
            start += tensor.channels
    return replace(plan, buffers=buffers)


def fit_runs(
    plan: Plan,
    qgraph: QuantGraph,
    params: EngineParams,
    host_input: InputLayout,
    runs: Runs,
) -> tuple[Plan, Allocation] | None:
    """The packed plan and its allocation; runs that take memory where it is short are given up
    one by one. None if no run is left."""
    while runs:
        packed = with_runs(plan, qgraph, params, runs)
        wanted = demands(packed, qgraph, host_input)
        allocation = find_allocation(wanted, params.words)
        if allocation is not None:
            return packed, allocation

        def live_without(index: int, runs=runs) -> int:
            rest = with_runs(plan, qgraph, params, runs[:index] + runs[index + 1 :])
            found = allocate_quickly(demands(rest, qgraph, host_input), 1 << 62)
            assert found is not None
            return found.peak

        worst = min(range(len(runs)), key=live_without)
        runs = runs[:worst] + runs[worst + 1 :]
    return None
