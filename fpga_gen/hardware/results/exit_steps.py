"""Walk through finished tiles: one exit step per pixel lane and byte plane, and the LOAD counter.

A tile of m x P pixels takes P steps per pixel group (P / 2 for max-pool), twice as many for a
16-bit map. Whatever a step decides on is a register: flags of the next column and lane are
computed one step ahead.
"""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from fpga_gen.contract.isa import ADDRESS_BITS, HEADER_WORDS, Op
from fpga_gen.contract.params import PARAM_ENTRIES, EngineParams
from fpga_gen.hardware.common.address import add, constant
from fpga_gen.hardware.common.config_view import header_fields
from fpga_gen.hardware.common.fan_out import KEEP, copies
from fpga_gen.hardware.common.resets import data_register
from fpga_gen.hardware.results.requantise import LIMIT_BITS
from fpga_gen.hardware.walk.walker import TOKEN_FIELDS

FACTS = (  # outputs that are written before a step needs them
    *("mode", "pool", "vector", "zero", "out16", "lo", "hi", "out_low", "limit"),
    *("bases", "byte_offset", "channels"),
)


class ExitSteps(wiring.Component):
    """See module docstring.

    token_*: one finished tile and its instruction header (see ExitPath). busy: a result or a LOAD
    word is on its way to the memory. step: one step, with lane, low_pass, t (pixel group),
    pixel (address of the group's lane 0 relative to its plane), index (raster index or column of
    lane 0), pair (a second pixel of a max-pool step exists). bases: addresses of the planes that a
    step can touch; a LOAD word goes to bases + pixel. param: entry of the parameters.
    The others are facts of the instruction, constant while results are on their way; vector: the
    results are those of the vector unit.
    """

    def __init__(self, params: EngineParams, *, safe_steps: int) -> None:
        self.params = params
        self.safe_steps = safe_steps
        p, a = params, ADDRESS_BITS
        members = {
            "token_valid": In(1),
            "token_ready": Out(1),
            "token_header": In(64 * HEADER_WORDS),
            "tile_done": In(1),
            "drain_free": Out(1),
            "vector_start": In(1),
            "vector_header": In(64 * HEADER_WORDS),
            "load_start": In(1),
            "load_header": In(64 * HEADER_WORDS),
            "load_valid": In(1),
            "load_ready": Out(1),
            "load_busy": Out(1),
            "busy": In(1),
            "idle": Out(1),
            "step": Out(1),
            "t": Out((p.tile_groups - 1).bit_length()),
            "lane": Out(max((p.pixels - 1).bit_length(), 1)),
            "low_pass": Out(1),
            "pixel": Out(a),
            "index": Out(24),
            "pair": Out(1),
            "bases": Out(p.max_write_words * a),
            "byte_offset": Out(4),
            "channels": Out(7),
            "param": Out(range(PARAM_ENTRIES)),
            "param_release": Out(1),
            "param_held": Out(1),
            "mode": Out(2),
            "pool": Out(1),
            "vector": Out(1),
            "zero": Out(1),
            "out16": Out(1),
            "lo": Out(signed(LIMIT_BITS)),
            "hi": Out(signed(LIMIT_BITS)),
            "out_low": Out(a),
            "limit": Out(24),
        }
        members |= {f"token_{k}": In(v) for k, v in TOKEN_FIELDS.items()}
        super().__init__(members)

    def elaborate(self, platform) -> Module:
        m = Module()
        self.held = {name: data_register(m, getattr(self, name)) for name in FACTS}
        self._walk(m)
        self._sequence(m)
        return m

    def _take_facts(self, m: Module, fields) -> None:
        """The clip limits as they are compared: stored + 128 for a map stored minus 128."""
        m.d.sync += [self.held["zero"].eq(fields.zero), self.held["out16"].eq(fields.out16)]
        for limit, stored in (("lo", fields.lo), ("hi", fields.hi)):
            byte = Cat(stored[:7], ~stored[7])  # stored + 128
            m.d.sync += self.held[limit].eq(Mux(fields.zero, byte, stored.as_signed()))

    def _take_walk(self, m: Module) -> None:
        """Facts of a CONV or POOL from the header that came with the token: one cycle after the
        token, which stays for some more, and in time for the first step, behind BASES."""
        p = self.params
        assert p.max_write_words >= 2
        first, second, third = copies(m, self.new_walk, 3, "new_walk", reset_less=False)
        fields = header_fields(self.token_header, Op.CONV)
        used = Signal(range(p.pixels + 1))  # lanes of a pixel group that hold pixels
        m.d.comb += used.eq(Mux(fields.lanes < p.pixels, fields.lanes, p.pixels))
        last = (used - 1)[: len(self.lane)]
        together = p.pool_pixels
        with m.If(first):
            self._take_facts(m, fields)
            m.d.sync += [
                self.held["mode"].eq(fields.mode),
                self.held["pool"].eq(self.token_pool),
                self.held["vector"].eq(0),
            ]
        with m.If(second):
            m.d.sync += [
                self.held["limit"].eq(Mux(fields.row_mode, fields.row_width, fields.pixels)),
                self.held["out_low"].eq(fields.out_low),
                self.lanes.eq(fields.lanes),
            ]
        with m.If(third):
            m.d.sync += [
                self.row_mode.eq(fields.row_mode),
                self.per_row.eq(fields.groups_per_row),
                self.single_column.eq(fields.row_mode & (fields.groups_per_row == 1)),
                self.out_step.eq(fields.out_step),
                self.out_row_step.eq(fields.out_row_step),
                self.top_lane.eq(Mux(self.token_pool, last & ~(together - 1), last)),
                self.odd_lanes.eq(used[0]),
            ]

    def _walk(self, m: Module) -> None:
        """Registers of the walk; `advance` moves on by one pixel group."""
        p, a = self.params, ADDRESS_BITS
        self.row_mode, self.single_column, self.odd_lanes = (
            Signal(name=n, reset_less=True) for n in ("row_mode", "single_column", "odd_lanes")
        )
        self.per_row, self.lanes = Signal(13, reset_less=True), Signal(6, reset_less=True)
        self.out_step, self.out_row_step = (
            Signal(a, name=n, reset_less=True) for n in ("out_step", "out_row_step")
        )
        self.top_lane = Signal(len(self.lane), reset_less=True)
        self.new_walk = Signal()  # a token with a new instruction is taken
        self.restart, self.advance = Signal(), Signal()
        self.load_step = Signal()  # a LOAD moves on by one word
        columns_left = Signal(13, reset_less=True)
        row_end = Signal()
        stride = Mux(row_end, self.out_row_step, self.out_step)
        stride = Mux(self.load_busy, constant(1, p.banks), stride)
        following = add(m, self.pixel, stride, p.banks, "next_pixel")
        with m.If(self.advance | self.load_step):
            m.d.sync += self.pixel.eq(following)
        with m.If(self.advance):
            m.d.sync += [
                self.index.eq(Mux(row_end, 0, self.index + self.lanes)),
                columns_left.eq(Mux(row_end, self.per_row, columns_left - 1)),
                row_end.eq(self.row_mode & Mux(row_end, self.single_column, columns_left == 2)),
            ]
        with m.If(self.restart):
            m.d.sync += [
                self.pixel.eq(0),
                self.index.eq(0),
                columns_left.eq(self.per_row),
                row_end.eq(self.single_column),
            ]

    def _sequence(self, m: Module) -> None:
        p, a = self.params, ADDRESS_BITS
        words = p.max_write_words
        param_next = Signal(range(PARAM_ENTRIES))
        t, groups = Signal(7), Signal(7, reset_less=True)
        pending_base, plane = Signal(a, reset_less=True), Signal(a, reset_less=True)
        base_index = Signal(range(words + 1))
        # The waiting tile's first sums are in the drain memory; a copy for gates of its own.
        ready, ready_copy = Signal(), Signal(attrs=KEEP)
        loading = Signal()
        load_left = Signal(24, reset_less=True)
        group_byte_offset = Signal(4, reset_less=True)
        group_channels = Signal(7, reset_less=True)
        last_lane, last_pass, last_step, near_end = (
            Signal(name=n) for n in ("last_lane", "last_pass", "last_step", "near_end")
        )
        next_base = add(m, pending_base, plane, p.banks, "next_base")
        margin = self.safe_steps // p.pixels
        m.d.comb += [
            self.t.eq(t),
            self.load_busy.eq(loading),
            last_lane.eq(self.lane == self.top_lane),
            last_pass.eq(~self.out16 | self.low_pass),
            last_step.eq(last_lane & last_pass & (t == groups - 1)),
            near_end.eq(t + Mux(self.out16, margin // 2, margin) >= groups),
            self.pair.eq(self.pool & ~(last_lane & self.odd_lanes)),
        ]
        with m.If(self.tile_done):
            m.d.sync += [ready.eq(1), ready_copy.eq(1)]
        may_take = self.token_valid & ~(self.token_new_instruction & self.busy)
        self._take_walk(m)

        def take_params() -> None:
            """Go on to the next group's parameters and free the previous group's."""
            m.d.sync += [
                self.param.eq(param_next),
                param_next.eq(param_next + 1),
                self.param_held.eq(1),
            ]
            m.d.sync += self.param_release.eq(self.param_held)

        m.d.sync += self.param_release.eq(0)
        with m.FSM(name="exit"):
            with m.State("WAIT"):
                m.d.comb += [
                    self.idle.eq(~self.busy & ~self.token_valid),
                    self.drain_free.eq(~self.token_valid),
                ]
                with m.If(ready_copy & may_take):
                    m.d.sync += [
                        pending_base.eq(self.token_base),
                        group_byte_offset.eq(self.token_byte_offset),
                        group_channels.eq(self.token_channels),
                        plane.eq(header_fields(self.token_header, Op.CONV).out_plane),
                    ]
                with m.If(ready & may_take):
                    m.d.comb += [
                        self.token_ready.eq(1),
                        self.new_walk.eq(self.token_new_instruction),
                    ]
                    m.d.sync += [
                        ready.eq(0),
                        ready_copy.eq(0),
                        t.eq(0),
                        groups.eq(self.token_groups),
                        self.lane.eq(0),
                        self.low_pass.eq(0),
                        base_index.eq(0),
                        loading.eq(0),
                    ]
                    m.next = "STEP"
                    with m.If(self.token_new_group):
                        m.next = "BASES"
                with m.Elif(self.vector_start):
                    self._take_facts(m, header_fields(self.vector_header, Op.VECTOR))
                    m.d.sync += [
                        self.held["mode"].eq(0),
                        self.held["pool"].eq(0),
                        self.held["vector"].eq(1),
                    ]
                    take_params()
                with m.Elif(self.load_start):
                    fields = header_fields(self.load_header, Op.LOAD)
                    m.d.sync += [
                        pending_base.eq(fields.base),
                        plane.eq(fields.stride),
                        base_index.eq(0),
                        load_left.eq(fields.words),
                        loading.eq(1),
                    ]
                    m.next = "BASES"
            with m.State("BASES"):  # addresses of the planes a step can touch
                for j in range(words):
                    with m.If(base_index == j):
                        m.d.sync += self.held["bases"].word_select(j, a).eq(pending_base)
                m.d.sync += [pending_base.eq(next_base), base_index.eq(base_index + 1)]
                with m.If(base_index == words - 1):
                    m.d.comb += self.restart.eq(1)
                    m.next = "LOAD"
                    with m.If(~loading):
                        with m.If(~self.pool):
                            take_params()
                        m.d.sync += [
                            self.held["byte_offset"].eq(group_byte_offset),
                            self.held["channels"].eq(group_channels),
                        ]
                        m.next = "STEP"
            with m.State("STEP"):
                m.d.comb += [self.step.eq(1), self.drain_free.eq(near_end)]
                m.d.sync += self.low_pass.eq(~last_pass)
                with m.If(last_pass):
                    m.d.sync += self.lane.eq(self.lane + Mux(self.pool, p.pool_pixels, 1))
                    with m.If(last_lane):
                        m.d.comb += self.advance.eq(1)
                        m.d.sync += [self.lane.eq(0), t.eq(t + 1)]
                with m.If(last_step):
                    m.next = "WAIT"
            with m.State("LOAD"):
                m.d.comb += self.load_ready.eq(1)
                with m.If(self.load_valid):
                    m.d.comb += self.load_step.eq(1)
                    m.d.sync += load_left.eq(load_left - 1)
                    with m.If(load_left == 1):
                        m.d.sync += loading.eq(0)
                        m.next = "WAIT"
