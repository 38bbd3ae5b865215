"""Map walker: turns one CONV or POOL instruction into memory reads and array beats.

Two small machines: `prepare` fetches block and tap records and adds their addresses, one weight
slot ahead; `beats` issues one pixel group per cycle. A slot lasts at least `slot_minimum` cycles,
because staged weights need that long to move through the array's skewed registers.
The first slot's beats carry first = 1, the last slot's last = 1 (see isa.py for loop order).
"""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from fpga_gen.hardware.address import add
from fpga_gen.hardware.config_view import Fields, header_fields
from fpga_gen.hardware.fan_out import KEEP, LOADS, copies, copies_for
from fpga_gen.hardware.params import EngineParams
from fpga_gen.isa import ADDRESS_BITS, BLOCK, HEADER_WORDS, TAP, Op

TOKEN_FIELDS = {  # what the exit path must know of one finished tile
    "groups": 7,  # pixel groups in the tile
    "new_instruction": 1,
    "new_group": 1,
    "base": ADDRESS_BITS,  # plane that holds the group's first channel
    "byte_offset": 4,
    "channels": 7,
    "pool": 1,
}


class Walker(wiring.Component):
    """See module docstring. `header` and the tables are stable while `busy`.

    credit: a staged slot exists (pulse credit_add per slot); claim is implied by a slot start.
    token: one tile for the exit path; a tile's last slot starts only when the token register is
    empty and `drain_free` says that its drain memory will be.
    give_way: a pulse asks for one cycle without a beat, at the next start of a slot.
    Beat outputs are registered: beat_valid, t, first, shift, last, switch, pad, address, mode.
    """

    credit_latency = 4  # least distance of a slot's credit_add and its beat_switch

    def __init__(self, params: EngineParams, *, slot_minimum: int) -> None:
        self.params = params
        self.slot_minimum = slot_minimum
        t_bits = (params.tile_groups - 1).bit_length()
        members = {
            "start": In(1),
            "busy": Out(1),
            "header": In(64 * HEADER_WORDS),
            "block_index": Out(8),
            "block": In(64),
            "tap_index": Out(8),
            "tap": In(64),
            "lanes_ready": In(1),
            "credit_add": In(1),
            "drain_free": In(1),
            "give_way": In(1),
            "token_valid": Out(1),
            "token_ready": In(1),
            "token_header": Out(64 * HEADER_WORDS),
            "beat_valid": Out(1),
            "beat_t": Out(t_bits),
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
        members |= {f"token_{k}": Out(v) for k, v in TOKEN_FIELDS.items()}
        super().__init__(members)

    def elaborate(self, platform) -> Module:
        m = Module()
        self.cfg = header_fields(self.header, Op.CONV)
        self.pool = Signal()
        m.d.comb += self.pool.eq(self.cfg.op == Op.POOL)
        self._record(m)
        self._prepare(m)
        self._beats(m)
        return m

    def _record(self, m: Module) -> None:
        """The slot that `prepare` has ready for `beats`."""
        # A copy, so that the enables of the record's halves are gates of their own.
        self.rec_valid, self.rec_filled = Signal(), Signal(attrs=KEEP)
        self.rec_take = Signal()
        shapes = {
            "address": ADDRESS_BITS,
            "dy": 12,
            "dx": 12,
            "pad": 1,
            "first": 1,
            "shift": 1,
            "last": 1,  # last slot of its tile
            "group_end": 1,  # last slot of its output group
            "end": 1,  # last slot of the instruction
            "final": 7,  # index of its last pixel group
            "single": 1,  # it is the first one
            **{k: v for k, v in TOKEN_FIELDS.items() if k != "pool"},
        }
        self.rec = {k: Signal(v, name=f"rec_{k}", reset_less=True) for k, v in shapes.items()}
        with m.If(self.rec_take):
            m.d.sync += [self.rec_valid.eq(0), self.rec_filled.eq(0)]

    def _prepare(self, m: Module) -> None:
        cfg, p = self.cfg, self.params
        block = Fields(self.block, BLOCK)
        tap = Fields(self.tap, TAP)
        group = Signal(12, reset_less=True)
        tile = Signal(16, reset_less=True)
        block_index = Signal(8, reset_less=True)
        tap_left = Signal(8, reset_less=True)
        first_slot = Signal(reset_less=True)
        first_tap = Signal(reset_less=True)
        first_tile = Signal(reset_less=True)
        started = Signal(reset_less=True)
        base = Signal(ADDRESS_BITS, reset_less=True)
        offset = Signal(4, reset_less=True)
        left = Signal(16, reset_less=True)  # channels not yet in a group
        group_channels = Signal(7, reset_less=True)
        m.d.sync += group_channels.eq(p.group_channels(1))
        for mode in p.modes[1:]:
            with m.If(cfg.mode == mode - 1):
                m.d.sync += group_channels.eq(p.group_channels(mode))
        with m.If(self.pool):
            m.d.sync += group_channels.eq(p.in_channels)
        tap_index = Signal(8, reset_less=True)
        m.d.comb += [self.block_index.eq(block_index), self.tap_index.eq(tap_index)]
        # What a state needs is registered a state before: nothing waits for a comparison.
        last_of = {
            name: Signal(len(value), name=f"last_{name}", reset_less=True)
            for name, value in (("block", block_index), ("tile", tile), ("group", group))
        }
        with m.If(self.start):
            m.d.sync += [
                last_of["block"].eq(cfg.n_blocks - 1),
                last_of["tile"].eq(cfg.n_tiles - 1),
                last_of["group"].eq(cfg.n_groups - 1),
            ]
        last_block, last_tile, last_group = (
            Signal(reset_less=True, name=f"at_last_{n}") for n in last_of
        )
        last_slot = Signal(reset_less=True)
        tile_final = Signal(7, reset_less=True)
        channels = Signal(7, reset_less=True)
        offset_address = Signal(ADDRESS_BITS, reset_less=True)
        block_address = Signal(ADDRESS_BITS, reset_less=True)
        tap_address = Signal(ADDRESS_BITS, reset_less=True)
        address = add(m, block_address, tap_address, p.banks, "slot_address")
        next_base = add(m, base, cfg.out_plane, p.banks, "next_base")
        m.d.sync += [
            last_block.eq(self.pool | (block_index == last_of["block"])),
            last_tile.eq(tile == last_of["tile"]),
            last_group.eq(group == last_of["group"]),
            last_slot.eq(last_block & (tap_left == 1)),
            tile_final.eq(cfg.tile_groups - 1 - (tile >= cfg.long_tiles)),
            channels.eq(Mux(left < group_channels, left, group_channels)),
            block_address.eq(block.address),
            tap_address.eq(tap.address),
            offset_address.eq(address),
        ]
        carry = Signal(8, reset_less=True)  # channels still to skip when moving to the next group
        rec = self.rec
        with m.FSM(name="prepare"):
            with m.State("IDLE"):
                with m.If(self.start):
                    m.d.sync += [
                        group.eq(0),
                        tile.eq(0),
                        block_index.eq(0),
                        first_slot.eq(1),
                        first_tile.eq(1),
                        started.eq(0),
                        base.eq(cfg.out_base),
                        offset.eq(cfg.byte_offset),
                        left.eq(cfg.channels),
                    ]
                    m.next = "BLOCK"
            with m.State("BLOCK"):  # the record arrives in the next cycle
                m.next = "BLOCK_READ"
            with m.State("BLOCK_READ"):
                m.d.sync += [
                    tap_index.eq(block.tap_start),
                    tap_left.eq(block.tap_count),
                    first_tap.eq(1),
                ]
                m.next = "TAP"
            with m.State("TAP"):
                m.next = "TAP_READ"
            with m.State("TAP_READ"):
                m.next = "TAP_ADD"
            with m.State("TAP_ADD"):  # its address is added to the block's
                m.next = "PUSH"
            with m.State("PUSH"):
                with m.If(~self.rec_filled):
                    m.d.sync += [
                        rec["address"].eq(offset_address),
                        rec["dy"].eq(tap.dy),
                        rec["dx"].eq(tap.dx),
                        rec["pad"].eq(block.pad),
                    ]
                with m.If(~self.rec_valid):
                    m.d.sync += [
                        self.rec_valid.eq(1),
                        self.rec_filled.eq(1),
                        rec["first"].eq(first_slot),
                        rec["shift"].eq(block.shift & first_tap),
                        rec["last"].eq(last_slot),
                        rec["group_end"].eq(last_slot & last_tile),
                        rec["end"].eq(last_slot & last_tile & last_group),
                        rec["final"].eq(tile_final),
                        rec["single"].eq(tile_final == 0),
                        rec["groups"].eq(tile_final + 1),
                        rec["new_instruction"].eq(~started),
                        rec["new_group"].eq(first_tile),
                        rec["base"].eq(base),
                        rec["byte_offset"].eq(offset),
                        rec["channels"].eq(channels),
                        first_slot.eq(0),
                        first_tap.eq(0),
                    ]
                    with m.If(tap_left != 1):
                        m.d.sync += [tap_left.eq(tap_left - 1), tap_index.eq(tap_index + 1)]
                        m.next = "TAP"
                    with m.Elif(~last_block):
                        m.d.sync += block_index.eq(block_index + 1)
                        m.next = "BLOCK"
                    with m.Else():
                        m.d.sync += [
                            block_index.eq(Mux(self.pool, group, 0)),
                            first_slot.eq(1),
                            started.eq(1),
                            first_tile.eq(0),
                            tile.eq(tile + 1),
                        ]
                        with m.If(~last_tile):
                            m.next = "BLOCK"
                        with m.Elif(~last_group):
                            m.d.sync += [
                                group.eq(group + 1),
                                tile.eq(0),
                                first_tile.eq(1),
                                block_index.eq(Mux(self.pool, group + 1, 0)),
                                left.eq(left - group_channels),
                                carry.eq(offset + group_channels),
                            ]
                            m.next = "GROUP"
                        with m.Else():
                            m.next = "DRAIN"
            with m.State("GROUP"):  # move the output base to the next group's first channel
                with m.If(carry >= p.in_channels):
                    m.d.sync += [carry.eq(carry - p.in_channels), base.eq(next_base)]
                with m.Else():
                    m.d.sync += offset.eq(carry)
                    m.next = "BLOCK"
            with m.State("DRAIN"):
                with m.If(~self.busy):
                    m.next = "IDLE"

    def _beats(self, m: Module) -> None:
        cfg, p, rec = self.cfg, self.params, self.rec
        slot = {
            k: Signal(len(rec[k]), name=f"slot_{k}", reset_less=True)
            for k in (
                "address",
                "dy",
                "dx",
                "pad",
                "first",
                "shift",
                "last",
                "group_end",
                "end",
            )
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
        push = Signal(attrs=KEEP)  # a token is on its way
        token_taken = Signal()
        m.d.sync += [
            drain_free.eq(self.drain_free),
            token_taken.eq(self.token_valid),
            push.eq(begin & rec["last"]),
        ]
        m.d.comb += [
            old_enough.eq(age >= self.slot_minimum - 1),
            idle.eq(final | ~active),
            weights_ready.eq(self.pool | (credit != 0)),
            # One cycle more than the token: `drain_free` is that old.
            token_blocked.eq(rec["last"] & (~drain_free | self.token_valid | token_taken | push)),
            may_start.eq(self.rec_valid & weights_ready & ~token_blocked & self.lanes_ready),
            could_begin.eq(may_start & old_enough & idle),
            begin.eq(could_begin & ~give_way),
            self.rec_take.eq(begin),
            self.busy.eq(running),
            self.stall_weights.eq(self.rec_valid & ~weights_ready & idle),
            self.stall_drain.eq(self.rec_valid & weights_ready & token_blocked & idle),
        ]
        credit_add = Signal()
        m.d.sync += [
            credit_add.eq(self.credit_add),
            credit.eq(credit + credit_add - (begin & ~self.pool)),
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
                left.eq(rec["final"]),
                final.eq(rec["single"]),
            ]
        with m.If(idle):  # a slot that does not begin does no harm
            m.d.sync += [slot[k].eq(rec[k]) for k in slot]
        self._token(m, push)
        # Pixel address, relative to the block, of the group that is being issued.
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
        group_end = final & slot["group_end"]
        with m.If(started | group_end):
            m.d.sync += [pixel.eq(0), column.eq(0), row_end.eq(single_group)]
        with m.Elif(final & ~slot["last"]):
            m.d.sync += [pixel.eq(tile_pixel), column.eq(tile_column), row_end.eq(tile_row_end)]
        with m.Elif(active):
            m.d.sync += [pixel.eq(next_pixel), column.eq(next_column), row_end.eq(next_row_end)]
        with m.If(tile_started | group_end):
            m.d.sync += [tile_pixel.eq(0), tile_column.eq(0), tile_row_end.eq(single_group)]
        with m.Elif(final & slot["last"]):
            m.d.sync += [
                tile_pixel.eq(next_pixel),
                tile_column.eq(next_column),
                tile_row_end.eq(next_row_end),
            ]
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
            self.beat_switch.eq(active & (t == 0) & ~self.pool),
            self.beat_pool.eq(self.pool),
            self.beat_mode.eq(cfg.mode),
            self.beat_double.eq(cfg.row_mode & (cfg.stride_x == 2)),
        ]

    def _token(self, m: Module, push: Value) -> None:
        """The tile's token, one cycle after its last slot began; the record still stands."""
        with m.If(self.token_valid & self.token_ready):
            m.d.sync += self.token_valid.eq(0)
        with m.If(push):
            m.d.sync += self.token_valid.eq(1)
        facts = [self.rec[k] if k != "pool" else self.pool for k in TOKEN_FIELDS]
        members = [getattr(self, f"token_{k}") for k in TOKEN_FIELDS]
        source, target = Cat(self.header, *facts), Cat(self.token_header, *members)
        token = Signal(len(source), reset_less=True)
        m.d.comb += target.eq(token)
        enables = copies(m, self.rec_take & self.rec["last"], copies_for(len(token)), "push",
                         reset_less=False)  # fmt: skip
        for n, enable in enumerate(enables):
            part = slice(n * LOADS, (n + 1) * LOADS)
            with m.If(enable):
                m.d.sync += token[part].eq(source[part])
