"""Schedule and board facts -> Report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict

from fpga_gen import __version__
from fpga_gen.boards import Board
from fpga_gen.contract.column_kinds import KINDS
from fpga_gen.contract.params import GRANULE, EngineParams
from fpga_gen.quant.ir import QuantGraph
from fpga_gen.report.facts import (
    ArrayFacts,
    BoardFacts,
    Estimate,
    LayerFacts,
    MemoryFacts,
    ModelFacts,
    Report,
    ResourceFacts,
    utilisation,
)
from fpga_gen.report.segments import SegmentFacts
from fpga_gen.report.timeline import Activity, MapFacts, Timeline
from fpga_gen.resources import estimate_resources
from fpga_gen.schedule.program import Schedule


def array_facts(params: EngineParams) -> ArrayFacts:
    """The MAC array as the report shows it."""
    return ArrayFacts(
        pixels=params.pixels,
        in_channels=params.in_channels,
        out_channels={kind.title: kind.count(params) for kind in KINDS},
        macs_per_cycle=params.macs_per_cycle,
        double_clock=params.double_clock,
        exit_pixels=params.exit_pixels,
        modes=params.modes,
    )


def timeline_facts(schedule: Schedule) -> Timeline:
    """Every instruction but FETCH and PAGE, which only order transfers; every map in bytes."""
    pairs = zip(schedule.instructions, schedule.timeline.spans, strict=True)
    word = schedule.memory.word_bytes
    return Timeline(
        activities=tuple(
            Activity(
                layer=instruction.layer,
                op=instruction.op.name.lower(),
                start=span.start,
                end=span.end,
                stall_weights=span.stall_weights,
                stall_drain=span.stall_drain,
                read_bytes=span.stream_granules * GRANULE // 8,
                write_bytes=span.write_bytes,
            )
            for instruction, span in pairs
            if not instruction.DECODED
        ),
        maps=tuple(
            MapFacts(
                name=" + ".join(life.maps),
                first_byte=life.base * word,
                bytes=life.words * word,
                start=life.start,
                end=life.end,
            )
            for life in schedule.lives
        ),
    )


def build_report(
    model: ModelFacts,
    board: Board,
    params: EngineParams,
    clock_mhz: float,
    qgraph: QuantGraph,
    schedule: Schedule,
    labels: Mapping[str, str] = {},
) -> Report:
    """The report of a build, without simulation. labels: of layers, by name of the ONNX node."""
    cost, memory = schedule.estimate, schedule.memory
    results = {node.name: node.output for node in qgraph.nodes}
    return Report(
        model=model,
        board=BoardFacts(board.name, board.part, board.status),
        clock_mhz=clock_mhz,
        array=array_facts(params),
        estimate=Estimate(
            cycles=cost.cycles,
            fps=cost.frames_per_second(clock_mhz * 1e6),
            utilisation=utilisation(
                model.macs - cost.skipped.macs, cost.cycles, params.macs_per_cycle
            ),
            dram_read_bytes=cost.read_bytes,
            dram_write_bytes=cost.write_bytes,
            dram_lower_bound_bytes=cost.lower_bound_bytes,
            skipped_macs=cost.skipped.macs,
            skipped_bytes=cost.skipped.bytes,
            read_bytes_per_cycle=schedule.read_rate,
        ),
        memory=MemoryFacts(
            capacity_bytes=memory.capacity_words * memory.word_bytes,
            peak_bytes=memory.peak_words * memory.word_bytes,
            live_bytes=memory.live_words * memory.word_bytes,
            at=memory.at,
        ),
        resources=ResourceFacts(estimate_resources(params), board.resources),
        layers=tuple(
            LayerFacts(
                name=layer.name,
                op=layer.op,
                mapping=layer.mapping,
                macs=layer.macs,
                cycles=layer.cycles,
                utilisation=layer.utilisation,
                dram_bytes=layer.dram_bytes,
                onnx_name=layer.onnx_name,
                dram_bound_bytes=layer.dram_bound_bytes,
                label=labels.get(layer.onnx_name, ""),
                shape=_shape(qgraph, results.get(layer.name, layer.name)),
                slots=layer.skipped.slots,
                skipped_slots=layer.skipped.left_out,
                skipped_macs=layer.skipped.macs,
                skipped_bytes=layer.skipped.bytes,
            )
            for layer in schedule.layers
        ),
        timeline=timeline_facts(schedule),
        quantisation=qgraph.facts,
        tool_version=__version__,
        segments=tuple(SegmentFacts(**asdict(segment)) for segment in schedule.segments),
    )


def _shape(qgraph: QuantGraph, name: str) -> tuple[int, int, int]:
    """(C, H, W) of a map; of the network's input, that of the picture."""
    if name == qgraph.input:
        return qgraph.host_input.model_shape
    tensor = qgraph.tensors[name]
    return tensor.channels, tensor.height, tensor.width
