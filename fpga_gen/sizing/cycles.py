"""Quick cycle model of a float graph on an engine: layer sums instead of a walk of the program.

It ranks engines. The schedule knows more (16-bit maps, shared planes, row bands), so its figure is
the one that a report shows; the two differ by a few per cent.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from functools import lru_cache

from fpga_gen.contract.params import EngineParams
from fpga_gen.graph.ir import (
    Add,
    Concat,
    Conv,
    Graph,
    Interleave,
    MaxPool,
    Mul,
    Resample,
    Select,
    needs_tables,
    term_weights,
)
from fpga_gen.quant.additions import holds_sums
from fpga_gen.quant.ranges import segments_of
from fpga_gen.schedule.additions import SLOTS
from fpga_gen.schedule.cycles.timing import DEFAULT_TIMING, Timing, array_latency, drain_tail
from fpga_gen.schedule.lower.conv_plan import group_prices, last_drain, mode_mix, tile_limits
from fpga_gen.schedule.lower.walk import Geometry, live_taps

GRANULE_BYTES = 4


@dataclass(frozen=True)
class ConvShape:
    """One convolution, apart from the engine. sources: (taps, input channels by dense group,
    output channels of a group, groups) of every term."""

    geometry: Geometry
    channels: int
    sources: tuple[tuple[int, int, int, int], ...]


@dataclass(frozen=True)
class VectorShape:
    """Pixels, channels and reads per pixel of an elementwise or pooling node. sums: it adds two
    maps, which the array may do instead."""

    pixels: int
    channels: int
    reads: int
    pool: bool
    sums: bool = False


@dataclass(frozen=True)
class Work:
    """What a frame asks for, in the order of execution. input_map: (pixels, channels); live: the
    maps (pixels, channels) that are needed at once, by step; tables: see `needs_tables`."""

    layers: tuple[ConvShape | VectorShape, ...]
    input_map: tuple[int, int]
    macs: int
    live: tuple[tuple[tuple[int, int], ...], ...]
    tables: bool = False

    def words(self, params: EngineParams) -> int:
        """Words of feature memory that the maps take when no layer runs in row bands."""
        ci = params.in_channels
        return max(
            sum(-(-channels // ci) * params.plane_words(pixels) for pixels, channels in maps)
            for maps in self.live
        )


@dataclass(frozen=True)
class FrameCycles:
    """Model cycles of a frame. array: convolutions; elementwise: pools and vector work; weights:
    waiting for the weight stream; fixed: picture, hand-over between layers."""

    array: int
    elementwise: int
    weights: int
    fixed: int

    @property
    def total(self) -> int:
        return self.array + self.elementwise + self.weights + self.fixed


def frame_work(graph: Graph) -> Work:
    """The work of a graph; it is the same for every engine."""
    layers: list[ConvShape | VectorShape] = []
    macs = 0
    for node in graph.nodes:
        if isinstance(node, Concat | Select):
            continue
        out = graph.tensors[node.output]
        pixels = out.height * out.width
        if isinstance(node, Conv):
            source = graph.tensors[node.terms[0].input]
            geometry = Geometry(
                source.height, source.width, out.height, out.width, node.terms[0].stride,
                (0, out.height),
            )  # fmt: skip
            parts = []
            for term in node.terms:
                taps = len(live_taps(geometry, term.kernel, term.pads[:2], term.dilation)) or 1
                parts.append((taps, term.weight.shape[1], out.channels // term.groups, term.groups))
                macs += term_weights(term) * pixels
            layers.append(ConvShape(geometry, out.channels, tuple(parts)))
        elif isinstance(node, MaxPool):
            reads = node.kernel[0] * node.kernel[1]
            layers.append(VectorShape(pixels, out.channels, reads, True))
        elif isinstance(node, Resample):
            layers.append(VectorShape(pixels, out.channels, node.y.taps * node.x.taps, False))
        elif isinstance(node, Interleave):
            layers.append(VectorShape(pixels, out.channels, 1, False))
        else:
            assert isinstance(node, Add | Mul)
            whole = [n for n in node.inputs if graph.tensors[n].shape == out.shape]
            sums = isinstance(node, Add) and len(whole) == 2 and not graph.has_map_scales
            layers.append(VectorShape(pixels, out.channels, len(whole), False, sums))
    first = graph.tensors[graph.input]
    picture = (first.height * first.width, first.channels)
    return Work(tuple(layers), picture, macs, live_maps(graph), needs_tables(graph))


def live_maps(graph: Graph) -> tuple[tuple[tuple[int, int], ...], ...]:
    """Maps in memory during each node; a concatenation is no map of its own."""
    segments = segments_of(graph)
    nodes = [n for n in graph.nodes if not isinstance(n, Concat | Select)]
    last = {name: len(nodes) for output in graph.outputs for name in segments[output]}
    for step, node in enumerate(nodes):
        for name in [part for i in node.inputs for part in segments[i]]:
            last[name] = max(last.get(name, 0), step)
    born = {graph.input: -1} | {node.output: step for step, node in enumerate(nodes)}
    shape = {name: graph.tensors[name] for name in born}
    return tuple(
        tuple(
            (shape[name].height * shape[name].width, shape[name].channels)
            for name, first in born.items()
            if first <= step <= last.get(name, first)
        )
        for step in range(len(nodes))
    )


def _slots(work: ConvShape, params: EngineParams, mode: int) -> int:
    """Weight slots of one column group."""
    ci, wide = params.in_channels, params.group_channels(mode)
    total = 0
    for taps, depth, per_group, groups in work.sources:
        reach = depth if groups == 1 else depth * min(groups, -(-wide // per_group) + 1)
        total += taps * -(-reach // ci)
    return total


def frame_cycles(work: Work, params: EngineParams, timing: Timing = DEFAULT_TIMING) -> FrameCycles:
    """Cycles of one frame on an engine."""
    rate = timing.read_rate(params)
    capacity = params.weight_words * params.stream_bits / 8
    pixels, channels = work.input_map
    image = -(-channels // params.in_channels) * pixels * params.word_bits / 8
    now = fixed = image / rate + timing.start + timing.dram_latency + timing.load_tail
    stream, arrived = now, 0.0
    used: deque[tuple[float, float]] = deque([(0.0, now)])  # (bytes consumed, when)
    array = elementwise = weights = 0.0
    handover = array_latency(params, timing) + drain_tail(params, timing) + timing.wait_tail
    plan = lru_cache(maxsize=None)(lambda layer: conv_cycles(layer, params, timing))
    for layer in work.layers:
        if isinstance(layer, VectorShape):
            cycles = vector_cycles(layer, params, timing)
            elementwise += cycles
            now += cycles
            continue
        cycles, need = plan(layer)
        arrived += need
        while len(used) > 1 and used[1][0] <= arrived - capacity:
            used.popleft()
        room = used[0][1] if arrived > capacity else 0.0
        stream = max(stream, room) + need / rate
        begun = now
        now = max(now + cycles, stream) + handover
        array += cycles
        fixed += handover
        weights += now - begun - cycles - handover
        used.append((arrived, now))
    return FrameCycles(round(array), round(elementwise), round(weights), round(fixed))


def conv_cycles(work: ConvShape, params: EngineParams, timing: Timing) -> tuple[int, float]:
    """(cycles up to the last drain, bytes of the weight stream) of a convolution."""
    best: tuple[int, float] | None = None
    for limit in tile_limits(params):
        prices = group_prices(params, timing, work.geometry, False, limit)
        slots = {mode: _slots(work, params, mode) for mode in prices}
        dense = len(set(slots.values())) == 1
        for offered in [prices] if dense else [{mode: prices[mode]} for mode in prices]:
            mode = next(iter(offered))
            chosen = mode_mix(params, offered, work.channels, slots[mode])
            if chosen is None:
                continue
            runs, cycles = chosen
            cycles += last_drain(params, work.geometry, runs[-1][0], False, limit)
            if best is None or cycles < best[0]:
                granules = sum(
                    n * (slots[mode] * params.slot_granules(m) + params.param_granules(m))
                    for m, n in runs
                )
                best = (cycles, granules * GRANULE_BYTES)
    # A layer whose weights fit no buffer cannot run: such an engine must never be chosen.
    return best or (1 << 40, 0.0)


def vector_cycles(work: VectorShape, params: EngineParams, timing: Timing) -> int:
    """Cycles of an elementwise or pooling node."""
    blocks = -(-work.channels // params.in_channels)
    if work.pool:
        groups = -(-work.pixels // params.pixels)
        drain = -(-work.pixels // params.pool_pixels)
        return blocks * max(groups * work.reads, drain) + array_latency(params, timing)
    steps = -(-work.pixels // params.vector_pixels)
    cycles = blocks * (steps * work.reads + timing.vector_block) + timing.vector_tail
    if work.sums and all(holds_sums(kind.code(params.sp2)) for kind in params.kinds):
        return min(cycles, _sum_cycles(work, params, timing))
    return cycles


def _sum_cycles(work: VectorShape, params: EngineParams, timing: Timing) -> int:
    """Cycles of a sum in the array, in its widest mode: slots of all planes that a group touches,
    or the way out."""
    size = params.group_channels(params.max_mode)
    slots = SLOTS * (1 + (size - 1) / params.in_channels)
    tiles = -(-work.channels // size) * -(-work.pixels // params.lanes)
    ends = array_latency(params, timing) + drain_tail(params, timing)
    return round(tiles * max(slots, params.pixels // params.exit_pixels)) + ends
