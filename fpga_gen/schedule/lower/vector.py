"""Lowering of resampling, elementwise sums and products to VECTOR instructions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import product

import numpy as np

from fpga_gen.contract.address import pack_address
from fpga_gen.contract.isa import (
    MAX_BLOCKS,
    MAX_SOURCES,
    VectorInstruction,
    VectorOp,
    limit,
)
from fpga_gen.contract.numerics import ACC_BITS
from fpga_gen.contract.params import EngineParams
from fpga_gen.contract.records import AxisEntry, SourceRecord
from fpga_gen.contract.weight_stream import pack_params
from fpga_gen.errors import ScheduleError
from fpga_gen.graph.ir import AxisTable
from fpga_gen.quant.ir import QAdd, QInterleave, QMul, QResample, QTensor
from fpga_gen.schedule.lower.axis_entries import Lines, axis_tables
from fpga_gen.schedule.lower.lowered import Context, Granules, Lowered, whole_words, writing

VectorNode = QResample | QAdd | QMul | QInterleave
# First output row, words from the first row of the sources on, instruction with its pixels.
Window = tuple[int, int, VectorInstruction]


def _identity(table: AxisTable) -> bool:
    return (
        table.taps == 1
        and table.start == tuple(range(table.in_size))
        and all(w == (1,) for w in table.weights)
    )


def _check_weights(node: QResample) -> None:
    most = limit("weight")
    if any(not 0 <= w <= most for table in (node.y, node.x) for row in table.weights for w in row):
        raise ScheduleError(
            f"layer '{node.name}': interpolation weights must be 0..{most} (a cubic resize is not "
            "supported)"
        )


def lower_vector(node: VectorNode, context: Context) -> list[Lowered]:
    """VECTOR instructions of one layer: one for every MAX_BLOCKS planes, and several where the y
    table must be cut."""
    params, places = context.params, context.places
    out, place = context.tensors[node.output], places[node.output]
    factors = node.factors if isinstance(node, QAdd) else (1,) * len(node.inputs)
    _check(node, context, factors)
    stream = Granules.of(_params_block(params, node.mult, node.shift))
    reads = tuple(dict.fromkeys(s for n in node.inputs for s in whole_words(places[n])))
    rows = context.rows or (0, out.height)
    if isinstance(node, QInterleave):
        windows = _interleaving(node, context, rows)
    else:
        windows = _windows(node, out, places[node.inputs[0]].layout.width, rows, params)
    planes = range(0, place.layout.planes, MAX_BLOCKS)
    lowered = []
    for (row, origin, instruction), first in product(windows, planes):
        sources = _sources(node, factors, context, first, origin)
        instruction = replace(
            writing(instruction, params, node.epilogue, place, (first, row)),
            function=int(VectorOp.MUL if isinstance(node, QMul) else VectorOp.LINEAR),
            n_blocks=min(MAX_BLOCKS, place.layout.planes - first),
            n_sources=len(sources),
            sources=sources,
        )
        lowered.append(Lowered(instruction, stream, reads, whole_words(place)))
    return lowered


def _sources(
    node: VectorNode, factors: tuple[int, ...], context: Context, plane: int, origin: int
) -> tuple[SourceRecord, ...]:
    """Records of the maps that are read, from a plane and word on; factors that are one pixel come
    first."""
    banks, out = context.params.banks, context.tensors[node.output]
    records = []
    for name, factor in zip(node.inputs, factors, strict=True):
        place, fmt = context.places[name], context.tensors[name].format
        alone = place.layout.height == place.layout.width == 1
        still = isinstance(node, QMul) and alone and out.height * out.width > 1
        if still and not context.params.activations:
            raise ScheduleError(
                f"layer '{node.name}' multiplies a map by one value per channel: use an engine "
                "with `activations`"
            )
        records.append(
            SourceRecord(
                base=pack_address(place.address(plane, 0) + (0 if still else origin), banks),
                plane=pack_address(place.layout.plane, banks),
                low=pack_address(place.layout.low, banks),
                wide=int(fmt.bits == 16),
                zero=int(fmt.zero != 0),
                factor=factor,
                still=int(still),
            )
        )
    return tuple(sorted(records, key=lambda record: -record.still))


def _windows(
    node: VectorNode, out: QTensor, width: int, window: tuple[int, int], params: EngineParams
) -> Iterator[Window]:
    """Windows of the output rows [first, end) whose y table fits; width: of the maps that are
    read."""
    if not isinstance(node, QResample) or (_identity(node.y) and _identity(node.x)):
        rows, columns = window[1] - window[0], out.width
        if rows * columns <= limit("out_w"):  # one long row: no odd pixel in every row
            rows, columns = 1, rows * columns
        yield window[0], window[0] * width, VectorInstruction(
            layer=node.name, direct=1, pair=int(params.vector_pixels == 2), y_taps=1, x_reads=1,
            out_h=rows, out_w=columns,
        )  # fmt: skip
        return
    _check_weights(node)
    y = [[(at * width, w) for at, w in line] for line in _lines(node.y)]
    yield from _by_tables(node.name, y, _lines(node.x), window, params)


def _lines(table: AxisTable) -> list[list[tuple[int, int]]]:
    """(input element, weight) of the taps of every output element."""
    return [
        [(start + k, weight) for k, weight in enumerate(row)]
        for start, row in zip(table.start, table.weights, strict=True)
    ]


def _by_tables(
    name: str, y: Lines, x: Lines, window: tuple[int, int], params: EngineParams
) -> Iterator[Window]:
    for t in axis_tables(name, y, x, window, params):
        yield t.first, t.origin, VectorInstruction(
            layer=name, pair=int(t.pair), y_taps=len(y[0]), x_reads=t.reads,
            out_h=t.rows, out_w=t.columns,
            y_words=len(t.y) // AxisEntry.PER_WORD, x_words=len(t.x),
            y=t.y, x=t.x,
        )  # fmt: skip


def _interleaving(node: QInterleave, context: Context, wanted: tuple[int, int]) -> Iterator[Window]:
    """Windows as of `_windows`: rows and columns of the result alternate between the phases, whose
    planes lie one behind the other."""
    params, out = context.params, context.tensors[node.output]
    layout, (rows, columns) = context.places[node.input].layout, node.block
    depth = context.tensors[node.input].channels // (rows * columns)
    if depth % params.in_channels or context.places[node.input].layout.byte_offset:
        raise ScheduleError(
            f"layer '{node.name}': its phases of {depth} channels are no whole words of "
            f"{params.in_channels}: use an engine with fewer channels a word"
        )
    phase = depth // params.in_channels * layout.plane
    x = [[(i // columns + i % columns * phase, 1)] for i in range(out.width)]
    y = [[(i // rows * layout.width + i % rows * columns * phase, 1)] for i in range(out.height)]
    yield from _by_tables(node.name, y, x, wanted, params)


def _check(node: VectorNode, context: Context, factors: tuple[int, ...]) -> None:
    """ScheduleError if one instruction cannot hold the layer."""
    names, place = node.inputs, context.places[node.output]
    if len(names) > MAX_SOURCES:
        raise ScheduleError(f"layer '{node.name}' adds {len(names)} maps, at most {MAX_SOURCES}")
    for name in names:
        positions = context.places[name].layout.positions
        if isinstance(node, QInterleave):  # all phases in the order of the result
            positions = tuple(p for p in positions if p < len(place.layout.positions))
        if positions != place.layout.positions:
            raise ScheduleError(
                f"layer '{node.name}': '{name}' and '{node.output}' differ in channel order"
            )
    _check_bound(node, [context.tensors[n] for n in names], factors)


def _params_block(params: EngineParams, mult: int, shift: int) -> np.ndarray:
    """One mode-1 parameter block with every column equal and no bias."""
    columns = (1, params.columns)
    values = {"bias": 0, "mult": mult, "shift": shift}
    block = pack_params(
        {name: np.full(columns, value) for name, value in values.items()}, params.param_granules(1)
    )
    return block.reshape(-1)


def _check_bound(node: VectorNode, inputs: list[QTensor], factors: tuple[int, ...]) -> None:
    """The accumulator must hold the largest sum or product."""
    bounds = [t.format.reach for t in inputs]
    if isinstance(node, QMul):
        worst = bounds[0] * bounds[1]
    else:
        worst = sum(abs(f) * b for f, b in zip(factors, bounds, strict=True))
    if isinstance(node, QResample):
        taps = [max(sum(abs(w) for w in row) for row in t.weights) for t in (node.y, node.x)]
        worst *= taps[0] * taps[1]
    if worst >= 1 << (ACC_BITS - 1):
        raise ScheduleError(
            f"layer '{node.name}': sums can reach {worst}, beyond {ACC_BITS} bits: quantise its "
            "inputs to 8 bits or reduce its factors"
        )
