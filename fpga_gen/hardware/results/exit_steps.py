"""Walk through finished tiles: one exit step per pixel lane and byte plane, and the LOAD counter.

A tile of m x P pixels takes P steps per pixel group (P / 2 for max-pool, or with two exit pixels),
twice as many for a 16-bit map. Whatever a step decides on is a register: flags of the next column
and lane are computed one step ahead.
"""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from fpga_gen.contract.address import ADDRESS_BITS
from fpga_gen.contract.isa import width
from fpga_gen.contract.params import CHANNEL_BITS, PARAM_ENTRIES, SAFE_STEPS, EngineParams
from fpga_gen.hardware.common.address import add, constant
from fpga_gen.hardware.common.fan_out import copies
from fpga_gen.hardware.common.joints import GROUP_BITS, Issue, Tiles
from fpga_gen.hardware.common.resets import data_register
from fpga_gen.hardware.common.states import States
from fpga_gen.hardware.results.exit_records import facts_layout, step_layout


class ExitSteps(wiring.Component):
    """See module docstring.

    Members:
        tiles: finished tiles. tile_done: In, pulse, the next one's first sums are in the drain
            memory. vector_issue, load_issue: starts of a VECTOR and of a LOAD.
        step: Out, `at` is one step. facts: Out, of the instruction.
        load_valid, load_ready: a LOAD word is taken, for the planes at facts.bases, pixel at.pixel.
        load_busy: Out, a LOAD runs. busy: In, a result or a LOAD word is on its way to the memory.
        idle: Out, neither that nor a tile that waits.
        param_release: Out, pulse, the parameters before at.param are free; param_held: Out, level,
            those of at.param are in use.
    """

    def __init__(self, params: EngineParams) -> None:
        self.params = params
        super().__init__(
            {
                "tiles": In(Tiles()),
                "tile_done": In(1),
                "vector_issue": In(Issue()),
                "load_issue": In(Issue()),
                "load_valid": In(1),
                "load_ready": Out(1),
                "load_busy": Out(1),
                "busy": In(1),
                "idle": Out(1),
                "step": Out(1),
                "at": Out(step_layout(params)),
                "facts": Out(facts_layout(params)),
                "param_release": Out(1),
                "param_held": Out(1),
            }
        )

    def elaborate(self, platform) -> Module:
        m = Module()
        self.states = States(("WAIT", "BASES", "STEP", "LOAD"))
        self.now = self.states.now
        self.held = data_register(m, self.facts)
        self.token = self.tiles.token.payload
        self._position(m)
        self._flags(m)
        self._bases(m)
        self._parameters(m)
        self._take_walk(m)
        self._wait(m)
        self._next_base(m)
        self._step(m)
        self._load(m)
        self._moves(m)
        return m

    def _moves(self, m: Module) -> None:
        """Where each state goes."""
        for source, target, when in (
            ("WAIT", "BASES", self.take & self.token.tile.new_group),
            ("WAIT", "STEP", self.take),
            ("WAIT", "WAIT", self.vector_issue.start),
            ("WAIT", "BASES", self.load_issue.start),
            ("BASES", "LOAD", self.last_base & self.loading),
            ("BASES", "STEP", self.last_base),
            ("STEP", "WAIT", self.last_step),
            ("LOAD", "WAIT", ~self.load_ready),
        ):
            self.states.move(source, target, when)
        self.states.build(m)

    def _take_facts(self, m: Module, fields) -> None:
        """The clip limits as they are compared: stored + 128 for a map stored minus 128."""
        m.d.sync += [self.held.zero.eq(fields.zero), self.held.out16.eq(fields.out16)]
        if self.params.activations:
            m.d.sync += self.held.lookup.eq(fields.lookup)
        for limit, stored in ((self.held.lo, fields.lo), (self.held.hi, fields.hi)):
            byte = Cat(stored[:7], ~stored[7])  # stored + 128
            m.d.sync += limit.eq(Mux(fields.zero, byte, stored))

    def _take_walk(self, m: Module) -> None:
        """Facts of a CONV or POOL from the header that came with the token: one cycle after the
        token, which stays for some more, and in time for the first step, behind BASES."""
        p, held, pool = self.params, self.held, self.token.pool
        assert p.max_write_words >= 2
        first, second, third = copies(m, self.new_walk, 3, "new_walk", reset_less=False)
        fields = self.token.header.walk
        used = Signal(range(p.pixels + 1))  # lanes of a pixel group that hold pixels
        m.d.comb += used.eq(Mux(fields.lanes < p.pixels, fields.lanes, p.pixels))
        last = (used - 1)[: len(self.lane)]
        alone = last & ~1 if p.exit_pixels == 2 else last  # of no max-pool
        with m.If(first):
            self._take_facts(m, fields)
            m.d.sync += [held.mode.eq(fields.mode), held.pool.eq(pool), held.vector.eq(0)]
        with m.If(second):
            m.d.sync += [
                held.limit.eq(Mux(fields.row_mode, fields.row_width, fields.pixels)),
                held.out_low.eq(fields.out_low),
                self.lanes.eq(fields.lanes),
            ]
        with m.If(third):
            m.d.sync += [
                self.row_mode.eq(fields.row_mode),
                self.per_row.eq(fields.groups_per_row),
                self.single_column.eq(fields.row_mode & (fields.groups_per_row == 1)),
                self.out_step.eq(fields.out_step),
                self.out_row_step.eq(fields.out_row_step),
                self.top_lane.eq(Mux(pool, last & ~(p.pool_pixels - 1), alone)),
                self.odd_lanes.eq(used[0]),
            ]

    def _position(self, m: Module) -> None:
        """Registers of the walk; `advance` moves on by one pixel group."""
        self.row_mode, self.single_column, self.odd_lanes = (
            Signal(name=n, reset_less=True) for n in ("row_mode", "single_column", "odd_lanes")
        )
        self.per_row = Signal(width("groups_per_row"), reset_less=True)
        self.lanes = Signal(width("lanes"), reset_less=True)
        self.out_step, self.out_row_step = (
            Signal(ADDRESS_BITS, name=n, reset_less=True) for n in ("out_step", "out_row_step")
        )
        self.lane = Signal(len(self.at.lane))
        self.top_lane = Signal(len(self.lane), reset_less=True)
        self.take, self.take_vector = Signal(), Signal()  # a token, a VECTOR
        self.new_walk = Signal()  # a token with a new instruction is taken
        self.restart, self.advance = Signal(), Signal()
        self.load_step = Signal()  # a LOAD moves on by one word
        pixel, index = Signal(ADDRESS_BITS), Signal(len(self.at.index))
        columns_left = Signal(len(self.per_row), reset_less=True)
        row_end, next_row_end = Signal(), Signal()
        stride = Signal(ADDRESS_BITS, reset_less=True)  # to the next group: of row_end
        beat = constant(self.params.beat_words, self.params.banks)
        next_end = Mux(row_end, self.single_column, columns_left == 2)
        m.d.comb += next_row_end.eq(self.row_mode & next_end)
        following = add(m, pixel, stride, self.params.banks, "next_pixel")
        with m.If(self.advance | self.load_step):
            m.d.sync += pixel.eq(following)
        with m.If(self.advance):
            m.d.sync += [
                index.eq(Mux(row_end, 0, index + self.lanes)),
                columns_left.eq(Mux(row_end, self.per_row, columns_left - 1)),
                row_end.eq(next_row_end),
                stride.eq(Mux(next_row_end, self.out_row_step, self.out_step)),
            ]
        with m.If(self.restart):
            step = Mux(self.single_column, self.out_row_step, self.out_step)
            m.d.sync += [
                pixel.eq(0),
                index.eq(0),
                columns_left.eq(self.per_row),
                row_end.eq(self.single_column),
                stride.eq(Mux(self.load_busy, beat, step)),
            ]
        m.d.comb += [self.at.lane.eq(self.lane), self.at.pixel.eq(pixel), self.at.index.eq(index)]

    def _flags(self, m: Module) -> None:
        """Pixel group, byte plane, and where in the tile a step is."""
        self.t, self.groups = Signal(GROUP_BITS), Signal(GROUP_BITS, reset_less=True)
        self.low_pass = Signal()
        self.ready = Signal()  # the waiting tile's first sums are in the drain memory
        self.last_lane, self.last_pass, self.last_step, self.near_end = (
            Signal(name=n) for n in ("last_lane", "last_pass", "last_step", "near_end")
        )
        # Pixel groups behind this one; there is none.
        self.t_left, self.last_t = Signal(GROUP_BITS, reset_less=True), Signal(reset_less=True)
        p, facts = self.params, self.facts
        margin = SAFE_STEPS // (p.pixels // p.exit_pixels)
        pairs = 1 if p.exit_pixels == 2 else facts.pool
        m.d.comb += [
            self.last_pass.eq(~facts.out16 | self.low_pass),
            self.last_step.eq(self.last_lane & self.last_pass & self.last_t),
            self.near_end.eq(self.t + Mux(facts.out16, margin // 2, margin) >= self.groups),
            self.at.t.eq(self.t),
            self.at.low_pass.eq(self.low_pass),
            self.at.pair.eq(pairs & ~(self.last_lane & self.odd_lanes)),
        ]
        with m.If(self.tile_done):
            m.d.sync += self.ready.eq(1)

    def _bases(self, m: Module) -> None:
        """Addresses of the planes a step can touch, one after the other."""
        self.pending_base, self.plane = (
            Signal(ADDRESS_BITS, name=n, reset_less=True) for n in ("pending_base", "plane")
        )
        # The base that is next, one bit for each; 1 outside BASES.
        self.base_turn = Signal(self.params.max_write_words, init=1)
        self.last_base = self.base_turn[-1]
        distance: Value = self.plane
        self.loading = Signal()
        if self.params.beat_words > 1:  # of a LOAD, the words of a beat follow each other
            beat = self.params.beat_words
            ends = self.base_turn[beat - 1 :: beat].any()
            distance = Mux(self.loading & ~ends, constant(1, self.params.banks), distance)
        self.next_base = add(m, self.pending_base, distance, self.params.banks, "next_base")
        self.group_byte_offset = Signal(width("byte_offset"), reset_less=True)
        self.group_channels = Signal(CHANNEL_BITS, reset_less=True)
        self.load_left = Signal(width("words"), reset_less=True)
        self.load_last = Signal(reset_less=True)  # load_left is 1
        m.d.comb += self.load_busy.eq(self.loading)

    def _parameters(self, m: Module) -> None:
        self.param, self.param_next = Signal(range(PARAM_ENTRIES)), Signal(range(PARAM_ENTRIES))
        m.d.comb += self.at.param.eq(self.param)
        m.d.sync += self.param_release.eq(0)
        # Go on to the next group's parameters and free the previous group's.
        group = self.restart & ~self.loading & ~self.facts.pool
        with m.If(group | self.take_vector):
            m.d.sync += [
                self.param.eq(self.param_next),
                self.param_next.eq(self.param_next + 1),
                self.param_held.eq(1),
                self.param_release.eq(self.param_held),
            ]

    def _wait(self, m: Module) -> None:
        offered, tile = self.tiles.token, self.token.tile
        may_take = offered.valid & ~(tile.new_instruction & self.busy)
        free = self.now["WAIT"] & ~offered.valid
        m.d.comb += [self.idle.eq(free & ~self.busy), self.tiles.drain_free.eq(free)]
        load = self.load_issue
        # Taken in every cycle of WAIT: what comes with the last one is what follows.
        waiting = self.states.copy(m, "WAIT", "waiting_copy")
        with m.If(waiting):
            m.d.sync += [
                self.pending_base.eq(Mux(load.start, load.header.load.base, tile.base)),
                self.plane.eq(
                    Mux(load.start, load.header.load.stride, self.token.header.walk.out_plane)
                ),
                self.group_byte_offset.eq(tile.byte_offset),
                self.group_channels.eq(tile.channels),
                self.load_left.eq(load.header.load.words),
            ]
        m.d.comb += [
            self.take.eq(self.now["WAIT"] & self.ready & may_take),
            offered.ready.eq(self.take),
            self.new_walk.eq(self.take & tile.new_instruction),
            self.take_vector.eq(self.now["WAIT"] & ~self.take & self.vector_issue.start),
        ]
        with m.If(self.take):
            m.d.sync += [
                self.ready.eq(0),
                self.t.eq(0),
                self.groups.eq(tile.groups),
                self.t_left.eq(tile.groups - 1),
                self.last_t.eq(tile.groups == 1),
                self.lane.eq(0),
                self.low_pass.eq(0),
                self.loading.eq(0),
            ]
        with m.Elif(self.take_vector):
            self._take_facts(m, self.vector_issue.header.vector)
            m.d.sync += [self.held.mode.eq(0), self.held.pool.eq(0), self.held.vector.eq(1)]
        with m.Elif(self.now["WAIT"] & load.start):
            m.d.sync += self.loading.eq(1)

    def _next_base(self, m: Module) -> None:
        """One base a cycle; with the last one the walk begins."""
        in_bases, turn = self.now["BASES"], self.base_turn
        for j in range(len(turn)):
            with m.If(in_bases & turn[j]):
                m.d.sync += self.held.bases[j].eq(self.pending_base)
        m.d.comb += self.restart.eq(in_bases & self.last_base)
        with m.If(in_bases):
            m.d.sync += [
                self.pending_base.eq(self.next_base),
                turn.eq(turn.rotate_left(1)),
                self.load_last.eq(self.load_left == 1),
            ]
        with m.If(self.restart & ~self.loading):
            m.d.sync += [
                self.held.byte_offset.eq(self.group_byte_offset),
                self.held.channels.eq(self.group_channels),
            ]

    def _step(self, m: Module) -> None:
        p, in_step = self.params, self.now["STEP"]
        m.d.comb += self.step.eq(in_step)
        with m.If(in_step):
            m.d.comb += self.tiles.drain_free.eq(self.near_end)
            m.d.sync += self.low_pass.eq(~self.last_pass)
            with m.If(self.last_pass):
                together = Mux(self.facts.pool, p.pool_pixels, p.exit_pixels)
                next_lane = (self.lane + together)[: len(self.lane)]
                m.d.sync += [self.lane.eq(next_lane), self.last_lane.eq(next_lane == self.top_lane)]
                with m.If(self.last_lane):
                    m.d.comb += self.advance.eq(1)
                    m.d.sync += [
                        self.lane.eq(0),
                        self.last_lane.eq(self.top_lane == 0),
                        self.t.eq(self.t + 1),
                        self.t_left.eq(self.t_left - 1),
                        self.last_t.eq(self.t_left == 1),
                    ]
        with m.Else():  # known in the last cycle before the first step
            m.d.sync += self.last_lane.eq(self.top_lane == 0)

    def _load(self, m: Module) -> None:
        # A register, up for all but the last cycle of LOAD: to and from afar.
        with m.If(self.restart & self.loading):
            m.d.sync += self.load_ready.eq(1)
        with m.If(self.load_ready & self.load_valid):
            m.d.comb += self.load_step.eq(1)
            m.d.sync += [
                self.load_left.eq(self.load_left - 1),
                self.load_last.eq(self.load_left == 2),
            ]
            with m.If(self.load_last):
                m.d.sync += [self.loading.eq(0), self.load_ready.eq(0)]
