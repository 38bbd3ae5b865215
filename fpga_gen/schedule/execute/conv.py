"""CONV and POOL of the program interpreter, vectorised over pixels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from fpga_gen.contract.isa import Instruction, unpack_address
from fpga_gen.contract.numerics import ACC_BITS
from fpga_gen.contract.params import EngineParams
from fpga_gen.quant.convolve import exact_dtype
from fpga_gen.schedule.execute.memory import FeatureMemory, ProgramError

CHUNK_BYTES = 1 << 22  # operand matrix of one chunk of pixels


@dataclass(frozen=True, eq=False)
class Walk:
    """Every written pixel of an instruction, in order: address: offset from a block's address;
    y, x: input coordinates; out: offset from a plane's address of the result."""

    address: np.ndarray
    y: np.ndarray
    x: np.ndarray
    out: np.ndarray

    @staticmethod
    def of(f: dict[str, int], params: EngineParams) -> Walk:
        """Expand the walk fields; ValueError if they break a rule."""
        banks, lanes, in_w = params.banks, f["lanes"], f["in_w"]
        groups = f["n_tiles"] * (f["tile_groups"] - 1) + f["long_tiles"]
        if not (1 <= f["tile_groups"] <= params.tile_groups and f["n_tiles"] >= 1):
            raise ValueError(f"{f['n_tiles']} tiles of {f['tile_groups']} groups do not fit")
        if not 1 <= f["long_tiles"] <= f["n_tiles"]:
            raise ValueError(f"long_tiles {f['long_tiles']} is not within 1..{f['n_tiles']}")
        mode = f["mode"] + 1
        if mode not in params.modes:
            raise ValueError(f"mode {mode} does not exist")
        full = params.pixels * mode
        if lanes != full and not (f["row_mode"] and mode == 1 and lanes == 1):
            raise ValueError(f"{lanes} lanes in mode {mode}")
        pitch = f["stride_x"] if f["row_mode"] else 1
        if len({lane * pitch % banks for lane in range(lanes)}) != lanes:
            raise ValueError(f"{lanes} lanes {pitch} words apart share banks")
        step, row_step, out_step, out_row_step = (
            unpack_address(f[k], banks)
            for k in ("pixel_step", "row_step", "out_step", "out_row_step")
        )
        group = np.arange(groups)[:, None]
        lane = np.arange(lanes)[None, :]
        if f["row_mode"]:
            per_row = f["groups_per_row"]
            row, column = np.divmod(group, per_row)
            address = row * (row_step + (per_row - 1) * step) + column * step + lane * pitch
            y = f["y0"] + row * f["stride_y"] + 0 * lane
            x = f["x0"] + column * f["step_dx"] + lane * pitch
            out = row * (out_row_step + (per_row - 1) * out_step) + column * out_step + lane
            valid = column * lanes + lane < f["row_width"]
        else:
            if f["step_dx"] >= in_w:
                raise ValueError(f"step_dx {f['step_dx']} is not below the width {in_w}")
            raster = f["y0"] * in_w + f["x0"] + group * (f["step_dy"] * in_w + f["step_dx"]) + lane
            y, x = np.divmod(raster, in_w)
            address = group * step + lane
            out = group * out_step + lane
            valid = group * lanes + lane < f["pixels"]
        return Walk(*(np.broadcast_to(v, valid.shape)[valid] for v in (address, y, x, out)))


@dataclass(frozen=True)
class _Slot:
    """Resolved weight slot: offset from a pixel's address, tap, pad byte, shift before it; lanes:
    bits of the bytes whose weights are not all zero (None: every byte counts)."""

    address: int
    dy: int
    dx: int
    pad: int
    shift: bool
    lanes: int | None = None


def _slots(i: Instruction, block: dict[str, int], banks: int) -> list[_Slot]:
    out = []
    for k in range(block["tap_count"]):
        tap = i.taps[block["tap_start"] + k]
        address = unpack_address(block["address"], banks) + unpack_address(tap["address"], banks)
        pad = -128 if block["pad"] else 0
        out.append(_Slot(address, tap["dy"], tap["dx"], pad, bool(block["shift"] and k == 0)))
    return out


