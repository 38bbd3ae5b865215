"""VECTOR of the program interpreter."""

from __future__ import annotations

import numpy as np

from fpga_gen.contract.address import unpack_address
from fpga_gen.contract.isa import MAX_SOURCES, MAX_TABLE, VectorInstruction, VectorOp
from fpga_gen.contract.numerics import ACC_BITS
from fpga_gen.contract.params import EngineParams
from fpga_gen.contract.records import AxisEntry, ColumnEntry, SourceRecord
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


def _columns(i: VectorInstruction, params: EngineParams) -> tuple[np.ndarray, ...]:
    """(addresses, weights) of the output columns, each (out_w, taps). What has no weight is not
    read: such a tap counts as the one on its left."""

    def taps(entry: ColumnEntry) -> list[list[tuple[int, int]]]:
        at = unpack_address(entry.address, params.banks)
        pixels = [(at, entry.left, entry.right)]
        if i.pair:
            pixels.append((at + entry.skip, entry.second_left, entry.second_right))
        elif entry.skip or entry.second_left or entry.second_right:
            raise ProgramError("a second pixel in a step of one")
        if params.vector_taps == 1 and any(right for _, _, right in pixels):
            raise ProgramError("the engine takes one column from a read")
        return [[(first, left), (first + (right > 0), right)] for first, left, right in pixels]

    found = np.array([taps(entry) for entry in i.x])  # steps * reads, pixels, columns, (at, weight)
    steps = found.reshape(-1, i.x_reads, *found.shape[1:]).transpose(4, 0, 2, 1, 3)
    address, weight = steps.reshape(2, -1, 2 * i.x_reads)[:, : i.out_w]
    return address, weight.astype(np.int64)


def _rows(table: tuple[AxisEntry, ...], taps: int, banks: int) -> tuple[np.ndarray, ...]:
    """(addresses, weights) of the output rows, each (out_h, taps)."""
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
    if i.function == VectorOp.MUL or len(i.y) > MAX_TABLE or len(i.x) > MAX_TABLE // 2:
        raise ProgramError("a product cannot resample, and tables have a limited length")
    y_address, y_weight = _rows(i.y[: i.out_h * i.y_taps], i.y_taps, banks)
    x_address, x_weight = _columns(i, params)
    total = np.zeros((pixels, params.in_channels), np.int64)
    for source, first in zip(i.sources, base, strict=True):
        for ky in range(i.y_taps):
            for kx in range(x_weight.shape[1]):
                index = first + y_address[:, ky, None] + x_address[None, :, kx]
                weight = y_weight[:, ky, None] * x_weight[None, :, kx]
                values = _values(memory, source, index.reshape(-1), banks)
                total += values * weight.reshape(-1, 1)
    return _wrap(total)
