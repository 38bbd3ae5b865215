"""Quantised graph -> program, weight stream and layouts for one engine."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from fpga_gen.errors import ScheduleError
from fpga_gen.hardware.params import GRANULE, EngineParams
from fpga_gen.isa import Instruction, Op, Region, pack_address
from fpga_gen.quant.ir import QAdd, QConv, QMaxPool, QMul, QNode, QResample, QuantGraph
from fpga_gen.schedule.allocate import Allocation, Demand, allocate, live_words
from fpga_gen.schedule.conv import lower_conv
from fpga_gen.schedule.facts import estimate_facts, layer_facts
from fpga_gen.schedule.hazards import with_waits
from fpga_gen.schedule.layout import BEAT_BYTES, InputLayout, MapLayout, OutputLayout, stripe
from fpga_gen.schedule.lowered import NO_STREAM, Lowered
from fpga_gen.schedule.model import run_model
from fpga_gen.schedule.placement import Placement, map_layout
from fpga_gen.schedule.pool import lower_pool
from fpga_gen.schedule.program import MemoryFacts, Schedule, TracePoint
from fpga_gen.schedule.timing import DEFAULT_TIMING, Timing
from fpga_gen.schedule.vector import lower_vector

OUTPUT_ALIGN = 64  # bytes: outputs start on a boundary of their own


def compile_schedule(
    qgraph: QuantGraph, params: EngineParams, timing: Timing = DEFAULT_TIMING
) -> Schedule:
    """Compile a quantised network for an engine.

    Raises ScheduleError, naming the layer or tensor, if the network does not fit the engine.
    """
    if qgraph.sp2 != params.sp2:
        raise ScheduleError(
            f"the network is quantised with the SP2 code '{qgraph.sp2.name}', the engine computes "
            f"'{params.sp2_code}': quantise it for this engine"
        )
    layouts = _layouts(qgraph, params)
    host_input = _input_layout(layouts[qgraph.input], params)
    allocation, names, at = _allocate(qgraph, params, layouts, host_input)
    places = {t: Placement(layouts[t], base) for t, base in allocation.bases.items()}

    lowered = [_load(host_input, places[qgraph.input], params, qgraph.input)]
    trace = [(0, places[qgraph.input])]
    for node in qgraph.nodes:
        lowered += _lower(node, qgraph, places, params, timing)
        trace.append((len(lowered) - 1, places[node.output]))
    host_output = _output_layout(qgraph, layouts)
    lowered += _stores(qgraph, places, host_output, params)
    lowered.append(Lowered(Instruction(Op.END, {}), NO_STREAM, (), ()))

    weights = _stream_words(lowered, params)
    fetches = _fetches(host_input, len(weights), params)
    lowered = fetches + with_waits(lowered)
    trace_points = tuple(TracePoint(i + len(fetches), place) for i, place in trace)
    instructions = tuple(item.instruction for item in lowered)
    program = _encode(instructions, params)
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
        memory=MemoryFacts(
            params.words, allocation.peak, allocation.live, names[at], params.in_channels
        ),
        trace=trace_points,
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
    return InputLayout(layout, part, params.load_words, params.ports)


def _allocate(
    qgraph: QuantGraph,
    params: EngineParams,
    layouts: dict[str, MapLayout],
    host_input: InputLayout,
) -> tuple[Allocation, list[str], int]:
    """(allocation, layer name of every step, step with the most live words)."""
    end = len(qgraph.nodes)
    names = [n.name for n in qgraph.nodes] + ["store"]
    first = {qgraph.input: 0, **{n.output: i for i, n in enumerate(qgraph.nodes)}}
    last = dict(first)
    for step, node in enumerate(qgraph.nodes):
        for name in node.inputs:
            last[name] = step
    for name in qgraph.outputs:
        last[name] = end
    demands = []
    for tensor in first:
        words = layouts[tensor].words
        if tensor == qgraph.input:
            words = max(words, host_input.stream_words * host_input.load_words)
        demands.append(Demand(tensor, words, first[tensor], last[tensor]))
    _, at = live_words(demands)
    return allocate(demands, params.words, params.in_channels, names), names, at


def _lower(
    node: QNode,
    qgraph: QuantGraph,
    places: dict[str, Placement],
    params: EngineParams,
    timing: Timing,
) -> list[Lowered]:
    match node:
        case QConv():
            return lower_conv(node, qgraph.tensors, places, params, timing)
        case QMaxPool():
            return lower_pool(node, qgraph.tensors, places, params)
        case QResample() | QAdd() | QMul():
            return lower_vector(node, qgraph.tensors, places, params)
    raise ScheduleError(f"no lowering for {type(node).__name__}")


def _load(layout: InputLayout, place: Placement, params: EngineParams, name: str) -> Lowered:
    fields = {
        "words": layout.stream_words,
        "base": pack_address(place.base, params.banks),
        "stride": pack_address(layout.stream_words, params.banks),
    }
    end = place.base + layout.stream_words * layout.load_words
    return Lowered(
        Instruction(Op.LOAD, fields, layer=name), NO_STREAM, (), ((place.base, end),)
    )


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
        stores.append(
            Lowered(
                Instruction(Op.STORE, fields, layer=layout.tensor), NO_STREAM, (place.span,), ()
            )
        )
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
        Lowered(
            Instruction(Op.FETCH, {"region": int(region), "words": words}), NO_STREAM, (), ()
        )
        for region, words in regions
        if words
    ]


def _encode(instructions: tuple[Instruction, ...], params: EngineParams) -> bytes:
    """Program region: 64-bit words, padded to whole stream words and striped."""
    words: list[int] = []
    for instruction in instructions:
        try:
            words += instruction.encode()
        except ValueError as error:
            raise ScheduleError(
                f"layer '{instruction.layer}' does not fit the instruction set: {error}"
            ) from error
    if len(words) > params.program_words:
        raise ScheduleError(
            f"the program has {len(words)} words, the program memory holds "
            f"{params.program_words}: use a larger program_words"
        )
    raw = np.array(words, "<u8").view(np.uint8)
    raw = np.pad(raw, (0, -len(raw) % (params.ports * BEAT_BYTES)))
    return stripe(raw.reshape(-1, params.ports * BEAT_BYTES), params.ports)
