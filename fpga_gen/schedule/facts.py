"""Facts of a schedule for reports: work, cycles and bytes by layer and in total."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from fpga_gen.contract.column_kinds import KINDS
from fpga_gen.contract.isa import (
    DECODER_OPS,
    ConvInstruction,
    Instruction,
    Op,
    PoolInstruction,
    StoreInstruction,
    VectorInstruction,
)
from fpga_gen.contract.params import GRANULE, EngineParams
from fpga_gen.quant.ir import QConv, QMaxPool, QNode, QuantGraph
from fpga_gen.schedule.cycles.model import ModelRun
from fpga_gen.schedule.lower.lowered import Lowered, Skipped
from fpga_gen.schedule.lower.work import node_macs
from fpga_gen.schedule.place.plan import Plan, Transfer
from fpga_gen.schedule.program import FrameCost, LayerCost, SegmentCost


def weight_bits(node: QConv, qgraph: QuantGraph) -> int:
    """Stored bits of a layer's weights, as many for each as the code of its column has."""
    bits = [kind.code(qgraph.sp2).bits for kind in KINDS]
    width = np.array([bits[kind] for kind in qgraph.tensors[node.output].kinds or ()])
    total = 0
    for term in node.terms:
        filled = np.ones(len(width))  # share of a filter
        if term.read is None:
            filled = np.maximum(np.count_nonzero(term.weight, (1, 2, 3)), 1)
        total += int(width @ filled / filled.sum() * term.used_weights)
    return total


