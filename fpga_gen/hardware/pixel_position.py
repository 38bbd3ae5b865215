"""Where the walker is in the output raster, pixel group by pixel group."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from fpga_gen.hardware.address import add
from fpga_gen.hardware.config_view import header_fields
from fpga_gen.hardware.fan_out import KEEP
from fpga_gen.hardware.params import EngineParams
from fpga_gen.isa import ADDRESS_BITS, HEADER_WORDS, Op


class PixelPosition(wiring.Component):
    """Address of the present pixel group, relative to the block's.

    A beat (`active`) moves one group on; a slot's last one (`final`) goes back to the start of its
    tile, the last one of the tile's last slot (`last`) on to the next tile, that of an output group
    (`group_end`) to the start of the map. row_end: the group is the last one of its row.
    """

    def __init__(self, params: EngineParams) -> None:
        self.params = params
        super().__init__(
            {
                "start": In(1),
                "header": In(64 * HEADER_WORDS),
                "active": In(1),
                "final": In(1),
                "last": In(1),
                "group_end": In(1),
                "pixel": Out(ADDRESS_BITS),
                "row_end": Out(1),
            }
        )

    def elaborate(self, platform) -> Module:
        m = Module()
        p = self.params
        cfg = header_fields(self.header, Op.CONV)
        pixel = Signal(ADDRESS_BITS, reset_less=True)
        tile_pixel = Signal(ADDRESS_BITS, reset_less=True)
        column = Signal(13, reset_less=True)
        tile_column = Signal(13, reset_less=True)
        next_column = Signal(13)
        step = Signal(ADDRESS_BITS)
        # `row_end` goes with `column`, `tile_row_end` with `tile_column`.
        row_end, tile_row_end = Signal(reset_less=True), Signal(reset_less=True)
        next_row_end = Signal()
        single_group = Signal(reset_less=True)  # rows of one group
        before_last = Signal(13, reset_less=True)  # column of the group before the last
        with m.If(self.start):
            m.d.sync += [
                before_last.eq(cfg.groups_per_row - 2),
                single_group.eq(cfg.row_mode & (cfg.groups_per_row == 1)),
            ]
        m.d.comb += [
            step.eq(Mux(row_end, cfg.row_step, cfg.pixel_step)),
            next_column.eq(Mux(row_end, 0, column + 1)),
            next_row_end.eq(Mux(row_end, single_group, cfg.row_mode & (column == before_last))),
        ]
        next_pixel = add(m, pixel, step, p.banks, "next_pixel")
        started, tile_started = Signal(attrs=KEEP), Signal(attrs=KEEP)
        m.d.sync += [started.eq(self.start), tile_started.eq(self.start)]
        group_end = self.final & self.group_end
        with m.If(started | group_end):
            m.d.sync += [pixel.eq(0), column.eq(0), row_end.eq(single_group)]
        with m.Elif(self.final & ~self.last):
            m.d.sync += [pixel.eq(tile_pixel), column.eq(tile_column), row_end.eq(tile_row_end)]
        with m.Elif(self.active):
            m.d.sync += [pixel.eq(next_pixel), column.eq(next_column), row_end.eq(next_row_end)]
        with m.If(tile_started | group_end):
            m.d.sync += [tile_pixel.eq(0), tile_column.eq(0), tile_row_end.eq(single_group)]
        with m.Elif(self.final & self.last):
            m.d.sync += [
                tile_pixel.eq(next_pixel),
                tile_column.eq(next_column),
                tile_row_end.eq(next_row_end),
            ]
        m.d.comb += [self.pixel.eq(pixel), self.row_end.eq(row_end)]
        return m
