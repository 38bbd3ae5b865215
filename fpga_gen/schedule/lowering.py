"""Plan and places -> instructions with their waits, STOREs, FETCHes and PAGEs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from fpga_gen.contract.isa import (
    EndInstruction,
    FetchInstruction,
    Instruction,
    PageInstruction,
    TableInstruction,
)
from fpga_gen.contract.params import EngineParams
from fpga_gen.quant.ir import (
    QAdd,
    QConv,
    QInterleave,
    QMaxPool,
    QMul,
    QNode,
    QResample,
    QuantGraph,
)
from fpga_gen.schedule.cycles.timing import Timing
from fpga_gen.schedule.layouts import results_layout
from fpga_gen.schedule.lower.conv import lower_conv, plan_conv_node
from fpga_gen.schedule.lower.fetching import barred_from_pages, fill_fetches, with_fetches
from fpga_gen.schedule.lower.hazards import with_waits
from fpga_gen.schedule.lower.lowered import NO_STREAM, Context, Lowered
from fpga_gen.schedule.lower.moving import lower_move
from fpga_gen.schedule.lower.placement import Placement
from fpga_gen.schedule.lower.pool import lower_pool
from fpga_gen.schedule.lower.storing import MOST_PIECES, with_stores
from fpga_gen.schedule.lower.transfer import lower_input, lower_load, lower_store
from fpga_gen.schedule.lower.vector import lower_vector
from fpga_gen.schedule.place.lookup import with_tables
from fpga_gen.schedule.place.pages import cut_program, with_pages
from fpga_gen.schedule.place.plan import Move, Plan, Step
from fpga_gen.schedule.spreading import spread_stores
from fpga_gen_host.regions import InputLayout, MapLayout

ORDERS = (
    FetchInstruction,
    PageInstruction,
    TableInstruction,
)  # for the stream, not of what was lowered
END = Lowered(EndInstruction(), NO_STREAM, (), ())


@dataclass(frozen=True, eq=False)
class Job:
    """What all placements of a network have in common."""

    qgraph: QuantGraph
    params: EngineParams
    timing: Timing
    layouts: dict[str, MapLayout]
    host_input: InputLayout
    mix: bool
    skip: bool


@dataclass(frozen=True, eq=False)
class Lowering:
    """Instructions with their waits and what they take from the stream, before the PAGEs have their
    words. trace: index of the instruction after which a map is there, and its placement; ends:
    index of the last instruction in front of every step, and of the last one of all."""

    lowered: list[Lowered]
    trace: list[tuple[int, Placement]]
    ends: list[int]

    @property
    def instructions(self) -> tuple[Instruction, ...]:
        return tuple(item.instruction for item in self.lowered)


def programs(job: Job, plan: Plan, places: dict[str, Placement]) -> Iterator[Lowering]:
    """Programs that differ in how the last layer is cut for its STOREs."""
    if plan.homes:
        yield _with_transfers(job, plan, places)
        return
    layout = results_layout(job.qgraph, job.layouts)
    offsets = {m.tensor: at for m, at in zip(layout.maps, layout.offsets, strict=True)}
    ends = {step.name: at for at, step in enumerate(plan.steps)}
    source = job.qgraph.input
    body = [lower_input(job.host_input, places[source], job.params)]
    trace = [(0, places[source])]
    if source in offsets:
        body = with_stores(body, places[source], offsets[source], job.params)
    for at, step in enumerate(plan.steps[:-1]):
        assert isinstance(step, Step)
        offset = offsets.get(step.node.output) if ends[step.name] == at else None
        added, point = _step(job, step, places, offset)
        trace.append((len(body) + point[0], point[1]))
        body += added
    step = plan.steps[-1]
    assert isinstance(step, Step)
    offset = offsets.get(step.node.output)
    # Where each may end in several ways, its beginning is made once.
    head, resident = with_tables(body, job.params)
    head, pending = with_waits(head)
    lengths: set[int] = set()
    most = 1 if offset is None else MOST_PIECES
    for added, point in _cut_steps(job, step, places, offset, most):
        if len(added) not in lengths:
            lengths.add(len(added))
            points = [*trace, (len(body) + point[0], point[1])]
            tail, _ = with_tables([*added, END], job.params, resident)
            tail, _ = with_waits(tail, pending)
            yield _finish(job, [*head, *tail], points, [at for at, _ in points])


def _with_transfers(job: Job, plan: Plan, places: dict[str, Placement]) -> Lowering:
    """The program of a plan with maps in DRAM."""
    body: list[Lowered] = []
    trace: list[tuple[int, Placement]] = []
    ends = [0]
    for step in plan.steps:
        if isinstance(step, Step):
            added, (at, place) = _step(job, step, places, None)
            trace.append((len(body) + at, place))
        elif isinstance(step, Move):
            height = job.qgraph.tensors[step.tensor].height
            places_of = places[step.source], places[step.target]
            added = lower_move(step.rows, *places_of, height, job.params)
        else:
            place = places[step.buffer]
            home = plan.homes[step.tensor]
            if step.load:
                added = lower_load(step.rows, place, home, job.params)
            else:
                added = lower_store(step.rows, place, home, job.params)
            if step.load:
                trace.append((len(body) + len(added) - 1, place.part(step.rows)))
        body += added
        ends.append(len(body) - 1)
    whole, _ = with_waits([*body, END])
    whole, at = spread_stores(whole, job.params, job.timing)
    whole, _ = with_tables(whole, job.params)
    trace = [(at[index], place) for index, place in trace]
    return _finish(job, whole, trace, [at[index] for index in ends])


def _step(
    job: Job, step: Step, places: dict[str, Placement], offset: int | None
) -> tuple[list[Lowered], tuple[int, Placement]]:
    """Instructions of a step, with the STOREs of its result to byte `offset` if it is one of the
    network, and where among them the result is there."""
    return next(_cut_steps(job, step, places, offset, 1))


def _cut_steps(
    job: Job, step: Step, places: dict[str, Placement], offset: int | None, most: int
) -> Iterator[tuple[list[Lowered], tuple[int, Placement]]]:
    """The same for results stored in 1 to `most` pieces."""
    local = {tensor: places[name] for tensor, name in step.buffers.items()}
    place = local[step.node.output]
    context = context_of(job, step, local)
    planned = plan_conv_node(step.node, context) if isinstance(step.node, QConv) else None
    for pieces in range(1, most + 1):
        if planned is not None:
            lowered = lower_conv(planned, replace(context, pieces=pieces))
        elif pieces == 1:
            lowered = lower_node(step.node, context)
        else:
            return
        after = len(lowered) - 1
        if offset is not None:
            lowered = with_stores(lowered, place, offset, job.params)
            after = len(lowered) - 2
        yield lowered, (after, place.part(step.rows))


def _finish(
    job: Job, whole: list[Lowered], trace: list[tuple[int, Placement]], ends: list[int]
) -> Lowering:
    """The whole program: FETCHes, and PAGEs where it is too long."""
    params = job.params
    whole = with_fetches(whole)
    pages = cut_program([i.instruction for i in whole], params, barred_from_pages(whole))
    whole = fill_fetches(with_pages(whole, pages, params), params)
    # Of what was lowered, the place in the program.
    at = [k for k, item in enumerate(whole) if not isinstance(item.instruction, ORDERS)]
    return Lowering(
        whole, [(at[index], place) for index, place in trace], [at[index] for index in ends]
    )


def context_of(job: Job, step: Step, places: dict[str, Placement]) -> Context:
    return Context(job.qgraph.tensors, places, job.params, job.timing, step.rows, job.mix, job.skip)


def lower_node(node: QNode, context: Context) -> list[Lowered]:
    match node:
        case QConv():
            return lower_conv(plan_conv_node(node, context), context)
        case QMaxPool():
            return lower_pool(node, context)
        case QResample() | QAdd() | QMul() | QInterleave():
            return lower_vector(node, context)
