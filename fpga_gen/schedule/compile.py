"""Quantised graph -> program, weight stream and layouts for one engine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from fpga_gen.contract.address import pack_address
from fpga_gen.contract.isa import (
    EndInstruction,
    FetchInstruction,
    Instruction,
    LoadInstruction,
    PageInstruction,
    Region,
)
from fpga_gen.contract.params import EngineParams
from fpga_gen.errors import ScheduleError
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
from fpga_gen.schedule.cycles.model import ModelRun, run_model
from fpga_gen.schedule.cycles.timing import DEFAULT_TIMING, Timing
from fpga_gen.schedule.facts import estimate_facts, layer_facts
from fpga_gen.schedule.lower.conv import lower_conv
from fpga_gen.schedule.lower.hazards import with_waits
from fpga_gen.schedule.lower.lowered import NO_STREAM, WHOLE, Context, Lowered
from fpga_gen.schedule.lower.placement import Placement, map_layout
from fpga_gen.schedule.lower.pool import lower_pool
from fpga_gen.schedule.lower.storing import MOST_PIECES, with_stores
from fpga_gen.schedule.lower.vector import lower_vector
from fpga_gen.schedule.place.allocate import Allocation, allocate, allocate_quickly, live_words
from fpga_gen.schedule.place.bands import choose_chains
from fpga_gen.schedule.place.lifetimes import map_lives
from fpga_gen.schedule.place.lookup import with_tables
from fpga_gen.schedule.place.packing import find_runs, fit_runs
from fpga_gen.schedule.place.pages import cut_program, fill_pages, moved, with_pages
from fpga_gen.schedule.place.plan import Plan, Step, demands, make_plan
from fpga_gen.schedule.program import MemoryUse, Schedule, TracePoint
from fpga_gen_host.regions import BEAT_BYTES, InputLayout, MapLayout, OutputLayout, stripe

OUTPUT_ALIGN = 64  # bytes: outputs start on a boundary of their own


def compile_schedule(
    qgraph: QuantGraph,
    params: EngineParams,
    timing: Timing = DEFAULT_TIMING,
    *,
    pack: bool = True,
    mix: bool = True,
    skip: bool = True,
) -> Schedule:
    """Compile a quantised network for an engine.

    pack: let maps that are read together share planes, where that saves cycles and fits (see
    packing); mix: let a layer mix array modes (see conv_plan); skip: leave out weight slots of
    zeros (see zero_slots).
    Raises ScheduleError, naming the layer or tensor, if the network does not fit the engine.
    """
    if qgraph.sp2 != params.sp2:
        raise ScheduleError(
            f"the network is quantised with the SP2 code '{qgraph.sp2.name}', the engine computes "
            f"'{params.sp2_code}': quantise it for this engine"
        )
    layouts = _layouts(qgraph, params)
    host_input = _input_layout(layouts[qgraph.input], params)
    plan = make_plan(qgraph, params, layouts, choose_chains(qgraph, params, layouts, host_input))
    job = _Job(qgraph, params, timing, layouts, host_input, mix, skip)
    packed: Schedule | None = None
    if pack:
        found = fit_runs(plan, qgraph, params, host_input, find_runs(qgraph, params, plan, timing))
        if found is not None:
            packed = _schedule(job, *found)
    wanted = demands(plan, qgraph, host_input)
    if packed is None:
        names = [step.node.name for step in plan.steps] + ["store"]
        return _schedule(job, plan, allocate(wanted, params.words, params.in_channels, names))
    allocation = allocate_quickly(wanted, params.words)
    if allocation is None:
        return packed
    apart = _schedule(job, plan, allocation)
    return apart if apart.estimate.cycles < packed.estimate.cycles else packed


@dataclass(frozen=True, eq=False)
class _Job:
    """What all placements of a network have in common."""

    qgraph: QuantGraph
    params: EngineParams
    timing: Timing
    layouts: dict[str, MapLayout]
    host_input: InputLayout
    mix: bool
    skip: bool


def layer_errors(
    qgraph: QuantGraph, params: EngineParams, timing: Timing = DEFAULT_TIMING
) -> dict[str, ScheduleError]:
    """Every layer that no program for the engine can hold, by name, each looked at alone: whether
    the maps of all of them fit the memory is another question."""
    layouts = _layouts(qgraph, params)
    host_input = _input_layout(layouts[qgraph.input], params)
    job = _Job(qgraph, params, timing, layouts, host_input, False, True)
    places = {name: Placement(layout, 0) for name, layout in layouts.items()}
    errors: dict[str, ScheduleError] = {}
    for index, node in enumerate(qgraph.nodes):
        step = Step(index, node, (0, qgraph.tensors[node.output].height), {})
        try:
            for lowered in _lower(step.node, _context(job, step, places, 1)):
                encode_program([lowered.instruction])
        except ScheduleError as error:
            errors[node.name] = error
        except ValueError:  # an address beyond the memory, which is too small for this map
            pass
    return errors


@dataclass(frozen=True, eq=False)
class _Program:
    """Instructions with their waits, what they take from the stream, and their cycles. trace:
    index of the instruction after which a map is there, and its placement; region: PROGRAM."""

    lowered: list[Lowered]
    trace: list[tuple[int, Placement]]
    region: bytes
    weights: np.ndarray
    timeline: ModelRun


def _programs(job: _Job, plan: Plan, places: dict[str, Placement]) -> Iterator[_Program]:
    """Programs that differ in how the last layer is cut for its STOREs."""
    layout = _output_layout(job.qgraph, job.layouts)
    offsets = {m.tensor: at for m, at in zip(layout.maps, layout.offsets, strict=True)}
    ends = {step.node.output: at for at, step in enumerate(plan.steps)}
    source = job.qgraph.input
    body = [_load(job.host_input, places[source], job.params, source)]
    trace = [(0, places[source])]
    if source in offsets:
        body = with_stores(body, places[source], offsets[source], job.params)
    for at, step in enumerate(plan.steps[:-1]):
        offset = offsets.get(step.node.output) if ends[step.node.output] == at else None
        added, point = _step(job, step, places, 1, offset)
        trace.append((len(body) + point[0], point[1]))
        body += added
    step = plan.steps[-1]
    offset = offsets.get(step.node.output)
    lengths: set[int] = set()
    for pieces in range(1, 2 if offset is None else MOST_PIECES + 1):
        added, point = _step(job, step, places, pieces, offset)
        if len(added) not in lengths:
            lengths.add(len(added))
            points = [*trace, (len(body) + point[0], point[1])]
            yield _finish(job, [*body, *added], points)


def _step(
    job: _Job,
    step: Step,
    places: dict[str, Placement],
    pieces: int,
    offset: int | None,
) -> tuple[list[Lowered], tuple[int, Placement]]:
    """Instructions of a step, with the STOREs of its result to byte `offset` if it is one of the
    network, and where among them the result is there."""
    local = {tensor: places[name] for tensor, name in step.buffers.items()}
    place = local[step.node.output]
    lowered = _lower(step.node, _context(job, step, local, pieces))
    after = len(lowered) - 1
    if offset is not None:
        lowered = with_stores(lowered, place, offset, job.params)
        after = len(lowered) - 2
    return lowered, (after, _written(place, step.rows, job.params))


def _finish(job: _Job, body: list[Lowered], trace: list[tuple[int, Placement]]) -> _Program:
    """The whole program: FETCHes before it, END behind it, PAGEs where it is too long."""
    params = job.params
    body, trace = with_tables(body, trace, params)
    body = with_waits([*body, Lowered(EndInstruction(), NO_STREAM, (), ())])
    whole = _fetches(job.host_input, 0) + body
    if any(len(i.stream) for i in body) or _words(whole) > params.program_words:
        whole = _fetches(job.host_input, 1) + body  # its length follows
    start = len(whole) - len(body)
    # The words of a page come behind those of the input, which is the first to be loaded.
    pages = cut_program([item.instruction for item in whole], params, start + 1)
    whole = with_pages(whole, pages, params)
    whole[:start] = _fetches(job.host_input, len(_stream_words(whole, params)))
    instructions = tuple(item.instruction for item in whole)
    first, whole = fill_pages(whole, encode_program(instructions), params)
    return _Program(
        whole,
        [(moved(at + start, pages), place) for at, place in trace],
        program_region(first, params),
        _stream_words(whole, params),
        run_model(instructions, params, job.timing),
    )


def _schedule(job: _Job, plan: Plan, allocation: Allocation) -> Schedule:
    qgraph, params, timing, host_input = job.qgraph, job.params, job.timing, job.host_input
    memory, places = _place(qgraph, params, plan, host_input, allocation)
    best = min(_programs(job, plan, places), key=lambda x: x.timeline.cycles)
    program, timeline, lowered = best.region, best.timeline, best.lowered
    instructions = tuple(item.instruction for item in lowered)
    trace_points = tuple(TracePoint(at, place) for at, place in best.trace)
    host_output = _output_layout(qgraph, job.layouts)
    weight_bytes = stripe(best.weights, params.ports)
    read_bytes = len(program) + len(weight_bytes) + host_input.bytes
    return Schedule(
        name=qgraph.name,
        params=params,
        instructions=instructions,
        program=program,
        weights=weight_bytes,
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
            [point.after for point in trace_points],
            timeline,
        ),
        read_rate=timing.read_rate(params),
    )


def _layouts(qgraph: QuantGraph, params: EngineParams) -> dict[str, MapLayout]:
    """Layout of every map; outputs are rounded up to whole beats for STORE."""
    return {
        name: map_layout(tensor, params, beats=name in qgraph.outputs)
        for name, tensor in qgraph.tensors.items()
    }


def _input_layout(layout: MapLayout, params: EngineParams) -> InputLayout:
    """Cut the input's run into `load_words` parts whose distance is free of bank conflicts."""
    part = params.plane_words(-(-layout.words // params.load_words))
    used = {(layout.byte_offset + c) % params.in_channels for c in layout.positions}
    packed = max(used) < params.in_channels * 3 // 4
    return InputLayout(layout, part, params.load_words, params.ports, packed)


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
    names = [step.node.name for step in plan.steps] + ["store"]
    at = names[live_words(demands(plan, qgraph, host_input))[1]]
    facts = MemoryUse(params.words, allocation.peak, allocation.live, at, params.in_channels)
    return facts, places


def _written(place: Placement, rows: tuple[int, int], params: EngineParams) -> Placement:
    """The part of a placement that a step over output rows [first, end) wrote."""
    layout = place.layout
    if rows[1] - rows[0] == layout.height:
        return place
    part = replace(
        layout,
        height=rows[1] - rows[0],
        words=layout.words - (layout.height - rows[1] + rows[0]) * layout.width,
    )
    return Placement(part, place.address(0, rows[0]), rows[0])


def _context(job: _Job, step: Step, places: dict[str, Placement], pieces: int) -> Context:
    return Context(
        job.qgraph.tensors, places, job.params, job.timing, step.rows, job.mix, job.skip, pieces
    )


def _lower(node: QNode, context: Context) -> list[Lowered]:
    match node:
        case QConv():
            return lower_conv(node, context)
        case QMaxPool():
            return lower_pool(node, context)
        case QResample() | QAdd() | QMul() | QInterleave():
            return lower_vector(node, context)


def _load(layout: InputLayout, place: Placement, params: EngineParams, name: str) -> Lowered:
    load = LoadInstruction(
        layer=name,
        words=layout.part,
        stream_words=layout.stream_words,
        packed=int(layout.packed),
        base=pack_address(place.base, params.banks),
        stride=pack_address(layout.part, params.banks),
    )
    end = place.base + layout.part * layout.load_words
    written = ((place.base, end, WHOLE),)
    return Lowered(load, NO_STREAM, (), written)


def _output_layout(qgraph: QuantGraph, layouts: dict[str, MapLayout]) -> OutputLayout:
    maps, offsets, at = [], [], 0
    for name in dict.fromkeys(qgraph.outputs):
        maps.append(layouts[name])
        offsets.append(at)
        at += layouts[name].words * layouts[name].word_channels
        at += -at % OUTPUT_ALIGN
    return OutputLayout(tuple(maps), tuple(offsets), at)


def _words(lowered: list[Lowered]) -> int:
    """Length of a program."""
    return sum(item.instruction.encoded_words for item in lowered)


def _stream_words(lowered: list[Lowered], params: EngineParams) -> np.ndarray:
    """Weight region as stream words, uint8 (N, bytes of a stream word)."""
    parts, length = [NO_STREAM], 0
    for item in lowered:
        if isinstance(item.instruction, PageInstruction):  # takes whole words
            parts.append(np.zeros(-length % params.stream_granules, np.uint32))
            length += len(parts[-1])
        parts.append(item.stream)
        length += len(item.stream)
    parts.append(np.zeros(-length % params.stream_granules, np.uint32))
    granules = np.concatenate(parts)
    return granules.astype("<u4").view(np.uint8).reshape(-1, params.ports * BEAT_BYTES)


def _fetches(host_input: InputLayout, weight_words: int) -> list[Lowered]:
    """Queue the input, then all weights: the order in which they are consumed."""
    regions = [(Region.INPUT, host_input.stream_words), (Region.WEIGHTS, weight_words)]
    return [
        Lowered(FetchInstruction(region=int(region), words=words), NO_STREAM, (), ())
        for region, words in regions
        if words
    ]


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
