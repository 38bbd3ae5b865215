"""CONV and POOL of the program interpreter, vectorised over pixels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from fpga_gen.contract.address import unpack_address
from fpga_gen.contract.isa import ConvInstruction, PoolInstruction, WalkInstruction
from fpga_gen.contract.numerics import ACC_BITS
from fpga_gen.contract.params import EngineParams
from fpga_gen.contract.records import BlockRecord, GroupHead
from fpga_gen.quant.convolve import exact_dtype
from fpga_gen.schedule.execute.memory import ProgramError, TrackedMemory

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
    def of(i: WalkInstruction, params: EngineParams) -> Walk:
        """Expand the walk fields; ProgramError if they break a rule."""
        _check_walk(i, params)
        banks, lanes, in_w = params.banks, i.lanes, i.in_w
        groups = i.n_tiles * (i.tile_groups - 1) + i.long_tiles
        pitch = i.stride_x if i.row_mode else 1
        step, row_step, out_step, out_row_step = (
            unpack_address(code, banks)
            for code in (i.pixel_step, i.row_step, i.out_step, i.out_row_step)
        )
        group = np.arange(groups)[:, None]
        lane = np.arange(lanes)[None, :]
        if i.row_mode:
            per_row = i.groups_per_row
            row, column = np.divmod(group, per_row)
            address = row * (row_step + (per_row - 1) * step) + column * step + lane * pitch
            y = i.y0 + row * i.stride_y + 0 * lane
            x = i.x0 + column * i.step_dx + lane * pitch
            out = row * (out_row_step + (per_row - 1) * out_step) + column * out_step + lane
            valid = column * lanes + lane < i.row_width
        else:
            raster = i.y0 * in_w + i.x0 + group * (i.step_dy * in_w + i.step_dx) + lane
            y, x = np.divmod(raster, in_w)
            address = group * step + lane
            out = group * out_step + lane
            valid = group * lanes + lane < i.pixels
        return Walk(*(np.broadcast_to(v, valid.shape)[valid] for v in (address, y, x, out)))


def _check_walk(i: WalkInstruction, params: EngineParams) -> None:
    """ProgramError if the walk's fields break a rule."""
    if not (1 <= i.tile_groups <= params.tile_groups and i.n_tiles >= 1):
        raise ProgramError(f"{i.n_tiles} tiles of {i.tile_groups} groups do not fit")
    if not 1 <= i.long_tiles <= i.n_tiles:
        raise ProgramError(f"long_tiles {i.long_tiles} is not within 1..{i.n_tiles}")
    mode = i.array_mode
    if mode not in params.modes:
        raise ProgramError(f"mode {mode} does not exist")
    if i.lanes != params.pixels * mode and not (i.row_mode and mode == 1 and i.lanes == 1):
        raise ProgramError(f"{i.lanes} lanes in mode {mode}")
    pitch = i.stride_x if i.row_mode else 1
    if len({lane * pitch % params.banks for lane in range(i.lanes)}) != i.lanes:
        raise ProgramError(f"{i.lanes} lanes {pitch} words apart share banks")
    if not i.row_mode and i.step_dx >= i.in_w:
        raise ProgramError(f"step_dx {i.step_dx} is not below the width {i.in_w}")


@dataclass(frozen=True)
class _Slot:
    """Resolved weight slot: offset from a pixel's address, tap, pad byte, low bytes (`shift` of its
    block); lanes: bits of the bytes whose weights are not all zero (None: every byte counts)."""

    address: int
    dy: int
    dx: int
    pad: int
    shift: bool
    lanes: int | None = None


def _slots(i: WalkInstruction, block: BlockRecord, banks: int) -> list[_Slot]:
    out = []
    for k in range(block.tap_count):
        tap = i.taps[block.tap_start + k]
        address = unpack_address(block.address, banks) + unpack_address(tap.address, banks)
        pad = -128 if block.pad else 0
        out.append(_Slot(address, tap.dy, tap.dx, pad, bool(block.shift)))
    return out


def check_list(i: ConvInstruction, group: int, head: GroupHead) -> None:
    """ProgramError if the slot list of an output-channel group breaks a rule."""
    if len(i.group_lists) != i.n_groups:
        raise ProgramError(f"CONV has {len(i.group_lists)} slot lists for {i.n_groups} groups")
    entries = i.group_lists[group]
    if len(entries) != head.slots:
        raise ProgramError(f"CONV group {group} lists {len(entries)} slots, has {head.slots}")
    for entry in entries:
        taps = range(0)
        if entry.block < i.n_blocks:
            block = i.blocks[entry.block]
            taps = range(block.tap_start, block.tap_start + block.tap_count)
        if entry.tap not in taps:
            raise ProgramError(f"CONV group {group} lists tap {entry.tap} of block {entry.block}")
    if len(set((e.block, e.tap) for e in entries)) != len(entries):
        raise ProgramError(f"CONV group {group} lists a slot twice")
    low = [i.blocks[e.block].shift for e in entries]
    if low != sorted(low) or max(low) != max(b.shift for b in i.blocks):
        raise ProgramError(f"CONV group {group}: the low bytes must come last, at least one slot")


class _Operands:
    """Reads one slot's words for a range of pixels, with padding."""

    def __init__(self, i: WalkInstruction, walk: Walk, memory: TrackedMemory) -> None:
        self._i, self._walk, self._memory = i, walk, memory

    def read(self, slot: _Slot, part: slice, out: np.ndarray) -> None:
        """Words of `slot` for the pixels in `part` into out (items of word_type)."""
        i, walk, memory = self._i, self._walk, self._memory
        y, x = walk.y[part] + slot.dy, walk.x[part] + slot.dx
        inside = (y >= 0) & (y < i.in_h) & (x >= 0) & (x < i.in_w)
        index = walk.address[part] + slot.address
        if inside.all():
            out[:] = memory.read(index, slot.lanes)
            return
        pad = np.full(memory.data.shape[1], slot.pad, np.int8).view(memory.word_type)[0]
        out[:] = pad
        out[inside] = memory.read(index[inside], slot.lanes)


def conv_sums(
    i: ConvInstruction, walk: Walk, weight: np.ndarray, memory: TrackedMemory, params: EngineParams
) -> Iterator[tuple[slice, np.ndarray]]:
    """(pixel range, int64 sums (pixels, channels)); weight: int8 (slots, CI, channels), of all
    slots of the tables: a slot that a group skips adds nothing."""
    slots = [s for block in i.blocks for s in _slots(i, block, params.banks)]
    lanes = weight.any(2) @ (1 << np.arange(params.in_channels))
    slots = [replace(s, lanes=int(n)) for s, n in zip(slots, lanes, strict=True)]
    shifts = [k for k, (a, b) in enumerate(pairwise(slots), 1) if b.shift and not a.shift]
    cuts = [0, *shifts, len(slots)]
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
        self, i: PoolInstruction, walk: Walk, memory: TrackedMemory, params: EngineParams
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
