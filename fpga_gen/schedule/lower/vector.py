"""Lowering of resampling, elementwise sums and products to VECTOR instructions."""

from __future__ import annotations

from itertools import product

import numpy as np

from fpga_gen.contract.isa import (
    MAX_AXIS_TAPS,
    MAX_BLOCKS,
    MAX_SKIP,
    MAX_SOURCES,
    MAX_TABLE,
    Instruction,
    Op,
    VectorOp,
    pack_address,
)
from fpga_gen.contract.numerics import ACC_BITS
from fpga_gen.contract.params import EngineParams
from fpga_gen.contract.weight_stream import pack_params
from fpga_gen.errors import ScheduleError
from fpga_gen.graph.ir import AxisTable
from fpga_gen.quant.ir import QAdd, QMul, QResample, QTensor
from fpga_gen.schedule.lower.lowered import Lowered, output_fields, whole_words
from fpga_gen.schedule.lower.placement import Placement

MAX_ROW = (1 << 13) - 1  # longest row of a VECTOR instruction
NO_ENTRY = {"address": 0, "weight": 0}


def _identity(table: AxisTable) -> bool:
    return (
        table.taps == 1
        and table.start == tuple(range(table.in_size))
        and all(w == (1,) for w in table.weights)
    )


def _check_weights(node: QResample) -> None:
    if any(not 0 <= w <= 255 for table in (node.y, node.x) for row in table.weights for w in row):
        raise ScheduleError(
            f"layer '{node.name}': interpolation weights must be 0..255 (a cubic resize is not "
            "supported)"
        )


def _y_entries(
    table: AxisTable, pitch: int, window: tuple[int, int], banks: int
) -> tuple[dict[str, int], ...]:
    """Entries of output rows [first, end): address = input row * pitch, in words."""
    entries = [
        {"address": pack_address((table.start[i] + k) * pitch, banks), "weight": weight}
        for i in range(*window)
        for k, weight in enumerate(table.weights[i])
    ]
    return (*entries, *[NO_ENTRY] * (len(entries) % 2))


def _pairs(params: EngineParams, table: AxisTable | None) -> bool:
    """Whether two neighbouring outputs fit one step: one read serves both. None: no table."""
    if params.vector_pixels == 1 or table is None:
        return params.vector_pixels == 2
    limit = min(MAX_SKIP, params.lanes - 1)
    pairs = zip(table.start[::2], table.start[1::2], strict=False)
    return all(0 <= second - first <= limit for first, second in pairs)


def _x_entries(table: AxisTable, pair: bool, banks: int) -> tuple[dict[str, int], ...]:
    """Two entries per step and tap: the first pixel's; the second's, relative to it."""
    entries = []
    for i in range(0, table.out_size, 2 if pair else 1):
        both = pair and i + 1 < table.out_size
        skip = pack_address(table.start[i + 1] - table.start[i], banks) if both else 0
        for k, weight in enumerate(table.weights[i]):
            entries.append({"address": pack_address(table.start[i] + k, banks), "weight": weight})
            second = {"address": skip, "weight": table.weights[i + 1][k]} if both else NO_ENTRY
            entries.append(second)
    return tuple(entries)


