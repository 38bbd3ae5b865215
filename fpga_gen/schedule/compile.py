"""Quantised graph -> program, weight stream and layouts for one engine."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from fpga_gen.errors import ScheduleError
from fpga_gen.hardware.params import EngineParams
from fpga_gen.isa import Instruction, Op, Region, pack_address
from fpga_gen.quant.ir import QAdd, QConv, QMaxPool, QMul, QResample, QuantGraph
from fpga_gen.schedule.allocate import Allocation, allocate, allocate_quickly, live_words
from fpga_gen.schedule.bands import choose_chains
from fpga_gen.schedule.conv import lower_conv
from fpga_gen.schedule.facts import estimate_facts, layer_facts
from fpga_gen.schedule.hazards import with_waits
from fpga_gen.schedule.layout import BEAT_BYTES, InputLayout, MapLayout, OutputLayout, stripe
from fpga_gen.schedule.lifetimes import map_lives
from fpga_gen.schedule.lowered import NO_STREAM, WHOLE, Lowered, whole_words
from fpga_gen.schedule.model import run_model
from fpga_gen.schedule.packing import find_runs, fit_runs
from fpga_gen.schedule.placement import Placement, map_layout
from fpga_gen.schedule.plan import Plan, Step, demands, make_plan
from fpga_gen.schedule.pool import lower_pool
from fpga_gen.schedule.program import MemoryFacts, Schedule, TracePoint
from fpga_gen.schedule.timing import DEFAULT_TIMING, Timing
from fpga_gen.schedule.vector import lower_vector

OUTPUT_ALIGN = 64  # bytes: outputs start on a boundary of their own


def compile_schedule(
    qgraph: QuantGraph,
    params: EngineParams,
    timing: Timing = DEFAULT_TIMING,
    *,
    pack: bool = True,
    mix: bool = True,
) -> Schedule:
    """Compile a quantised network for an engine.

    pack: let maps that are read together share planes, where that saves cycles and fits (see
    packing); mix: let a layer mix array modes, where the longer program fits (see conv_plan).
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
    job = _Job(qgraph, params, timing, layouts, host_input, mix)
    packed: Schedule | None = None
    if pack:
        found = fit_runs(plan, qgraph, params, host_input, find_runs(qgraph, params, plan, timing))
        if found is not None:
            packed = _generate(job, *found)
    wanted = demands(plan, qgraph, host_input)
    if packed is None:
        names = [step.node.name for step in plan.steps] + ["store"]
        return _generate(job, plan, allocate(wanted, params.words, params.in_channels, names))
    allocation = allocate_quickly(wanted, params.words)
    if allocation is None:
        return packed
    apart = _generate(job, plan, allocation)
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


def _generate(job: _Job, plan: Plan, allocation: Allocation) -> Schedule:
    """The schedule of a plan; layers mix modes unless the program gets too long for that."""
    if job.mix:
        try:
            return _schedule(job, plan, allocation, job.mix)
        except ProgramTooLong:
            pass
    return _schedule(job, plan, allocation, False)


def _schedule(job: _Job, plan: Plan, allocation: Allocation, mix: bool) -> Schedule:
    qgraph, params, timing, host_input = job.qgraph, job.params, job.timing, job.host_input
    memory, places = _place(qgraph, params, plan, host_input, allocation)
    lowered = [_load(host_input, places[qgraph.input], params, qgraph.input)]
    trace = [(0, places[qgraph.input])]
    for step in plan.steps:
        local = {tensor: places[name] for tensor, name in step.buffers.items()}
        lowered += _lower(step, qgraph, local, params, timing, mix)
        trace.append((len(lowered) - 1, _written(local[step.node.output], step.rows, params)))
    host_output = _output_layout(qgraph, job.layouts)
    lowered += _stores(qgraph, places, host_output, params)
    lowered.append(Lowered(Instruction(Op.END, {}), NO_STREAM, (), ()))

    weights = _stream_words(lowered, params)
    fetches = _fetches(host_input, len(weights), params)
    lowered = fetches + with_waits(lowered)
    trace_points = tuple(TracePoint(i + len(fetches), place) for i, place in trace)
    instructions = tuple(item.instruction for item in lowered)
    program = encode_program(instructions, params)
    timeline = run_model(instructions, params, timing)
    weight_bytes = stripe(weights, params.ports)
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
) -> tuple[MemoryFacts, dict[str, Placement]]:
    """Placement of every buffer of the plan."""
    places = {
        name: Placement(
            buffer.layout, allocation.bases[buffer.owner] + buffer.offset, buffer.first_row
        )
        for name, buffer in plan.buffers.items()
    }
    names = [step.node.name for step in plan.steps] + ["store"]
    at = names[live_words(demands(plan, qgraph, host_input))[1]]
    facts = MemoryFacts(params.words, allocation.peak, allocation.live, at, params.in_channels)
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


