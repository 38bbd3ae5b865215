"""Second machine of the walker: one pixel group per cycle, weight slot after weight slot."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from fpga_gen.contract.address import ADDRESS_BITS
from fpga_gen.contract.isa import Op, width
from fpga_gen.contract.params import EngineParams
from fpga_gen.hardware.common.address import add
from fpga_gen.hardware.common.fan_out import KEEP
from fpga_gen.hardware.common.joints import GROUP_BITS, Beat, Issue, LaneMotion
from fpga_gen.hardware.walk.slot_records import SLOT, SLOT_RECORD


class Beats(wiring.Component):
    """Takes a record when its weights are staged, the lanes are ready, the slot before is old
    enough and, for a tile's last slot, its token has a place.

    Members:
        records: from SlotRecords, the first at least three cycles after `start`; one is taken as
            its slot begins.
        push: Out, pulse, a cycle after the last slot of a tile was taken. token_valid: In.
        busy: Out, level from `start` to the last beat.
        others as in Walker.
    """

    def __init__(self, params: EngineParams) -> None:
        self.params = params
        super().__init__(
            {
                "issue": In(Issue()),
                "busy": Out(1),
                "records": In(stream.Signature(SLOT_RECORD)),
                "push": Out(1),
                "token_valid": In(1),
                "credit_add": In(1),
                "drain_free": In(1),
                "give_way": In(1),
                "beat": Out(Beat(params)),
                "motion": Out(LaneMotion()),
                "stall_weights": Out(1),
                "stall_drain": Out(1),
            }
        )

    def elaborate(self, platform) -> Module:
        m = Module()
        self.cfg = self.issue.header.walk
        self.pool = Signal(reset_less=True)  # a cycle behind the header, long before a record
        m.d.sync += self.pool.eq(self.cfg.op == Op.POOL)
        self.slot = Signal(SLOT, reset_less=True)
        self.active = Signal()
        self.t = Signal(GROUP_BITS, reset_less=True)
        self.final = Signal()  # this is the slot's last beat
        self._begin_slots(m)
        self._count(m)
        self._drive(m)
        return m

    def _begin_slots(self, m: Module) -> None:
        """Whether the next slot begins in this cycle."""
        rec, least = self.records.payload, self.params.slot_minimum
        self.age = Signal(range(least + 1))  # beats since the slot began, saturating
        credit = Signal(3)
        may_start, could_begin = (Signal(name=n) for n in ("may_start", "could_begin"))
        self.old_enough = Signal(name="old_enough")  # age >= least - 1
        self.begin = Signal(name="begin")
        give_way = Signal()
        token_blocked, weights_ready = Signal(), Signal()
        no_place = Signal()  # for a token: the register, or the drain memory behind it
        self.idle = Signal(name="idle")
        last_begins = Signal()
        m.d.comb += last_begins.eq(self.begin & rec.slot.last)
        m.d.sync += [
            self.push.eq(last_begins),
            # A token is there one cycle after its push, and `drain_free` knows of it a cycle later.
            no_place.eq(~self.drain_free | self.token_valid | self.push | last_begins),
        ]
        m.d.comb += [
            self.idle.eq(self.final | ~self.active),
            token_blocked.eq(rec.slot.last & no_place),
            may_start.eq(self.records.valid & weights_ready & ~token_blocked & self.motion.ready),
            could_begin.eq(may_start & self.old_enough & self.idle),
            self.begin.eq(could_begin & ~give_way),
            self.records.ready.eq(self.begin),
            self.stall_weights.eq(self.records.valid & ~weights_ready & self.idle),
            self.stall_drain.eq(self.records.valid & weights_ready & token_blocked & self.idle),
        ]
        credit_add = Signal()
        m.d.sync += [
            credit_add.eq(self.credit_add),
            credit.eq(credit + credit_add - (self.begin & ~self.pool)),
            # As `credit` will be, without waiting for the sum.
            weights_ready.eq(self.pool | credit_add | Mux(self.begin, credit > 1, credit != 0)),
            self.old_enough.eq(self.age >= least - 2),
        ]
        with m.If(self.give_way):
            m.d.sync += give_way.eq(1)
        with m.Elif(could_begin):
            m.d.sync += give_way.eq(0)

    def _count(self, m: Module) -> None:
        """Beats of the running slot."""
        rec, least = self.records.payload, self.params.slot_minimum
        running = Signal()  # from start to the last beat
        left = Signal(GROUP_BITS, reset_less=True)  # beats after this one
        m.d.comb += self.busy.eq(running)
        with m.If(self.issue.start):
            m.d.sync += running.eq(1)
        with m.Elif(self.final & self.slot.end):
            m.d.sync += running.eq(0)
        with m.If(self.age != least):
            m.d.sync += self.age.eq(self.age + 1)
        with m.If(self.active):
            m.d.sync += [self.t.eq(self.t + 1), left.eq(left - 1), self.final.eq(left == 1)]
        with m.If(self.final):
            m.d.sync += self.active.eq(0)
        with m.If(self.begin):
            m.d.sync += [
                self.active.eq(1),
                self.t.eq(0),
                self.age.eq(0),
                self.old_enough.eq(least <= 1),
                left.eq(rec.final),
                self.final.eq(rec.single),
            ]
        with m.If(self.idle):  # a slot that does not begin does no harm
            m.d.sync += self.slot.eq(rec.slot)

    def _drive(self, m: Module) -> None:
        """The beat, registered, and what the lanes hear of it a cycle before."""
        cfg, slot, active, final = self.cfg, self.slot, self.active, self.final
        pixel, row_end = self._position(m)
        m.d.comb += [
            self.motion.row_end.eq(row_end),
            self.motion.advance.eq(active & ~final),
            self.motion.restore.eq(final & ~slot.last),
            self.motion.commit.eq(final & slot.last & ~slot.group_end),
            self.motion.reinit.eq(final & slot.group_end),
            self.motion.dy.eq(slot.dy),
            self.motion.dx.eq(slot.dx),
        ]
        address = add(m, slot.address, pixel, self.params.banks, "beat_address_sum")
        beat_address = Signal(ADDRESS_BITS, reset_less=True)
        m.d.comb += self.beat.address.eq(beat_address)
        m.d.sync += [
            self.beat.valid.eq(active),
            self.beat.t.eq(self.t),
            beat_address.eq(address),
            self.beat.first.eq(slot.first),
            self.beat.shift.eq(slot.shift),
            self.beat.last.eq(slot.last),
            self.beat.pad.eq(slot.pad),
            self.beat.switch.eq(active & (self.t == 0) & ~self.pool),
            self.beat.pool.eq(self.pool),
            self.beat.mode.eq(cfg.mode),
            self.beat.double.eq(cfg.row_mode & (cfg.stride_x == 2)),
        ]

    def _position(self, m: Module) -> tuple[Signal, Signal]:
        """Address of the present pixel group, relative to the block's; whether it is its row's
        last one.

        A beat moves one group on; a slot's last one goes back to the start of its tile, that of
        the tile's last slot on to the next tile, that of an output group to the start of the map.
        """
        cfg, p = self.cfg, self.params
        active, final, last = self.active, self.final, self.slot.last
        pixel = Signal(ADDRESS_BITS, reset_less=True)
        tile_pixel = Signal(ADDRESS_BITS, reset_less=True)
        columns = width("groups_per_row")
        column = Signal(columns, reset_less=True)
        tile_column = Signal(columns, reset_less=True)
        next_column = Signal(columns)
        step = Signal(ADDRESS_BITS, reset_less=True)  # to the next group: of row_end
        # `row_end` and `near_end` go with `column`, those of the tile with `tile_column`.
        row_end, tile_row_end = Signal(reset_less=True), Signal(reset_less=True)
        next_row_end, coming_row_end = Signal(), Signal()
        single_group = Signal(reset_less=True)  # rows of one group
        before_last = Signal(columns, reset_less=True)  # column of the group before the last
        near_end, tile_near_end = Signal(reset_less=True), Signal(reset_less=True)  # column is it
        before_near = Signal(columns, reset_less=True)
        next_near_end = Signal()
        with m.If(self.issue.start):
            m.d.sync += [
                before_last.eq(cfg.groups_per_row - 2),
                before_near.eq(cfg.groups_per_row - 3),
                single_group.eq(cfg.row_mode & (cfg.groups_per_row == 1)),
            ]
        m.d.comb += [
            next_column.eq(Mux(row_end, 0, column + 1)),
            next_row_end.eq(Mux(row_end, single_group, cfg.row_mode & near_end)),
            next_near_end.eq(Mux(row_end, before_last == 0, column == before_near)),
        ]
        next_pixel = add(m, pixel, step, p.banks, "next_pixel")
        started, tile_started = Signal(attrs=KEEP), Signal(attrs=KEEP)
        m.d.sync += [started.eq(self.issue.start), tile_started.eq(self.issue.start)]
        restart = final & self.slot.group_end
        m.d.comb += coming_row_end.eq(row_end)
        m.d.sync += [
            row_end.eq(coming_row_end),
            step.eq(Mux(coming_row_end, cfg.row_step, cfg.pixel_step)),
        ]
        with m.If(started | restart):
            m.d.sync += [pixel.eq(0), column.eq(0), near_end.eq(before_last == 0)]
            m.d.comb += coming_row_end.eq(single_group)
        with m.Elif(final & ~last):
            m.d.sync += [pixel.eq(tile_pixel), column.eq(tile_column), near_end.eq(tile_near_end)]
            m.d.comb += coming_row_end.eq(tile_row_end)
        with m.Elif(active):
            m.d.sync += [pixel.eq(next_pixel), column.eq(next_column), near_end.eq(next_near_end)]
            m.d.comb += coming_row_end.eq(next_row_end)
        with m.If(tile_started | restart):
            m.d.sync += [
                tile_pixel.eq(0),
                tile_column.eq(0),
                tile_row_end.eq(single_group),
                tile_near_end.eq(before_last == 0),
            ]
        with m.Elif(final & last):
            m.d.sync += [
                tile_pixel.eq(next_pixel),
                tile_column.eq(next_column),
                tile_row_end.eq(next_row_end),
                tile_near_end.eq(next_near_end),
            ]
        return pixel, row_end