def _row_windows(node: QResample, out: QTensor, pair: bool) -> list[tuple[int, int]]:
    """Windows of output rows whose y table fits one instruction."""
    columns = -(-out.width // 2) * 2 if pair else 2 * out.width
    if max(node.y.taps, node.x.taps) > MAX_AXIS_TAPS or columns * node.x.taps > MAX_TABLE:
        raise ScheduleError(
            f"layer '{node.name}': {node.y.taps} x {node.x.taps} interpolation taps for a width "
            f"of {out.width} exceed the tables ({MAX_TABLE} entries, {MAX_AXIS_TAPS} taps): "
            "resample in two steps or on the host"
        )
    rows = MAX_TABLE // node.y.taps
    return [(r, min(r + rows, out.height)) for r in range(0, out.height, rows)]


def lower_vector(
    node: QResample | QAdd | QMul,
    tensors: dict[str, QTensor],
    places: dict[str, Placement],
    params: EngineParams,
) -> list[Lowered]:
    """VECTOR instructions of one layer: one for every MAX_BLOCKS planes, and several where the y
    table must be cut."""
    out, place = tensors[node.output], places[node.output]
    names = node.inputs
    if len(names) > MAX_SOURCES:
        raise ScheduleError(f"layer '{node.name}' adds {len(names)} maps, at most {MAX_SOURCES}")
    for name in names:
        if places[name].layout.positions != place.layout.positions:
            raise ScheduleError(
                f"layer '{node.name}': '{name}' and '{node.output}' differ in channel order"
            )
    factors = node.factors if isinstance(node, QAdd) else (1,) * len(names)
    _check_bound(node, [tensors[n] for n in names], factors)
    direct = not isinstance(node, QResample) or (_identity(node.y) and _identity(node.x))
    pair = _pairs(params, None if direct else node.x)
    windows = [(0, out.height)]
    if not direct:
        assert isinstance(node, QResample)
        _check_weights(node)
        windows = _row_windows(node, out, pair)
    stream = _params_block(params, node.mult, node.shift)
    lowered = []
    for window, first in product(windows, range(0, place.layout.planes, MAX_BLOCKS)):
        y = x = ()
        if not direct:
            width = places[names[0]].layout.width
            y = _y_entries(node.y, width, window, params.banks)
            x = _x_entries(node.x, pair, params.banks)
        rows, columns = window[1] - window[0], out.width
        if direct and rows * columns <= MAX_ROW:  # one long row: no odd pixel in every row
            rows, columns = 1, rows * columns
        sources = tuple(
            {
                "base": pack_address(places[n].address(first, 0), params.banks),
                "plane": pack_address(places[n].layout.plane, params.banks),
                "low": pack_address(places[n].layout.low, params.banks),
                "wide": int(tensors[n].format.bits == 16),
                "zero": int(tensors[n].format.zero != 0),
                "factor": factor,
            }
            for n, factor in zip(names, factors, strict=True)
        )
        fields = {
            "function": int(VectorOp.MUL if isinstance(node, QMul) else VectorOp.LINEAR),
            "direct": int(direct),
            "pair": int(pair),
            "n_blocks": min(MAX_BLOCKS, place.layout.planes - first),
            "n_sources": len(sources),
            **output_fields(params, out, place, first, window[0]),
            "y_taps": 1 if direct else node.y.taps,
            "x_taps": 1 if direct else node.x.taps,
            "out_h": rows,
            "out_w": columns,
            "y_words": len(y) // 2,
            "x_words": len(x) // 2,
            "lo": node.lo,
            "hi": node.hi,
        }
        instruction = Instruction(Op.VECTOR, fields, sources=sources, y=y, x=x, layer=node.name)
        reads = tuple(dict.fromkeys(s for n in names for s in whole_words(places[n])))
        lowered.append(Lowered(instruction, stream, reads, whole_words(place)))
    return lowered


def _params_block(params: EngineParams, mult: int, shift: int) -> np.ndarray:
    """One mode-1 parameter block with every column equal and no bias."""
    columns = (1, params.columns)
    block = pack_params(
        np.zeros(columns, np.int64),
        np.full(columns, mult),
        np.full(columns, shift),
        params.param_granules(1),
    )
    return block.reshape(-1)


def _check_bound(
    node: QResample | QAdd | QMul, inputs: list[QTensor], factors: tuple[int, ...]
) -> None:
    """The accumulator must hold the largest sum or product."""
    formats = [t.format for t in inputs]
    bounds = [max(abs(f.lo - f.zero), abs(f.hi - f.zero)) for f in formats]
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
