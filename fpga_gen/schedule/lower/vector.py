"""Lowering of resampling, elementwise sums and products to VECTOR instructions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import product

import numpy as np

from fpga_gen.contract.address import pack_address
from fpga_gen.contract.isa import (
    MAX_AXIS_TAPS,
    MAX_BLOCKS,
    MAX_SKIP,
    MAX_SOURCES,
    MAX_TABLE,
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
from fpga_gen.schedule.lower.lowered import Context, Granules, Lowered, whole_words, writing

VectorNode = QResample | QAdd | QMul | QInterleave
NO_ENTRY = AxisEntry()


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


def _y_entries(
    table: AxisTable, pitch: int, window: tuple[int, int], banks: int
) -> tuple[AxisEntry, ...]:
    """Entries of output rows [first, end): address = input row * pitch, in words."""
    entries = [
        AxisEntry(pack_address((table.start[i] + k) * pitch, banks), weight)
        for i in range(*window)
        for k, weight in enumerate(table.weights[i])
    ]
    return (*entries, *[NO_ENTRY] * (len(entries) % 2))


def _pairs(params: EngineParams, table: AxisTable | None) -> bool:
    """Whether two neighbouring outputs fit one step: one read serves both. None: no table."""
    if params.vector_pixels == 1 or table is None:
        return params.vector_pixels == 2
    most = min(MAX_SKIP, params.lanes - 1)
    pairs = zip(table.start[::2], table.start[1::2], strict=False)
    return all(0 <= second - first <= most for first, second in pairs)


def _x_entries(table: AxisTable, pair: bool, banks: int) -> tuple[AxisEntry, ...]:
    """Two entries per step and tap: the first pixel's; the second's, relative to it."""
    entries = []
    for i in range(0, table.out_size, 2 if pair else 1):
        both = pair and i + 1 < table.out_size
        skip = pack_address(table.start[i + 1] - table.start[i], banks) if both else 0
        for k, weight in enumerate(table.weights[i]):
            entries.append(AxisEntry(pack_address(table.start[i] + k, banks), weight))
            entries.append(AxisEntry(skip, table.weights[i + 1][k]) if both else NO_ENTRY)
    return tuple(entries)


def _row_windows(
    node: QResample, out: QTensor, pair: bool, rows: tuple[int, int]
) -> list[tuple[int, int]]:
    """Windows of the output rows [first, end) whose y table fits one instruction."""
    columns = -(-out.width // 2) * 2 if pair else 2 * out.width
    if max(node.y.taps, node.x.taps) > MAX_AXIS_TAPS or columns * node.x.taps > MAX_TABLE:
        raise ScheduleError(
            f"layer '{node.name}': {node.y.taps} x {node.x.taps} interpolation taps for a width "
            f"of {out.width} exceed the tables ({MAX_TABLE} entries, {MAX_AXIS_TAPS} taps): "
            "resample in two steps or on the host"
        )
    most = MAX_TABLE // node.y.taps
    return [(r, min(r + most, rows[1])) for r in range(*rows, most)]


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
    for (row, instruction), first in product(windows, planes):
        sources = _sources(node, factors, context, first, row if instruction.direct else 0)
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
    node: VectorNode, factors: tuple[int, ...], context: Context, plane: int, row: int
) -> tuple[SourceRecord, ...]:
    """Records of the maps that are read, from a plane and row on; factors that are one pixel come
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
                base=pack_address(place.address(plane, 0 if still else row), banks),
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
) -> Iterator[tuple[int, VectorInstruction]]:
    """(first output row, instruction with its pixels and axis tables) for windows of the output
    rows [first, end) whose y table fits; width: of the maps that are read."""
    if not isinstance(node, QResample) or (_identity(node.y) and _identity(node.x)):
        rows, columns = window[1] - window[0], out.width
        if rows * columns <= limit("out_w"):  # one long row: no odd pixel in every row
            rows, columns = 1, rows * columns
        yield window[0], VectorInstruction(
            layer=node.name, direct=1, pair=int(_pairs(params, None)), y_taps=1, x_taps=1,
            out_h=rows, out_w=columns,
        )  # fmt: skip
        return
    _check_weights(node)
    pair = _pairs(params, node.x)
    x = _x_entries(node.x, pair, params.banks)
    for part in _row_windows(node, out, pair, window):
        y = _y_entries(node.y, width, part, params.banks)
        yield part[0], VectorInstruction(
            layer=node.name, pair=int(pair), y_taps=node.y.taps, x_taps=node.x.taps,
            out_h=part[1] - part[0], out_w=out.width,
            y_words=len(y) // AxisEntry.PER_WORD, x_words=len(x) // AxisEntry.PER_WORD, y=y, x=x,
        )  # fmt: skip


def _interleaving(
    node: QInterleave, context: Context, wanted: tuple[int, int]
) -> Iterator[tuple[int, VectorInstruction]]:
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
    if 2 * out.width > MAX_TABLE:
        raise ScheduleError(
            f"layer '{node.name}': a width of {out.width} exceeds the table of {MAX_TABLE} "
            "entries: resample in two steps or on the host"
        )
    x = tuple(
        entry
        for i in range(out.width)
        for entry in (
            AxisEntry(pack_address(i // columns + i % columns * phase, params.banks), 1), NO_ENTRY
        )
    )  # fmt: skip
    for first in range(*wanted, MAX_TABLE):
        window = range(first, min(first + MAX_TABLE, wanted[1]))
        starts = [i // rows * layout.width + i % rows * columns * phase for i in window]
        y = tuple(AxisEntry(pack_address(start, params.banks), 1) for start in starts)
        y += (NO_ENTRY,) * (len(y) % 2)
        yield first, VectorInstruction(
            layer=node.name, y_taps=1, x_taps=1, out_h=len(window), out_w=out.width,
            y_words=len(y) // AxisEntry.PER_WORD, x_words=len(x) // AxisEntry.PER_WORD, y=y, x=x,
        )  # fmt: skip


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
