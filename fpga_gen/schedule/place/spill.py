"""Which maps stay on chip and which lie in DRAM for a while, where the memory cannot hold them all.

The network runs segment by segment (see segments), each in bands of output rows; what a band reads
of a map in DRAM is loaded for it, what it writes of one is stored behind it. Between two segments
that touch a map, it is kept on chip as a whole or not at all. The search (spill_search) chooses
segments, bands and what is kept: the fewest bytes of DRAM, work that is done twice counted as the
bytes that move meanwhile, such that every segment fits the memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from fpga_gen.contract.isa import Region
from fpga_gen.contract.params import EngineParams
from fpga_gen.quant.ir import QuantGraph
from fpga_gen.schedule.place.allocate import NoRoom
from fpga_gen.schedule.place.plan import Plan
from fpga_gen.schedule.place.residence import Residence, SpillProblem
from fpga_gen.schedule.place.rolled import HOME_ALIGN, PlanBuilder
from fpga_gen.schedule.place.segments import Segments, load_slack
from fpga_gen_host.regions import OutputLayout


def gaps(nodes: Sequence[int]) -> list[tuple[int, int]]:
    """(touch, next touch) of a map; of one that nobody reads its producer twice."""
    return list(pairwise(nodes)) or [(nodes[0], nodes[0])]


def problem(segments: Segments) -> SpillProblem:
    """The choice for the whole memory of an engine."""
    qgraph, params = segments.qgraph, segments.params
    found = {
        (first, last): tuple(offers)
        for last in range(len(qgraph.nodes))
        for first, offers in segments.offers(last, params.words)
    }
    own = {
        (first, last): frozenset(
            n.output for n in qgraph.nodes[first : last + 1] if not segments.stored(n.output, last)
        )
        for first, last in found
    }
    return SpillProblem(
        len(qgraph.nodes),
        found,
        tuple((*n.inputs, n.output) for n in qgraph.nodes),
        own,
        {
            name: tuple((name, a, b) for a, b in gaps(segments.touches(name)))
            for name in qgraph.tensors
        },
        {n: segments.words(n, t.height) for n, t in qgraph.tensors.items()},
        {n: t.height * segments.row_bytes(n) for n, t in qgraph.tensors.items()},
        frozenset({qgraph.input, *qgraph.outputs}),
        params.words,
    )


def spilled_plan(segments: Segments, state: Residence, *, alone: bool) -> Plan | None:
    """The plan of a choice; None if a segment does not fit however low its bands, or if the input
    is a result, for which there is no way. alone: a buffer's memory is free behind its STORE, which
    takes less."""
    offers = []
    for first in sorted(state.segments):
        offer, _ = state.offer(first)
        if offer is None:
            return None
        offers.append(offer)
    if segments.qgraph.input in segments.qgraph.outputs:
        return None
    return PlanBuilder(segments, state, alone=alone).plan(offers)


def check_rows(qgraph: QuantGraph, params: EngineParams) -> None:
    """NoRoom if the rows that one row of a layer needs do not fit the memory."""
    segments = Segments(qgraph, params, 0.0)
    for index, node in enumerate(qgraph.nodes):
        need = segments.smallest(index)
        if need > params.words:
            size = params.in_channels
            raise NoRoom(
                f"feature maps of layer '{node.name}' need {need * size} bytes even a row at a "
                f"time, the memory has {params.words * size}: use a smaller input or a larger board"
            )


def output_layout(plan: Plan, qgraph: QuantGraph, params: EngineParams) -> OutputLayout:
    """The output region: results first, maps that leave the chip behind them."""
    homes = [plan.homes[name] for name in dict.fromkeys(qgraph.outputs)]
    ends = [h.offset + h.layout.words * params.in_channels
            for h in plan.homes.values() if h.region == Region.OUTPUT]  # fmt: skip
    size = max(ends) + load_slack(params) * params.in_channels
    return OutputLayout(
        tuple(h.layout for h in homes), tuple(h.offset for h in homes), size + -size % HOME_ALIGN
    )
