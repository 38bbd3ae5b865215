"""Quantised graph -> program, weight stream and layouts for one engine."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import pairwise

import numpy as np

from fpga_gen.contract.isa import (
    FetchInstruction,
    Instruction,
)
from fpga_gen.contract.params import EngineParams
from fpga_gen.errors import ScheduleError
from fpga_gen.quant.ir import (
    QuantGraph,
)
from fpga_gen.schedule.cycles.model import best_of
from fpga_gen.schedule.cycles.timing import DEFAULT_TIMING, Timing
from fpga_gen.schedule.facts import estimate_facts, layer_facts, segment_facts
from fpga_gen.schedule.layouts import input_layout, map_layouts, results_layout
from fpga_gen.schedule.lower.fetching import (
    stream_words,
    weight_parts,
)
from fpga_gen.schedule.lower.lowered import Lowered
from fpga_gen.schedule.lower.placement import Placement
from fpga_gen.schedule.lowering import Job, context_of, lower_node, programs
from fpga_gen.schedule.place.allocate import (
    Allocation,
    NoRoom,
    allocate,
    allocate_quickly,
    find_allocation,
    live_words,
)
from fpga_gen.schedule.place.bands import choose_chains
from fpga_gen.schedule.place.early import early_results
from fpga_gen.schedule.place.lifetimes import map_lives
from fpga_gen.schedule.place.order import beside_siblings
from fpga_gen.schedule.place.packing import find_runs, fit_runs
from fpga_gen.schedule.place.pages import fill_pages
from fpga_gen.schedule.place.plan import Plan, Step, demands, make_plan
from fpga_gen.schedule.place.rolled import check_plan
from fpga_gen.schedule.place.segments import Segments, load_slack
from fpga_gen.schedule.place.spill import (
    check_rows,
    output_layout,
    problem,
    spilled_plan,
)
from fpga_gen.schedule.place.spill_search import search
from fpga_gen.schedule.program import MemoryUse, Schedule, TracePoint
from fpga_gen_host.regions import BEAT_BYTES, InputLayout, stripe

LONG_STORES = 0.01  # share of the cycles from which another order of the layers is tried
# Of the memory that the choice of what stays on chip counts on: not everything can be placed.
SHARES = (0.97, 0.92, 0.85, 0.75, 0.6, 0.5)


def compile_schedule(
    qgraph: QuantGraph,
    params: EngineParams,
    timing: Timing = DEFAULT_TIMING,
    *,
    pack: bool = True,
    mix: bool = True,
    skip: bool = True,
    spill: bool = True,
) -> Schedule:
    """Compile a quantised network for an engine.

    pack: let maps that are read together share planes, where that saves cycles and fits (see
    packing); mix: let a layer mix array modes (see conv_plan); skip: leave out weight slots of
    zeros (see zero_slots); spill: let maps lie in DRAM for a while if the memory cannot hold them
    all.
    Raises ScheduleError, naming the layer or tensor, if the network does not fit the engine, NoRoom
    if it is the memory that its maps do not fit.
    """
    if qgraph.sp2 != params.sp2:
        raise ScheduleError(
            f"the network is quantised with the SP2 code '{qgraph.sp2.name}', the engine computes "
            f"'{params.sp2_code}': quantise it for this engine"
        )
    schedule = _compiled(qgraph, params, timing, (pack, mix, skip, spill))
    early = early_results(qgraph)
    worth = LONG_STORES * schedule.estimate.cycles < _held_up(schedule)
    if worth and early.nodes != qgraph.nodes:
        with suppress(ScheduleError):
            other = _compiled(early, params, timing, (pack, mix, skip, False))
            return min(schedule, other, key=lambda s: s.estimate.cycles)
    return schedule


def _held_up(schedule: Schedule) -> int:
    """Cycles in which nothing but a STORE goes on."""
    spans = schedule.timeline.spans
    return sum(
        after.end - before.end
        for (before, after), i in zip(pairwise(spans), schedule.instructions[1:], strict=True)
        if i.AFTER_STORE
    )


def _compiled(
    qgraph: QuantGraph, params: EngineParams, timing: Timing, choices: tuple[bool, bool, bool, bool]
) -> Schedule:
    """The schedule of the layers in their order; choices: pack, mix, skip and spill."""
    pack, mix, skip, spill = choices
    layouts = map_layouts(qgraph, params)
    host_input = input_layout(layouts[qgraph.input], params)
    plan = make_plan(qgraph, params, layouts, choose_chains(qgraph, params, layouts, host_input))
    job = Job(qgraph, params, timing, layouts, host_input, mix, skip)
    packed: Schedule | None = None
    if pack:
        found = fit_runs(plan, qgraph, params, host_input, find_runs(qgraph, params, plan, timing))
        if found is not None:
            packed = _schedule(job, *found)
    wanted = demands(plan, qgraph, host_input)
    if packed is None:
        names = [step.name for step in plan.steps] + ["store"]
        try:
            allocation = allocate(wanted, params.words, params.in_channels, names)
        except NoRoom as error:
            if not spill:
                raise
            return _spilled(job, error)
        return _schedule(job, plan, allocation)
    allocation = allocate_quickly(wanted, params.words)
    if allocation is None:
        return packed
    apart = _schedule(job, plan, allocation)
    return apart if apart.estimate.cycles < packed.estimate.cycles else packed


def _spilled(job: Job, refused: NoRoom) -> Schedule:
    """The schedule with maps in DRAM; NoRoom if not even that fits: `refused` if there is no layer
    that says more."""
    qgraph, params = beside_siblings(job.qgraph), job.params
    job = replace(job, qgraph=qgraph)
    check_rows(qgraph, params)
    segments = Segments(qgraph, params, job.timing.read_rate(params))
    choice = problem(segments)
    for share in SHARES:
        state = search(replace(choice, capacity=int(params.words * share)))
        for alone in (False, True):
            plan = spilled_plan(segments, state, alone=alone)
            if plan is None:
                raise refused
            allocation = find_allocation(demands(plan, qgraph, job.host_input), params.words)
            if allocation is not None:
                check_plan(plan, qgraph)
                home = plan.homes[qgraph.input]
                part = params.load_part(home.layout.words + load_slack(params))
                source = InputLayout(home.layout, part, params.load_words, params.ports)
                return _schedule(replace(job, host_input=source), plan, allocation)
    raise refused


def layer_errors(
    qgraph: QuantGraph, params: EngineParams, timing: Timing = DEFAULT_TIMING
) -> dict[str, ScheduleError]:
    """Every layer that no program for the engine can hold, by name, each looked at alone: whether
    the maps of all of them fit the memory is another question."""
    layouts = map_layouts(qgraph, params)
    host_input = input_layout(layouts[qgraph.input], params)
    job = Job(qgraph, params, timing, layouts, host_input, False, True)
    places = {name: Placement(layout, 0) for name, layout in layouts.items()}
    errors: dict[str, ScheduleError] = {}
    for index, node in enumerate(qgraph.nodes):
        step = Step(index, node, (0, qgraph.tensors[node.output].height), {})
        try:
            for lowered in lower_node(step.node, context_of(job, step, places)):
                encode_program([lowered.instruction])
        except ScheduleError as error:
            errors[node.name] = error
        except ValueError:  # an address beyond the memory, which is too small for this map
            pass
    return errors


def _weight_region(lowered: list[Lowered], params: EngineParams) -> bytes:
    """What the FETCHes of weights read."""
    return b"".join(
        stripe(stream_words(part, params), params.ports) for part in weight_parts(lowered)
    )


def _schedule(job: Job, plan: Plan, allocation: Allocation) -> Schedule:
    qgraph, params, timing, host_input = job.qgraph, job.params, job.timing, job.host_input
    memory, places = _place(qgraph, params, plan, host_input, allocation)
    lowerings = list(programs(job, plan, places))
    number, timeline = best_of([p.instructions for p in lowerings], params, timing)
    best = lowerings[number]
    instructions = best.instructions
    first, lowered = fill_pages(best.lowered, encode_program(instructions), params)
    program = program_region(first, params)
    trace_points = tuple(TracePoint(at, place) for at, place in best.trace)
    host_output = results_layout(qgraph, job.layouts)
    if plan.homes:
        host_output = output_layout(plan, qgraph, params)
    fetched = sum(i.words for i in instructions if isinstance(i, FetchInstruction))
    read_bytes = len(program) + fetched * params.ports * BEAT_BYTES
    return Schedule(
        name=qgraph.name,
        params=params,
        instructions=instructions,
        program=program,
        make_weights=lambda: _weight_region(lowered, params),
        host_input=host_input,
        host_output=host_output,
        layers=layer_facts(qgraph, params, lowered, timeline),
        estimate=estimate_facts(qgraph, params, lowered, timeline, read_bytes),
        memory=memory,
        trace=trace_points,
        timeline=timeline,
        lives=map_lives(
            plan,
            qgraph.input,
            demands(plan, qgraph, host_input),
            allocation.bases,
            best.ends,
            timeline,
        ),
        read_rate=timing.read_rate(params),
        segments=segment_facts(qgraph, params, plan, lowered, best.ends, timeline),
    )


def _place(
    qgraph: QuantGraph,
    params: EngineParams,
    plan: Plan,
    host_input: InputLayout,
    allocation: Allocation,
) -> tuple[MemoryUse, dict[str, Placement]]:
    """Placement of every buffer of the plan."""
    places = {
        name: Placement(
            buffer.layout, allocation.bases[buffer.owner] + buffer.offset, buffer.first_row
        )
        for name, buffer in plan.buffers.items()
    }
    names = [step.name for step in plan.steps] + ["store"]
    at = names[live_words(demands(plan, qgraph, host_input))[1]]
    facts = MemoryUse(params.words, allocation.peak, allocation.live, at, params.in_channels)
    return facts, places


def encode_program(instructions: Sequence[Instruction]) -> list[int]:
    """The 64-bit words of a program."""
    words: list[int] = []
    for instruction in instructions:
        try:
            words += instruction.encode()
        except ValueError as error:
            raise ScheduleError(
                f"layer '{instruction.layer}' does not fit the instruction set: {error}"
            ) from error
    return words


def program_region(words: list[int], params: EngineParams) -> bytes:
    """64-bit words as a region: padded to whole stream words and striped."""
    words = words + [0] * (-len(words) % params.program_parts)
    raw = np.array(words, "<u8").view(np.uint8)
    return stripe(raw.reshape(-1, params.ports * BEAT_BYTES), params.ports)
