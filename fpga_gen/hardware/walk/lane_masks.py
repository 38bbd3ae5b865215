"""Coordinates of every pixel lane, and the mask of taps that fall inside the map.

Lane l of a pixel group keeps its own (y, x) in input coordinates, so one address serves all lanes
and only the mask differs. mask[l] = 0 <= y_l + dy < in_h and 0 <= x_l + dx < in_w, available
`mask_latency` cycles after the beat that carries dy, dx.
"""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from fpga_gen.contract.isa import width
from fpga_gen.contract.latencies import MASK_LATENCY
from fpga_gen.contract.params import EngineParams
from fpga_gen.hardware.common.fan_out import KEEP, copies, copies_for
from fpga_gen.hardware.common.joints import Issue, LaneMotion

COORDINATE_BITS = width("y0")
SIGN_LOADS = 7  # of a lane and axis on the sign of the tap's offset
COMPARED = 6  # bits of an origin that one register compares
CONTROL_DELAY = 2  # cycles in which a beat reaches the lanes


class LaneMasks(wiring.Component):
    """The first group's coordinates are ready `lanes` + 1 cycles after the start (`motion.ready`,
    which tells two cycles after it), at once if they are those of the walk before, which ended with
    a `reinit`. The header is there with the start and stays until the next one.

    mask: of a beat, `mask_latency` cycles after its motion.
    """

    mask_latency = CONTROL_DELAY + 2

    def __init__(self, params: EngineParams) -> None:
        assert self.mask_latency == MASK_LATENCY
        self.lanes = params.lanes
        super().__init__(
            {"issue": In(Issue()), "motion": In(LaneMotion()), "mask": Out(params.lanes)}
        )

    def elaborate(self, platform) -> Module:
        m = Module()
        self.cfg = self.issue.header.walk
        # Sizes as wide as coordinates.
        self.in_h, self.in_w = (Signal(COORDINATE_BITS, name=n) for n in ("in_h", "in_w"))
        m.d.comb += [self.in_h.eq(self.cfg.in_h), self.in_w.eq(self.cfg.in_w)]
        self._settings(m)
        self._first_group(m)
        self._controls(m)
        for lane in range(self.lanes):
            self._lane(m, lane)
        return m

    def _settings(self, m: Module) -> None:
        """Addends of the walk, worked out once: they change one cycle after `start`, when the last
        beat of the instruction before has passed (CONTROL_DELAY)."""
        c = COORDINATE_BITS
        halves = range(copies_for(3 * self.lanes))
        self.in_h_now, self.in_w_now = (
            [Signal(c, name=f"{n}_now_{k}", reset_less=True, attrs=KEEP) for k in halves]
            for n in ("in_h", "in_w")
        )
        self.plus_x = Signal(c, reset_less=True)  # x + plus_x, or where that is outside
        self.minus_x = Signal(signed(c + 1), reset_less=True)  # x + minus_x on the next row
        self.row_mode_now = Signal(reset_less=True)
        started, *starts = copies(
            m, self.issue.start, 1 + len(halves), "settings", reset_less=False
        )
        for start, in_h, in_w in zip(starts, self.in_h_now, self.in_w_now, strict=True):
            with m.If(start):
                m.d.sync += [in_h.eq(self.in_h), in_w.eq(self.in_w)]
        with m.If(started):
            m.d.sync += [
                self.plus_x.eq(self.cfg.step_dx),
                self.row_mode_now.eq(self.cfg.row_mode),
                # In row mode the row ends by `row_end`: the sum is never inside.
                self.minus_x.eq(Mux(self.cfg.row_mode, -(1 << c), self.cfg.step_dx - self.in_w)),
            ]

    def _first_group(self, m: Module) -> None:
        """First group's coordinates, one lane a cycle: raster order (flat) or along the row."""
        c = COORDINATE_BITS
        self.turn = Signal(self.lanes + 1)  # one bit walks: lane's turn, then done
        ready = Signal(init=1)
        self.walk_y = Signal(signed(c), reset_less=True)
        self.walk_x = Signal(signed(c), reset_less=True)
        # Columns to the end of the row, negative; in row mode so far down that it never gets there.
        left = Signal(signed(c + 1), reset_less=True)
        wrap = ~left[-1]
        m.d.comb += self.motion.ready.eq(ready)
        # Ready with `started`: the cycle after `start`.
        started = Signal(attrs=KEEP)
        first_left = Signal(signed(c + 1), reset_less=True)
        step = Signal(len(self.cfg.stride_x), reset_less=True)
        origin = Cat(self.cfg.row_mode, self.cfg.stride_x, self.in_w, self.cfg.y0, self.cfg.x0)
        known = Signal()  # `init` holds the coordinates of `last_origin`
        last_origin = Signal(len(origin), reset_less=True)
        parts = [slice(k, k + COMPARED) for k in range(0, len(origin), COMPARED)]
        differs = Signal(len(parts), reset_less=True)
        m.d.sync += [
            started.eq(self.issue.start),
            first_left.eq(Mux(self.cfg.row_mode, -(1 << c), self.cfg.x0 - self.in_w + 1)),
            step.eq(Mux(self.cfg.row_mode, self.cfg.stride_x, 1)),
            differs.eq(Cat(origin[part] != last_origin[part] for part in parts)),
        ]
        anew = Signal()
        m.d.comb += anew.eq(started & ~(known & ~differs.any()))
        m.d.sync += self.turn.eq(Cat(anew, self.turn))
        with m.If(anew):
            m.d.sync += [known.eq(1), last_origin.eq(origin), ready.eq(0)]
        with m.If(started):
            m.d.sync += [
                self.walk_y.eq(self.cfg.y0),
                self.walk_x.eq(self.cfg.x0),
                left.eq(first_left),
            ]
        with m.Elif(wrap):
            m.d.sync += [
                self.walk_x.eq(0),
                self.walk_y.eq(self.walk_y + 1),
                left.eq(1 - self.in_w),
            ]
        with m.Else():
            m.d.sync += [
                self.walk_x.eq(self.walk_x + step),
                left.eq(left + 1),
            ]
        with m.If(self.turn[self.lanes - 1]):
            m.d.sync += ready.eq(1)

    def _controls(self, m: Module) -> None:
        """Step one of the delay: the beat registered; step two is in every lane."""
        names = ("advance", "restore", "commit", "reinit", "row_end")
        self.beat = {name: Signal(name=f"{name}_1") for name in names}
        m.d.sync += [self.beat[name].eq(getattr(self.motion, name)) for name in names]
        offset = [Signal(signed(width("dy")), name=f"d{axis}_1", reset_less=True) for axis in "yx"]
        m.d.sync += [offset[0].eq(self.motion.dy), offset[1].eq(self.motion.dx)]
        count = copies_for(self.lanes * SIGN_LOADS)
        self.offset = [  # of the tap
            copies(m, value, count, f"d{axis}_2") for axis, value in zip("yx", offset, strict=True)
        ]
        # y + plus_y[wrap]: in row mode a row below at its end.
        self.plus_y = [
            Signal(width("step_dy") + 1, name=f"plus_y_{wrap}", reset_less=True) for wrap in (0, 1)
        ]
        row_step = Mux(self.beat["row_end"], self.cfg.stride_y, 0)
        m.d.sync += [
            plus.eq(Mux(self.row_mode_now, row_step, self.cfg.step_dy + wrap))
            for wrap, plus in enumerate(self.plus_y)
        ]

    def _lane(self, m: Module, lane: int) -> None:
        c = COORDINATE_BITS
        beat, taken = self.beat, self.turn[lane]
        copied = self.turn[lane + 1]  # the first group's coordinates are in `init`
        taps, steps = [], []
        after = Signal(signed(c + 2), name=f"after_{lane}")  # x on the next row, if not negative
        for axis, walk in (("y", self.walk_y), ("x", self.walk_x)):

            def register(name: str, shape=signed(c), axis=axis, **attributes) -> Signal:
                return Signal(shape, name=f"{name}_{axis}_{lane}", reset_less=True, **attributes)

            init, tile, now = register("init"), register("tile"), register("now")
            follow = Signal(signed(c), name=f"next_{axis}_{lane}")
            # Controls of this lane and axis, step two of the delay.
            forward = beat["commit"] | beat["advance"]
            to_init = beat["reinit"] | copied
            row_end = beat["row_end"] & self.row_mode_now if axis == "x" else 0
            now_en, tile_en = register("now_en", 1, attrs=KEEP), register("tile_en", 1, attrs=KEEP)
            use_init, use_tile = (register(n, 1, attrs=KEEP) for n in ("use_init", "use_tile"))
            tile_init = register("tile_init", 1, attrs=KEEP)
            m.d.sync += [
                now_en.eq(to_init | beat["restore"] | forward),
                use_init.eq(to_init | (row_end & ~beat["restore"])),
                use_tile.eq(beat["restore"] & ~to_init),
                tile_en.eq(to_init | (beat["commit"] & ~beat["restore"])),
                tile_init.eq(to_init | row_end),
            ]
            with m.If(taken):
                m.d.sync += init.eq(walk)
            with m.If(now_en):
                m.d.sync += now.eq(Mux(use_init, init, Mux(use_tile, tile, follow)))
            with m.If(tile_en):
                m.d.sync += tile.eq(Mux(tile_init, init, follow))
            if axis == "x":
                m.d.comb += after.eq(now + self.minus_x)
            steps.append((now, follow))
            tap = register("tap", signed(c + 1))
            offsets = self.offset["yx".index(axis)]
            m.d.sync += tap.eq(now + offsets[lane * len(offsets) // self.lanes])
            taps.append(tap)
        (now_y, next_y), (now_x, next_x) = steps
        stay = after[-1]
        m.d.comb += [
            next_x.eq(Mux(stay, now_x + self.plus_x, after)),
            next_y.eq(Mux(stay, now_y + self.plus_y[0], now_y + self.plus_y[1])),
        ]
        inside = Signal(name=f"inside_{lane}", reset_less=True)
        half = lane * len(self.in_h_now) // self.lanes
        m.d.sync += inside.eq(
            # Compared as unsigned, a negative coordinate is larger than any height or width.
            (taps[0].as_unsigned() < self.in_h_now[half])
            & (taps[1].as_unsigned() < self.in_w_now[half])
        )
        m.d.comb += self.mask[lane].eq(inside)
