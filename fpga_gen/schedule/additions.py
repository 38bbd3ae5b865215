"""Sums of two maps in the array wherever that takes fewer cycles than in the vector unit.

The vector unit reads a word a cycle, CI values; the array reads a word in every lane, and its
results leave as fast as those of any convolution.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from fpga_gen.contract.params import GRANULE, EngineParams
from fpga_gen.quant.additions import as_convolution
from fpga_gen.quant.ir import QAdd, QConv, QTensor, QuantGraph
from fpga_gen.schedule.cycles.timing import (
    DEFAULT_TIMING,
    Timing,
    array_latency,
    drain_tail,
    vector_time,
)
from fpga_gen.schedule.layouts import map_layouts
from fpga_gen.schedule.lower.conv import conv_work, plan_layer
from fpga_gen.schedule.lower.lowered import Context
from fpga_gen.schedule.lower.placement import Placement
from fpga_gen.schedule.lower.zero_slots import live_slots


def sums_in_array(
    qgraph: QuantGraph, params: EngineParams, timing: Timing = DEFAULT_TIMING
) -> QuantGraph:
    """The network with the sums that are cheaper there as convolutions."""
    if not any(isinstance(node, QAdd) for node in qgraph.nodes):
        return qgraph
    layouts = map_layouts(qgraph, params)
    places = {name: Placement(layout, 0) for name, layout in layouts.items()}
    context = Context(qgraph.tensors, places, params, timing)
    nodes = []
    for node in qgraph.nodes:
        if isinstance(node, QAdd):
            conv = as_convolution(node, qgraph.tensors, qgraph.sp2)
            out = qgraph.tensors[node.output]
            if conv is not None and _array_cycles(conv, context) < _vector_cycles(out, context):
                node = conv
        nodes.append(node)
    return replace(qgraph, nodes=tuple(nodes))


def _vector_cycles(out: QTensor, context: Context) -> float:
    """Of a sum of two maps in the vector unit."""
    params, planes = context.params, context.places[out.name].layout.planes
    steps = -(-out.height * out.width // params.vector_pixels)
    return vector_time(context.timing, planes, steps, 2, 2)


def _array_cycles(conv: QConv, context: Context) -> float:
    """Of a sum as a convolution, its weights counted as if nothing else hid them."""
    params, timing = context.params, context.timing
    work, _ = conv_work(conv, context)
    plan = plan_layer(work, context)
    live = live_slots(work.blocks)
    granules = 0
    for run in plan.runs:
        size = params.group_channels(run.mode)
        for first in range(run.first, run.first + run.channels, size):
            slots = int(np.count_nonzero(live[first : first + size].any(0)))
            granules += params.param_granules(run.mode) + slots * params.slot_granules(run.mode)
    stream = granules * GRANULE / 8 / timing.read_rate(params)
    return plan.cycles + array_latency(params, timing) + drain_tail(params, timing) + stream