def _lower(
    step: Step,
    qgraph: QuantGraph,
    places: dict[str, Placement],
    params: EngineParams,
    timing: Timing,
    mix: bool,
) -> list[Lowered]:
    match step.node:
        case QConv():
            return lower_conv(step.node, qgraph.tensors, places, params, timing, step.rows, mix)
        case QMaxPool():
            return lower_pool(step.node, qgraph.tensors, places, params, step.rows)
        case QResample() | QAdd() | QMul():
            return lower_vector(step.node, qgraph.tensors, places, params)
    raise ScheduleError(f"no lowering for {type(step.node).__name__}")


def _load(layout: InputLayout, place: Placement, params: EngineParams, name: str) -> Lowered:
    fields = {
        "words": layout.part,
        "stream_words": layout.stream_words,
        "packed": int(layout.packed),
        "base": pack_address(place.base, params.banks),
        "stride": pack_address(layout.part, params.banks),
    }
    end = place.base + layout.part * layout.load_words
    written = ((place.base, end, WHOLE),)
    return Lowered(Instruction(Op.LOAD, fields, layer=name), NO_STREAM, (), written)


def _output_layout(qgraph: QuantGraph, layouts: dict[str, MapLayout]) -> OutputLayout:
    maps, offsets, at = [], [], 0
    for name in dict.fromkeys(qgraph.outputs):
        maps.append(layouts[name])
        offsets.append(at)
        at += layouts[name].words * layouts[name].word_channels
        at += -at % OUTPUT_ALIGN
    return OutputLayout(tuple(maps), tuple(offsets), at)


def _stores(
    qgraph: QuantGraph, places: dict[str, Placement], output: OutputLayout, params: EngineParams
) -> list[Lowered]:
    stores = []
    for layout, offset in zip(output.maps, output.offsets, strict=True):
        place = places[layout.tensor]
        fields = {
            "words": layout.words,
            "base": pack_address(place.base, params.banks),
            "offset": offset // BEAT_BYTES,
        }
        instruction = Instruction(Op.STORE, fields, layer=layout.tensor)
        stores.append(Lowered(instruction, NO_STREAM, whole_words(place), ()))
    return stores


def _stream_words(lowered: list[Lowered], params: EngineParams) -> np.ndarray:
    """Weight region as stream words, uint8 (N, bytes of a stream word)."""
    granules = np.concatenate([item.stream for item in lowered])
    granules = np.pad(granules, (0, -len(granules) % params.stream_granules))
    return granules.astype("<u4").view(np.uint8).reshape(-1, params.ports * BEAT_BYTES)


def _fetches(host_input: InputLayout, weight_words: int, params: EngineParams) -> list[Lowered]:
    """Queue the input, then all weights: the order in which they are consumed."""
    regions = [(Region.INPUT, host_input.stream_words), (Region.WEIGHTS, weight_words)]
    return [
        Lowered(Instruction(Op.FETCH, {"region": int(region), "words": words}), NO_STREAM, (), ())
        for region, words in regions
        if words
    ]


class ProgramTooLong(ScheduleError):
    """The program memory does not hold the program."""


def encode_program(instructions: tuple[Instruction, ...], params: EngineParams) -> bytes:
    """Program region: 64-bit words, padded to whole stream words and striped."""
    words: list[int] = []
    for instruction in instructions:
        try:
            words += instruction.encode()
        except ValueError as error:
            raise ScheduleError(
                f"layer '{instruction.layer}' does not fit the instruction set: {error}"
            ) from error
    words += [0] * (-len(words) % (params.stream_bits // 64))
    if len(words) > params.program_words:
        raise ProgramTooLong(
            f"the program has {len(words)} words, the program memory holds "
            f"{params.program_words}: use a larger program_words"
        )
    raw = np.array(words, "<u8").view(np.uint8)
    return stripe(raw.reshape(-1, params.ports * BEAT_BYTES), params.ports)
