"""Coordinates of every pixel lane, and the mask of taps that fall inside the map.

Lane l of a pixel group keeps its own (y, x) in input coordinates, so one address serves all lanes
and only the mask differs. mask[l] = 0 <= y_l + dy < in_h and 0 <= x_l + dx < in_w, available
`mask_latency` cycles after the beat that carries dy, dx.
"""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from fpga_gen.hardware.params import EngineParams

COORDINATE_BITS = 14


class LaneMasks(wiring.Component):
    """Start: pulse `start`; initial coordinates are ready `lanes` cycles later (`ready`), at once
    if they are those of the walk before, which ended with a `reinit`.

    Per beat: `advance` (next pixel group; `row_end` restarts x in row mode), at the last beat of a
    slot instead `restore` (back to the tile start), `commit` (the next group is the new tile
    start) or `reinit` (back to the first pixel).
    """

    mask_latency = 2

    def __init__(self, params: EngineParams) -> None:
        self.lanes = params.lanes
        c = COORDINATE_BITS
        super().__init__(
            {
                "start": In(1),
                "ready": Out(1),
                "row_mode": In(1),
                "y0": In(signed(c)),
                "x0": In(signed(c)),
                "in_h": In(c),
                "in_w": In(c),
                "step_dy": In(8),
                "step_dx": In(13),
                "stride_x": In(4),
                "stride_y": In(4),
                "row_end": In(1),
                "advance": In(1),
                "restore": In(1),
                "commit": In(1),
                "reinit": In(1),
                "dy": In(signed(12)),
                "dx": In(signed(12)),
                "mask": Out(params.lanes),
            }
        )

    def elaborate(self, platform) -> Module:
        m = Module()
        c = COORDINATE_BITS
        # Initial coordinates, one lane a cycle: raster order (flat) or along the row.
        count = Signal(range(self.lanes + 1), init=self.lanes)
        walk_y = Signal(signed(c), reset_less=True)
        walk_x = Signal(signed(c), reset_less=True)
        walk_next = Signal(signed(c))
        m.d.comb += [
            self.ready.eq(count == self.lanes),
            walk_next.eq(walk_x + Mux(self.row_mode, self.stride_x, 1)),
        ]
        origin = Cat(self.row_mode, self.stride_x, self.in_w, self.y0, self.x0)
        known = Signal()
        last_origin = Signal(len(origin), reset_less=True)
        with m.If(self.start & ~(known & (origin == last_origin))):
            m.d.sync += [count.eq(0), walk_y.eq(self.y0), walk_x.eq(self.x0)]
            m.d.sync += [known.eq(1), last_origin.eq(origin)]
        with m.Elif(~self.ready):
            m.d.sync += [count.eq(count + 1), walk_x.eq(walk_next)]
            with m.If(~self.row_mode & (walk_next == self.in_w)):
                m.d.sync += [walk_x.eq(0), walk_y.eq(walk_y + 1)]
        for lane in range(self.lanes):
            self._lane(m, lane, count, walk_y, walk_x)
        return m

    def _lane(self, m: Module, lane: int, count, walk_y, walk_x) -> None:
        c = COORDINATE_BITS

        def register(name: str) -> tuple[Signal, Signal]:
            return (
                Signal(signed(c), name=f"{name}_y_{lane}", reset_less=True),
                Signal(signed(c), name=f"{name}_x_{lane}", reset_less=True),
            )

        init, tile, now = register("init"), register("tile"), register("now")
        step_x = Signal(signed(c + 1), name=f"step_x_{lane}")
        wrap = Signal(name=f"wrap_{lane}")
        next_y = Signal(signed(c), name=f"next_y_{lane}")
        next_x = Signal(signed(c), name=f"next_x_{lane}")
        m.d.comb += [
            step_x.eq(now[1] + self.step_dx),
            wrap.eq(~self.row_mode & (step_x >= self.in_w)),
        ]
        with m.If(self.row_mode):
            m.d.comb += [
                next_x.eq(Mux(self.row_end, init[1], step_x)),
                next_y.eq(Mux(self.row_end, now[0] + self.stride_y, now[0])),
            ]
        with m.Else():
            m.d.comb += [
                next_x.eq(Mux(wrap, step_x - self.in_w, step_x)),
                next_y.eq(now[0] + self.step_dy + wrap),
            ]
        with m.If(~self.ready & (count == lane)):
            for registers in (init, tile, now):
                m.d.sync += [registers[0].eq(walk_y), registers[1].eq(walk_x)]
        with m.If(self.reinit):
            for registers in (tile, now):
                m.d.sync += [registers[0].eq(init[0]), registers[1].eq(init[1])]
        with m.Elif(self.restore):
            m.d.sync += [now[0].eq(tile[0]), now[1].eq(tile[1])]
        with m.Elif(self.commit | self.advance):
            m.d.sync += [now[0].eq(next_y), now[1].eq(next_x)]
            with m.If(self.commit):
                m.d.sync += [tile[0].eq(next_y), tile[1].eq(next_x)]
        tap_y = Signal(signed(c + 1), name=f"tap_y_{lane}", reset_less=True)
        tap_x = Signal(signed(c + 1), name=f"tap_x_{lane}", reset_less=True)
        inside = Signal(name=f"inside_{lane}", reset_less=True)
        m.d.sync += [
            tap_y.eq(now[0] + self.dy),
            tap_x.eq(now[1] + self.dx),
            # Compared as unsigned, a negative coordinate is larger than any height or width.
            inside.eq((tap_y.as_unsigned() < self.in_h) & (tap_x.as_unsigned() < self.in_w)),
        ]
        m.d.comb += self.mask[lane].eq(inside)