class _Operands:
    """Reads one slot's words for a range of pixels, with padding."""

    def __init__(self, i: Instruction, walk: Walk, memory: FeatureMemory) -> None:
        self._f, self._walk, self._memory = i.fields, walk, memory

    def read(self, slot: _Slot, part: slice, out: np.ndarray) -> None:
        """Words of `slot` for the pixels in `part` into out (items of word_type)."""
        f, walk, memory = self._f, self._walk, self._memory
        y, x = walk.y[part] + slot.dy, walk.x[part] + slot.dx
        inside = (y >= 0) & (y < f["in_h"]) & (x >= 0) & (x < f["in_w"])
        index = walk.address[part] + slot.address
        if inside.all():
            out[:] = memory.read(index, slot.lanes)
            return
        pad = np.full(memory.data.shape[1], slot.pad, np.int8).view(memory.word_type)[0]
        out[:] = pad
        out[inside] = memory.read(index[inside], slot.lanes)


def conv_sums(
    i: Instruction, walk: Walk, weight: np.ndarray, memory: FeatureMemory, params: EngineParams
) -> Iterator[tuple[slice, np.ndarray]]:
    """(pixel range, int64 sums (pixels, channels)); weight: int8 (slots, CI, channels)."""
    slots = [s for block in i.blocks for s in _slots(i, block, params.banks)]
    lanes = weight.any(2) @ (1 << np.arange(params.in_channels))
    slots = [replace(s, lanes=int(n)) for s, n in zip(slots, lanes, strict=True)]
    cuts = [0] + [k for k, s in enumerate(slots) if s.shift and k] + [len(slots)]
    ci, channels = params.in_channels, weight.shape[2]
    flat = weight.reshape(-1, channels)
    parts = [flat[a * ci : b * ci] for a, b in pairwise(cuts)]
    matrices = [part.astype(exact_dtype(part.T, 128)) for part in parts]
    pixels = len(walk.out)
    step = max(1, CHUNK_BYTES // (len(slots) * ci * 4))
    operands = _Operands(i, walk, memory)
    limit = 1 << (ACC_BITS - 1)
    for first in range(0, pixels, step):
        part = slice(first, min(pixels, first + step))
        count = part.stop - part.start
        raw = np.empty((count, len(slots)), memory.word_type)
        for k, slot in enumerate(slots):
            operands.read(slot, part, raw[:, k])
        values = raw.view(np.int8)
        total = np.zeros((count, channels), np.int64)
        for index, matrix in enumerate(matrices):
            a, b = cuts[index] * ci, cuts[index + 1] * ci
            total = total * (256 if index else 1)
            total += (values[:, a:b].astype(matrix.dtype) @ matrix).astype(np.int64)
            if total.size and (total.max() >= limit or total.min() < -limit):
                raise ProgramError(f"partial sums exceed {ACC_BITS} bits")
        yield part, total


class PoolMatrix:
    """Running maximum of a POOL instruction."""

    def __init__(
        self, i: Instruction, walk: Walk, memory: FeatureMemory, params: EngineParams
    ) -> None:
        self._i, self._walk, self._memory, self._banks = i, walk, memory, params.banks

    def maximum(self, block: int) -> np.ndarray:
        """int8 (pixels, CI) of one block."""
        count = len(self._walk.out)
        raw = np.empty(count, self._memory.word_type)
        operands = _Operands(self._i, self._walk, self._memory)
        best = None
        for slot in _slots(self._i, self._i.blocks[block], self._banks):
            operands.read(slot, slice(0, count), raw)
            values = raw.view(np.int8).reshape(count, -1)
            best = values.copy() if best is None else np.maximum(best, values)
        if best is None:
            raise ProgramError("POOL block without taps")
        return best
