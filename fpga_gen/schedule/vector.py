"""Lowering of resampling, elementwise sums and products to VECTOR instructions."""

from __future__ import annotations

import numpy as np

from fpga_gen.errors import ScheduleError
from fpga_gen.graph.ir import AxisTable
from fpga_gen.hardware.params import EngineParams
from fpga_gen.isa import (
    MAX_BLOCKS,
    MAX_SOURCES,
    MAX_TABLE,
    Instruction,
    Op,
    VectorOp,
    pack_address,
)
from fpga_gen.quant.ir import QAdd, QMul, QResample, QTensor
from fpga_gen.quant.numerics import ACC_BITS
from fpga_gen.schedule.lowered import Lowered, output_fields, whole_words
from fpga_gen.schedule.placement import Placement
from fpga_gen.schedule.weights import pack_params

MAX_AXIS_TAPS = 127


def _identity(table: AxisTable) -> bool:
    return (
        table.taps == 1
        and table.start == tuple(range(table.in_size))
        and all(w == (1,) for w in table.weights)
    )


def _entries(
    node: QResample, table: AxisTable, pitch: int, window: tuple[int, int], banks: int
) -> tuple[dict[str, int], ...]:
    """Table entries of outputs [first, end): address = input index * pitch, in words."""
    if any(not 0 <= w <= 255 for row in table.weights for w in row):
        raise ScheduleError(
            f"layer '{node.name}': interpolation weights must be 0..255 (a cubic resize is not "
            "supported)"
        )
    return tuple(
        {"address": pack_address((table.start[i] + k) * pitch, banks), "weight": weight}
        for i in range(*window)
        for k, weight in enumerate(table.weights[i])
    )


def _row_windows(node: QResample, out: QTensor) -> list[tuple[int, int]]:
    """Windows of output rows whose y table fits one instruction."""
    if max(node.y.taps, node.x.taps) > MAX_AXIS_TAPS or out.width * node.x.taps > MAX_TABLE:
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
    """VECTOR instructions of one layer (several where the y table must be cut)."""
    out, place = tensors[node.output], places[node.output]
    names = node.inputs
    if len(names) > MAX_SOURCES:
        raise ScheduleError(f"layer '{node.name}' adds {len(names)} maps, at most {MAX_SOURCES}")
    planes = place.layout.planes
    if planes > MAX_BLOCKS:
        raise ScheduleError(f"layer '{node.name}' has {planes} channel blocks, above {MAX_BLOCKS}")
    for name in names:
        if places[name].layout.positions != place.layout.positions:
            raise ScheduleError(
                f"layer '{node.name}': '{name}' and '{node.output}' differ in channel order"
            )
    factors = node.factors if isinstance(node, QAdd) else (1,) * len(names)
    _check_bound(node, [tensors[n] for n in names], factors)
    direct = not isinstance(node, QResample) or (_identity(node.y) and _identity(node.x))
    windows = [(0, out.height)]
    if not direct:
        assert isinstance(node, QResample)
        windows = _row_windows(node, out)
    sources = tuple(
        {
            "base": pack_address(places[n].address(0, 0), params.banks),
            "plane": pack_address(places[n].layout.plane, params.banks),
            "low": pack_address(places[n].layout.low, params.banks),
            "wide": int(tensors[n].format.bits == 16),
            "zero": int(tensors[n].format.zero != 0),
            "factor": factor,
        }
        for n, factor in zip(names, factors, strict=True)
    )
    stream = _params_block(params, node.mult, node.shift)
    lowered = []
    for window in windows:
        y = x = ()
        if not direct:
            width = places[names[0]].layout.width
            y = _entries(node, node.y, width, window, params.banks)
            x = _entries(node, node.x, 1, (0, out.width), params.banks)
        fields = {
            "function": int(VectorOp.MUL if isinstance(node, QMul) else VectorOp.LINEAR),
            "direct": int(direct),
            "n_blocks": planes,
            "n_sources": len(sources),
            **output_fields(params, out, place, 0, window[0]),
            "y_taps": 1 if direct else node.y.taps,
            "x_taps": 1 if direct else node.x.taps,
            "out_h": window[1] - window[0],
            "out_w": out.width,
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
