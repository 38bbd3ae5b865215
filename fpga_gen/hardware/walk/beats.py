"""Second machine of the walker: one pixel group per cycle, weight slot after weight slot."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from fpga_gen.contract.isa import ADDRESS_BITS, HEADER_WORDS, Op
from fpga_gen.contract.params import EngineParams
from fpga_gen.hardware.common.address import add
from fpga_gen.hardware.common.config_view import header_fields
from fpga_gen.hardware.common.fan_out import KEEP
from fpga_gen.hardware.walk.slot_records import RECORD, SLOT_FIELDS


def beat_members(params: EngineParams) -> dict[str, wiring.Member]:
    """What leaves the walker for memory, lanes and array; registered."""
    return {
        "beat_valid": Out(1),
        "beat_t": Out((params.tile_groups - 1).bit_length()),
        "beat_first": Out(1),
        "beat_shift": Out(1),
        "beat_last": Out(1),
        "beat_switch": Out(1),
        "beat_pad": Out(1),
        "beat_pool": Out(1),
        "beat_address": Out(ADDRESS_BITS),
        "beat_mode": Out(2),
        "beat_double": Out(1),
        "beat_dy": Out(12),
        "beat_dx": Out(12),
        "row_end": Out(1),
        "advance": Out(1),
        "restore": Out(1),
        "commit": Out(1),
        "reinit": Out(1),
        "stall_weights": Out(1),
        "stall_drain": Out(1),
    }


class Beats(wiring.Component):
    """Takes a record when its weights are staged, the lanes are ready, the slot before is old
    enough and, for a tile's last slot, its token has a place.

    Members:
        valid, record, take: from SlotRecords.
        push: Out, pulse, a cycle after the last slot of a tile was taken. token_valid: In.
        busy: Out, level from `start` to the last beat.
        others as in Walker.
    """

    def __init__(self, params: EngineParams, *, slot_minimum: int) -> None:
        self.params = params
        self.slot_minimum = slot_minimum
        super().__init__(
            {
                "start": In(1),
                "busy": Out(1),
                "header": In(64 * HEADER_WORDS),
                "valid": In(1),
                "record": In(RECORD),
                "take": Out(1),
                "push": Out(1),
                "token_valid": In(1),
                "lanes_ready": In(1),
                "credit_add": In(1),
                "drain_free": In(1),
                "give_way": In(1),
                **beat_members(params),
            }
        )

    def elaborate(self, platform) -> Module:
        m = Module()
        cfg, p, rec = header_fields(self.header, Op.CONV), self.params, self.record
        pool = Signal()
        m.d.comb += pool.eq(cfg.op == Op.POOL)
        slot = {
            name: Signal(bits, name=f"slot_{name}", reset_less=True)
            for name, bits in SLOT_FIELDS.items()
        }
        active = Signal()
        running = Signal()  # from start to the last beat
        t = Signal(7, reset_less=True)
        left = Signal(7, reset_less=True)  # beats after this one
        final = Signal()  # this is the slot's last beat
        age = Signal(range(self.slot_minimum + 1))  # beats since the slot began, saturating
        credit = Signal(3)
        old_enough = Signal()
        may_start = Signal()
        could_begin = Signal()
        begin = Signal()
        give_way = Signal()
        token_blocked = Signal()
        weights_ready = Signal()
        idle = Signal()
        drain_free = Signal()
        token_taken = Signal()
        m.d.sync += [
            drain_free.eq(self.drain_free),
            token_taken.eq(self.token_valid),
            self.push.eq(begin & rec.last),
        ]
        m.d.comb += [
            old_enough.eq(age >= self.slot_minimum - 1),
            idle.eq(final | ~active),
            weights_ready.eq(pool | (credit != 0)),
            # One cycle more than the token: `drain_free` is that old.
            token_blocked.eq(rec.last & (~drain_free | self.token_valid | token_taken | self.push)),
            may_start.eq(self.valid & weights_ready & ~token_blocked & self.lanes_ready),
            could_begin.eq(may_start & old_enough & idle),
            begin.eq(could_begin & ~give_way),
            self.take.eq(begin),
            self.busy.eq(running),
            self.stall_weights.eq(self.valid & ~weights_ready & idle),
            self.stall_drain.eq(self.valid & weights_ready & token_blocked & idle),
        ]
        credit_add = Signal()
        m.d.sync += [
            credit_add.eq(self.credit_add),
            credit.eq(credit + credit_add - (begin & ~pool)),
        ]
        with m.If(self.give_way):
            m.d.sync += give_way.eq(1)
        with m.Elif(could_begin):
            m.d.sync += give_way.eq(0)
        with m.If(self.start):
            m.d.sync += [running.eq(1), age.eq(self.slot_minimum)]
        with m.Elif(final & slot["end"]):
            m.d.sync += running.eq(0)
        with m.If(age != self.slot_minimum):
            m.d.sync += age.eq(age + 1)
        with m.If(active):
            m.d.sync += [t.eq(t + 1), left.eq(left - 1), final.eq(left == 1)]
        with m.If(final):
            m.d.sync += active.eq(0)
        with m.If(begin):
            m.d.sync += [
                active.eq(1),
                t.eq(0),
                age.eq(0),
                left.eq(rec.final),
                final.eq(rec.single),
            ]
        with m.If(idle):  # a slot that does not begin does no harm
            m.d.sync += [slot[k].eq(rec[k]) for k in slot]
        pixel, row_end = self._position(m, active, final, slot["last"], slot["group_end"])
        m.d.comb += [
            self.row_end.eq(row_end),
            self.advance.eq(active & ~final),
            self.restore.eq(final & ~slot["last"]),
            self.commit.eq(final & slot["last"] & ~slot["group_end"]),
            self.reinit.eq(final & slot["group_end"]),
            self.beat_dy.eq(slot["dy"]),
            self.beat_dx.eq(slot["dx"]),
        ]
        address = add(m, slot["address"], pixel, p.banks, "beat_address_sum")
        beat_address = Signal(ADDRESS_BITS, reset_less=True)
        m.d.comb += self.beat_address.eq(beat_address)
        m.d.sync += [
            self.beat_valid.eq(active),
            self.beat_t.eq(t),
            beat_address.eq(address),
            Cat(self.beat_first, self.beat_shift, self.beat_last, self.beat_pad).eq(
                Cat(slot["first"], slot["shift"], slot["last"], slot["pad"])
            ),
            self.beat_switch.eq(active & (t == 0) & ~pool),
            self.beat_pool.eq(pool),
            self.beat_mode.eq(cfg.mode),
            self.beat_double.eq(cfg.row_mode & (cfg.stride_x == 2)),
        ]
        return m

    def _position(
        self, m: Module, active: Signal, final: Signal, last: Signal, group_end: Signal
    ) -> tuple[Signal, Signal]:
        """Address of the present pixel group, relative to the block's; whether it is its row's
        last one.

        A beat (`active`) moves one group on; a slot's last one (`final`) goes back to the start of
        its tile, that of the tile's `last` slot on to the next tile, that of an output group
        (`group_end`) to the start of the map.
        """
        cfg, p = header_fields(self.header, Op.CONV), self.params
        pixel = Signal(ADDRESS_BITS, reset_less=True)
        tile_pixel = Signal(ADDRESS_BITS, reset_less=True)
        column = Signal(13, reset_less=True)
        tile_column = Signal(13, reset_less=True)
        next_column = Signal(13)
        step = Signal(ADDRESS_BITS, reset_less=True)  # to the next group: of row_end
        # `row_end` goes with `column`, `tile_row_end` with `tile_column`.
        row_end, tile_row_end = Signal(reset_less=True), Signal(reset_less=True)
        next_row_end, coming_row_end = Signal(), Signal()
        single_group = Signal(reset_less=True)  # rows of one group
        before_last = Signal(13, reset_less=True)  # column of the group before the last
        with m.If(self.start):
            m.d.sync += [
                before_last.eq(cfg.groups_per_row - 2),
                single_group.eq(cfg.row_mode & (cfg.groups_per_row == 1)),
            ]
        m.d.comb += [
            next_column.eq(Mux(row_end, 0, column + 1)),
            next_row_end.eq(Mux(row_end, single_group, cfg.row_mode & (column == before_last))),
        ]
        next_pixel = add(m, pixel, step, p.banks, "next_pixel")
        started, tile_started = Signal(attrs=KEEP), Signal(attrs=KEEP)
        m.d.sync += [started.eq(self.start), tile_started.eq(self.start)]
        restart = final & group_end
        m.d.comb += coming_row_end.eq(row_end)
        m.d.sync += [
            row_end.eq(coming_row_end),
            step.eq(Mux(coming_row_end, cfg.row_step, cfg.pixel_step)),
        ]
        with m.If(started | restart):
            m.d.sync += [pixel.eq(0), column.eq(0)]
            m.d.comb += coming_row_end.eq(single_group)
        with m.Elif(final & ~last):
            m.d.sync += [pixel.eq(tile_pixel), column.eq(tile_column)]
            m.d.comb += coming_row_end.eq(tile_row_end)
        with m.Elif(active):
            m.d.sync += [pixel.eq(next_pixel), column.eq(next_column)]
            m.d.comb += coming_row_end.eq(next_row_end)
        with m.If(tile_started | restart):
            m.d.sync += [tile_pixel.eq(0), tile_column.eq(0), tile_row_end.eq(single_group)]
        with m.Elif(final & last):
            m.d.sync += [
                tile_pixel.eq(next_pixel),
                tile_column.eq(next_column),
                tile_row_end.eq(next_row_end),
            ]
        return pixel, row_end
