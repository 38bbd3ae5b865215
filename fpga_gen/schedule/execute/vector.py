"""VECTOR of the program interpreter."""

from __future__ import annotations

import numpy as np

from fpga_gen.contract.address import unpack_address
from fpga_gen.contract.isa import MAX_SOURCES, MAX_TABLE, VectorInstruction, VectorOp
from fpga_gen.contract.numerics import ACC_BITS
from fpga_gen.contract.params import EngineParams
from fpga_gen.contract.records import AxisEntry, SourceRecord
from fpga_gen.schedule.execute.memory import ProgramError, TrackedMemory


def _values(
    memory: TrackedMemory, source: SourceRecord, index: np.ndarray, banks: int
) -> np.ndarray:
    """True integers, int64 (pixels, CI), of a source at linear addresses."""

    def plane(offset: int) -> np.ndarray:
        words = np.ascontiguousarray(memory.read(index + offset))
        return words.view(np.int8).reshape(len(index), -1).astype(np.int64)

    if source.wide:
        return 256 * plane(0) + plane(unpack_address(source.low, banks)) + 128
    return plane(0) + (128 if source.zero else 0)


def _columns(i: VectorInstruction, banks: int) -> tuple[np.ndarray, ...]:
    """(addresses, weights) of the output columns, each (out_w, taps)."""
    taps = i.x_taps
    address, weight = (v.reshape(-1, taps, 2) for v in _axis(i.x, 2 * taps, banks))
    if i.pair:
        address[:, :, 1] += address[:, :, 0]
        address, weight = (v.transpose(0, 2, 1).reshape(-1, taps) for v in (address, weight))
    else:
        address, weight = address[:, :, 0], weight[:, :, 0]
    return address[: i.out_w], weight[: i.out_w]


def _axis(table: tuple[AxisEntry, ...], taps: int, banks: int) -> tuple[np.ndarray, ...]:
    """(addresses, weights), each (outputs, taps)."""
    address = np.array([unpack_address(e.address, banks) for e in table]).reshape(-1, taps)
    weight = np.array([e.weight for e in table], np.int64).reshape(-1, taps)
    return address, weight


def _wrap(total: np.ndarray) -> np.ndarray:
    """Two's complement in the accumulator; only bytes of no channel can be out of range."""
    half = 1 << (ACC_BITS - 1)
    return ((total + half) & (2 * half - 1)) - half


def vector_sums(
    i: VectorInstruction, block: int, memory: TrackedMemory, params: EngineParams
) -> np.ndarray:
    """int64 sums (output pixels, CI) of one channel block."""
    banks = params.banks
    if not 1 <= i.n_sources <= MAX_SOURCES:
        raise ProgramError(f"VECTOR with {i.n_sources} sources")
    base = [
        unpack_address(s.base, banks) + block * unpack_address(s.plane, banks) for s in i.sources
    ]
    pixels = i.out_h * i.out_w
    if i.direct:
        index = np.arange(pixels)
        if not params.activations and any(s.still for s in i.sources):
            raise ProgramError("the engine reads no pixel for all")
        terms = [
            _values(memory, s, b + (0 if s.still else 1) * index, banks)
            for s, b in zip(i.sources, base, strict=True)
        ]
        if i.function == VectorOp.MUL:
            if len(terms) != 2:
                raise ProgramError("a product needs two sources")
            return _wrap(terms[0] * terms[1])
        weighted = [s.factor * t for s, t in zip(i.sources, terms, strict=True)]
        return _wrap(np.sum(weighted, axis=0))
    if i.function == VectorOp.MUL or max(len(i.y), len(i.x)) > MAX_TABLE:
        raise ProgramError("a product cannot resample, and tables have a limited length")
    y_address, y_weight = _axis(i.y[: i.out_h * i.y_taps], i.y_taps, banks)
    x_address, x_weight = _columns(i, banks)
    total = np.zeros((pixels, params.in_channels), np.int64)
    for source, first in zip(i.sources, base, strict=True):
        for ky in range(i.y_taps):
            for kx in range(i.x_taps):
                index = first + y_address[:, ky, None] + x_address[None, :, kx]
                weight = y_weight[:, ky, None] * x_weight[None, :, kx]
                values = _values(memory, source, index.reshape(-1), banks)
                total += values * weight.reshape(-1, 1)
    return _wrap(total)
