"""The pixel walk of CONV and POOL: which pixels form a group, how groups form tiles."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

from fpga_gen.contract.address import pack_address
from fpga_gen.contract.isa import (
    MAX_READ_STRIDE,
    ConvInstruction,
    PoolInstruction,
    limit,
)
from fpga_gen.contract.params import EngineParams
from fpga_gen.errors import ScheduleError

Tap = tuple[int, int]  # (dy, dx) from the output pixel's input coordinate
Walking = TypeVar("Walking", ConvInstruction, PoolInstruction)


@dataclass(frozen=True)
class Geometry:
    """Sizes of one map walk. rows: window [first, end) of output rows; stride: (y, x)."""

    in_h: int
    in_w: int
    out_h: int
    out_w: int
    stride: tuple[int, int]
    rows: tuple[int, int]

    @property
    def n_rows(self) -> int:
        return self.rows[1] - self.rows[0]

    @property
    def flat(self) -> bool:
        """Input and output share the raster, so that lanes may run across row ends."""
        return self.stride == (1, 1) and self.in_w == self.out_w


def strided_read(params: EngineParams, stride_x: int) -> bool:
    """Whether P pixels `stride_x` apart can be read in one cycle."""
    banks = {lane * stride_x % params.banks for lane in range(params.pixels)}
    return stride_x <= MAX_READ_STRIDE and len(banks) == params.pixels


def modes_of(params: EngineParams, geometry: Geometry) -> tuple[int, ...]:
    """Array modes that can walk this geometry."""
    return params.modes if geometry.stride[1] == 1 else (1,)


def lanes_of(params: EngineParams, geometry: Geometry, mode: int) -> int:
    """Pixels of one group."""
    stride_x = geometry.stride[1]
    if stride_x == 1:
        return params.pixels * mode
    return params.pixels if strided_read(params, stride_x) else 1


def pixel_groups(params: EngineParams, geometry: Geometry, mode: int) -> int:
    """Groups of pixels of the whole window."""
    lanes = lanes_of(params, geometry, mode)
    if geometry.flat:
        return -(-geometry.n_rows * geometry.out_w // lanes)
    return geometry.n_rows * -(-geometry.out_w // lanes)


def tiles(groups: int, limit: int) -> tuple[int, int, int]:
    """(n_tiles, tile_groups, long_tiles): balanced split into tiles of at most `limit` groups."""
    n_tiles = -(-groups // limit)
    tile_groups = -(-groups // n_tiles)
    return n_tiles, tile_groups, groups - n_tiles * (tile_groups - 1)


def walking(
    kind: type[Walking],
    params: EngineParams,
    geometry: Geometry,
    mode: int,
    name: str,
    tile_limit: int | None = None,
) -> Walking:
    """An instruction of layer `name` with the fields of its walk; tile_limit: most pixel groups of
    a tile (None: as many as the engine keeps sums for)."""
    g, banks = geometry, params.banks
    lanes = lanes_of(params, g, mode)
    groups = pixel_groups(params, g, mode)
    n_tiles, tile_groups, long_tiles = tiles(groups, tile_limit or params.tile_groups)
    stride_y, stride_x = g.stride
    if stride_y > limit("stride_y"):
        raise ScheduleError(
            f"layer '{name}': vertical stride {stride_y} is above {limit('stride_y')}"
        )
    per_row = 0
    row_step = out_row_step = 0
    if g.flat:
        step = lanes
        step_dy, step_dx = divmod(lanes, g.in_w)
    else:
        step = lanes * stride_x
        step_dy, step_dx = 0, step
        per_row = -(-g.out_w // lanes)
        row_step = stride_y * g.in_w - (per_row - 1) * step
        out_row_step = g.out_w - (per_row - 1) * lanes
    return kind(
        layer=name,
        mode=mode - 1,
        row_mode=0 if g.flat else 1,
        n_tiles=n_tiles,
        tile_groups=tile_groups,
        long_tiles=long_tiles,
        pixel_step=pack_address(step, banks),
        row_step=pack_address(row_step, banks),
        out_step=pack_address(lanes, banks),
        out_row_step=pack_address(out_row_step, banks),
        groups_per_row=per_row,
        row_width=g.out_w,
        lanes=lanes,
        in_h=g.in_h,
        in_w=g.in_w,
        step_dy=step_dy,
        step_dx=step_dx,
        stride_x=stride_x if lanes > 1 else 1,
        stride_y=stride_y,
        pixels=g.n_rows * g.out_w,
        y0=g.rows[0] * stride_y,
        x0=0,
    )


def live_taps(
    geometry: Geometry, kernel: tuple[int, int], pads: tuple[int, int], dilation: tuple[int, int]
) -> list[tuple[int, Tap]]:
    """(ky * kw + kx, (dy, dx)) of the taps that meet the map for at least one output pixel.

    A tap that is always masked adds nothing, so it needs no weight slot. pads: (top, left).
    """

    def hits(offset: int, first: int, end: int, stride: int, size: int) -> bool:
        i = max(first, -(offset // stride))  # the first one that reads no row above the map
        return i < end and i * stride + offset < size

    g, out = geometry, []
    for ky in range(kernel[0]):
        dy = ky * dilation[0] - pads[0]
        if not hits(dy, *g.rows, g.stride[0], g.in_h):
            continue
        for kx in range(kernel[1]):
            dx = kx * dilation[1] - pads[1]
            if hits(dx, 0, g.out_w, g.stride[1], g.in_w):
                out.append((ky * kernel[1] + kx, (dy, dx)))
    return out
