"""Sums of two maps in the array wherever that takes fewer cycles than in the vector unit.

The vector unit reads a word a cycle, CI values; the array reads a word in every lane, and its
results leave as fast as those of any convolution.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from fpga_gen.contract.params import GRANULE, EngineParams
from fpga_gen.quant.additions import as_convolution
from fpga_gen.quant.ir import QAdd, QTensor, QuantGraph
from fpga_gen.schedule.cycles.timing import (
    DEFAULT_TIMING,
    Timing,
    array_latency,
    drain_tail,
    vector_time,
)
from fpga_gen.schedule.lower.conv_plan import group_prices, last_drain, tile_limits
from fpga_gen.schedule.lower.walk import Geometry
from fpga_gen.schedule.lower.zero_slots import cheapest_groups

SLOTS = 4  # of a plane of channels: two maps, a high and a low weight each


def sums_in_array(
    qgraph: QuantGraph, params: EngineParams, timing: Timing = DEFAULT_TIMING
) -> QuantGraph:
    """The network with the sums that are cheaper there as convolutions, whose zero slots must be
    skipped."""
    nodes = []
    for node in qgraph.nodes:
        if isinstance(node, QAdd):
            out = qgraph.tensors[node.output]
            if array_cycles(out, params, timing) < vector_cycles(out, params, timing):
                node = as_convolution(node, qgraph.tensors, qgraph.sp2) or node
        nodes.append(node)
    return replace(qgraph, nodes=tuple(nodes))


def vector_cycles(out: QTensor, params: EngineParams, timing: Timing) -> float:
    """Of a sum of two maps in the vector unit."""
    planes = -(-out.channels // params.in_channels)
    steps = -(-out.height * out.width // params.vector_pixels)
    return vector_time(timing, planes, steps, 2, 2)


def array_cycles(out: QTensor, params: EngineParams, timing: Timing) -> float:
    """Of a sum of two maps as a convolution, its weights counted as if nothing else hid them."""
    size = (out.height, out.width)
    geometry = Geometry(*size, *size, (1, 1), (0, out.height))
    firsts = np.arange(0, out.channels, params.sub_columns)
    counts = {}
    for mode in params.modes:
        ends = np.minimum(firsts + params.group_channels(mode), out.channels)
        planes = (ends - 1) // params.in_channels - firsts // params.in_channels + 1
        counts[mode] = SLOTS * planes
    best = math.inf
    for most in tile_limits(params):
        prices = group_prices(params, timing, geometry, False, most)
        found = cheapest_groups(counts, prices, out.channels, params)
        if found is None:
            continue
        groups, cycles = found
        granules = sum(
            params.param_granules(mode)
            + counts[mode][first // params.sub_columns] * params.slot_granules(mode)
            for mode, first in groups
        )
        cycles += last_drain(params, geometry, groups[-1][0], False, most)
        cycles += granules * GRANULE / 8 / timing.read_rate(params)
        best = min(best, cycles)
    return best + array_latency(params, timing) + drain_tail(params, timing)