def lower_bound_bytes(qgraph: QuantGraph, skipped: Skipped = Skipped()) -> int:
    """Bytes that any schedule must move: weights, image and results once, without padding. Weights
    that are skipped are not among them; one bit for each slot says which ones are."""
    bits = sum(weight_bits(n, qgraph) for n in qgraph.nodes if isinstance(n, QConv))
    if skipped.left_out:
        bits += skipped.slots - skipped.bits
    for name in (qgraph.input, *dict.fromkeys(qgraph.outputs)):
        bits += _tensor_bits(name, qgraph)
    return -(-bits // 8)


def _tensor_bits(name: str, qgraph: QuantGraph) -> int:
    """Bits of a map; for the network's input, those of the picture, since the stored map may have
    channels of its own."""
    tensor = qgraph.tensors[name]
    shape = (tensor.channels, tensor.height, tensor.width)
    if name == qgraph.input:
        shape = qgraph.host_input.model_shape
    return math.prod(shape) * tensor.format.bits


def mapping_text(instruction: Instruction, params: EngineParams) -> str:
    """How the array is shared between pixels and channels, such as '2x(8 px x 21 ch)'."""
    match instruction:
        case ConvInstruction(array_mode=mode, lanes=lanes):
            return f"{mode}x({lanes // mode} px x {params.group_channels(mode)} ch)"
        case PoolInstruction(lanes=lanes):
            return f"{lanes} px x {params.in_channels} ch"
        case VectorInstruction(pair=pair):
            return f"{pair + 1} px x {params.in_channels} ch"
    return ""


def layer_facts(
    qgraph: QuantGraph, params: EngineParams, lowered: list[Lowered], timeline: ModelRun
) -> tuple[LayerCost, ...]:
    """Facts of the input, of every node and of the stores, in program order."""
    cycles: dict[tuple[str, Op], int] = defaultdict(int)
    moved: dict[tuple[str, Op], int] = defaultdict(int)
    mappings: dict[tuple[str, Op], list[str]] = defaultdict(list)
    skipped: dict[tuple[str, Op], Skipped] = defaultdict(Skipped)
    last_end = 0
    for item, span in zip(lowered, timeline.spans, strict=True):
        key = (item.instruction.layer, item.instruction.op)
        cycles[key] += span.end - last_end
        last_end = span.end
        skipped[key] += item.skipped
        moved[key] += span.stream_granules * GRANULE // 8 + span.write_bytes
        mapping = mapping_text(item.instruction, params)
        if mapping not in mappings[key]:
            mappings[key].append(mapping)
    nodes = {n.name: n for n in qgraph.nodes}
    facts = []
    for key in mappings:
        name, op = key
        if op in (*DECODER_OPS, Op.END):
            continue
        node = nodes.get(name)
        if node is None or op != _op(node):  # a map that is loaded, stored or moved
            node = None
        macs = node_macs(node, qgraph) if node else 0
        peak = cycles[key] * params.macs_per_cycle
        facts.append(
            LayerCost(
                name=name,
                onnx_name=node.onnx_name if node else "",
                op=op.name.lower(),
                mapping=" + ".join(mappings[key]),
                macs=macs,
                cycles=cycles[key],
                dram_bytes=moved[key],
                dram_bound_bytes=_layer_bound(node, name, op, qgraph),
                utilisation=(macs - skipped[key].macs) / peak if peak else 0.0,
                skipped=skipped[key],
            )
        )
    return tuple(facts)


def _op(node: QNode) -> Op:
    """Of the instructions that compute a node."""
    match node:
        case QConv():
            return Op.CONV
        case QMaxPool():
            return Op.POOL
    return Op.VECTOR


def segment_facts(
    qgraph: QuantGraph,
    params: EngineParams,
    plan: Plan,
    lowered: list[Lowered],
    ends: Sequence[int],
    timeline: ModelRun,
) -> tuple[SegmentCost, ...]:
    """Bytes by segment; ends: index of the last instruction in front of every step, and of the last
    one of all."""
    facts = []
    step = 0
    spans = zip(lowered, timeline.spans, strict=True)
    stores = [pair for pair in spans if pair[0].instruction.op == Op.STORE]  # beside any segment
    for segment in plan.segments:
        nodes = qgraph.nodes[segment.first : segment.last + 1]
        own = {node.output for node in nodes}
        stored = sum(s.write_bytes for i, s in stores if i.instruction.layer in own)
        loaded = weights = 0
        for at in range(ends[step] + 1 if step else 0, ends[segment.end] + 1):
            op, span = lowered[at].instruction.op, timeline.spans[at]
            taken = span.stream_granules * GRANULE // 8 + span.write_bytes
            if op == Op.LOAD:
                loaded += taken
            elif op != Op.STORE:
                weights += taken
        maps = {s.tensor for s in plan.steps[step : segment.end] if isinstance(s, Transfer)}
        bound = sum(plan.homes[name].layout.words * params.in_channels for name in maps)
        bound += sum(-(-weight_bits(n, qgraph) // 8) for n in nodes if isinstance(n, QConv))
        names = tuple(n.name for n in nodes)
        facts.append(SegmentCost(names, segment.bands, loaded, stored, weights, bound))
        step = segment.end
    return tuple(facts)


def _layer_bound(node: QNode | None, name: str, op: Op, qgraph: QuantGraph) -> int:
    """Bytes that a layer must move: its weights, or the image or result it loads or stores."""
    if op in (Op.LOAD, Op.STORE):
        ends = (qgraph.input,) if op == Op.LOAD else qgraph.outputs
        return -(-_tensor_bits(name, qgraph) // 8) if name in ends else 0
    return -(-weight_bits(node, qgraph) // 8) if isinstance(node, QConv) else 0


def estimate_facts(
    qgraph: QuantGraph,
    params: EngineParams,
    lowered: list[Lowered],
    timeline: ModelRun,
    read_bytes: int,
) -> FrameCost:
    """Totals of one frame; read_bytes: program, weights and input regions."""
    macs = sum(node_macs(n, qgraph) for n in qgraph.nodes)
    skipped = sum((item.skipped for item in lowered), Skipped())
    written = sum(
        item.instruction.words * params.in_channels
        for item in lowered
        if isinstance(item.instruction, StoreInstruction)
    )
    return FrameCost(
        cycles=timeline.cycles,
        read_bytes=read_bytes,
        write_bytes=written,
        lower_bound_bytes=lower_bound_bytes(qgraph, skipped),
        macs=macs,
        utilisation=(macs - skipped.macs) / (timeline.cycles * params.macs_per_cycle),
        skipped=skipped,
    )
