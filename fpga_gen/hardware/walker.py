"""Map walker: turns one CONV or POOL instruction into memory reads and array beats.

Two small machines: `prepare` fetches block and tap records and adds their addresses, one weight
slot ahead; `beats` issues one pixel group per cycle. A slot lasts at least `slot_minimum` cycles,
because staged weights need that long to move through the array's skewed registers.
The first slot's beats carry first = 1, the last slot's last = 1 (see isa.py for loop order).
"""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from fpga_gen.hardware.address import add
from fpga_gen.hardware.config_view import Fields, header_fields
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
    Beat outputs are registered: beat_valid, t, first, shift, last, switch, pad, address, mode.
    """

    credit_latency = 3  # least distance of a slot's credit_add and its beat_switch

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
        self.rec_valid = Signal()
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
            **{k: v for k, v in TOKEN_FIELDS.items() if k != "pool"},
        }
        self.rec = {k: Signal(v, name=f"rec_{k}", reset_less=True) for k, v in shapes.items()}
        with m.If(self.rec_take):
            m.d.sync += self.rec_valid.eq(0)

    def _prepare(self, m: Module) -> None:
        cfg, p = self.cfg, self.params
        block = Fields(self.block, BLOCK)
        tap = Fields(self.tap, TAP)
        group = Signal(12)
        tile = Signal(16)
        block_index = Signal(8)
        tap_left = Signal(8)
        first_slot = Signal()
        first_tap = Signal()
        first_tile = Signal()
        started = Signal()
        base = Signal(ADDRESS_BITS)
        offset = Signal(4)
        left = Signal(16)  # channels not yet in a group
        group_channels = Signal(7)
        m.d.comb += group_channels.eq(p.group_channels(1))
        for mode in p.modes[1:]:
            with m.If(cfg.mode == mode - 1):
                m.d.comb += group_channels.eq(p.group_channels(mode))
        with m.If(self.pool):
            m.d.comb += group_channels.eq(p.in_channels)
        tap_index = Signal(8)
        m.d.comb += [self.block_index.eq(block_index), self.tap_index.eq(tap_index)]
        address = add(m, block.address, tap.address, p.banks, "slot_address")
        next_base = add(m, base, cfg.out_plane, p.banks, "next_base")
        last_block = self.pool | (block_index == cfg.n_blocks - 1)
        last_slot = Signal()
        last_tile = Signal()
        last_group = Signal()
        m.d.comb += [
            last_slot.eq(last_block & (tap_left == 1)),
            last_tile.eq(tile == cfg.n_tiles - 1),
            last_group.eq(group == cfg.n_groups - 1),
        ]
        carry = Signal(8)  # channels still to skip when moving to the next group
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
                m.next = "PUSH"
            with m.State("PUSH"):
                with m.If(~self.rec_valid | self.rec_take):
                    m.d.sync += [
                        self.rec_valid.eq(1),
                        rec["address"].eq(address),
                        rec["dy"].eq(tap.dy),
                        rec["dx"].eq(tap.dx),
                        rec["pad"].eq(block.pad),
                        rec["first"].eq(first_slot),
                        rec["shift"].eq(block.shift & first_tap),
                        rec["last"].eq(last_slot),
                        rec["group_end"].eq(last_slot & last_tile),
                        rec["end"].eq(last_slot & last_tile & last_group),
                        rec["groups"].eq(cfg.tile_groups - (tile >= cfg.long_tiles)),
                        rec["new_instruction"].eq(~started),
                        rec["new_group"].eq(first_tile),
                        rec["base"].eq(base),
                        rec["byte_offset"].eq(offset),
                        rec["channels"].eq(Mux(left < group_channels, left, group_channels)),
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
                "groups",
            )
        }
        active = Signal()
        running = Signal()  # from start to the last beat
        t = Signal(7)
        age = Signal(range(self.slot_minimum + 1))  # beats since the slot began, saturating
        credit = Signal(3)
        old_enough = Signal()
        final_beat = Signal()
        may_start = Signal()
        begin = Signal()
        token_blocked = Signal()
        weights_ready = Signal()
        m.d.comb += [
            old_enough.eq(age >= self.slot_minimum - 1),
            final_beat.eq(active & (t == slot["groups"] - 1)),
            weights_ready.eq(self.pool | (credit != 0)),
            token_blocked.eq(rec["last"] & (~self.drain_free | self.token_valid)),
            may_start.eq(self.rec_valid & weights_ready & ~token_blocked & self.lanes_ready),
            begin.eq(may_start & old_enough & (final_beat | ~active)),
            self.rec_take.eq(begin),
            self.busy.eq(running),
            self.stall_weights.eq(self.rec_valid & ~weights_ready & (final_beat | ~active)),
            self.stall_drain.eq(
                self.rec_valid & weights_ready & token_blocked & (final_beat | ~active)
            ),
        ]
        m.d.sync += credit.eq(credit + self.credit_add - (begin & ~self.pool))
        with m.If(self.start):
            m.d.sync += [running.eq(1), age.eq(self.slot_minimum)]
        with m.Elif(final_beat & slot["end"]):
            m.d.sync += running.eq(0)
        with m.If(age != self.slot_minimum):
            m.d.sync += age.eq(age + 1)
        with m.If(active):
            m.d.sync += t.eq(t + 1)
        with m.If(final_beat):
            m.d.sync += active.eq(0)
        with m.If(begin):
            m.d.sync += [active.eq(1), t.eq(0), age.eq(0)]
            m.d.sync += [slot[k].eq(rec[k]) for k in slot]
        # Tile token.
        with m.If(self.token_valid & self.token_ready):
            m.d.sync += self.token_valid.eq(0)
        with m.If(begin & rec["last"]):
            m.d.sync += [self.token_valid.eq(1), self.token_header.eq(self.header)]
            m.d.sync += self.token_pool.eq(self.pool)
            m.d.sync += [
                getattr(self, f"token_{k}").eq(rec[k]) for k in TOKEN_FIELDS if k != "pool"
            ]
        # Pixel address, relative to the block, of the group that is being issued.
        pixel = Signal(ADDRESS_BITS)
        tile_pixel = Signal(ADDRESS_BITS)
        column = Signal(13)
        tile_column = Signal(13)
        next_column = Signal(13)
        row_end = Signal()
        step = Signal(ADDRESS_BITS)
        m.d.comb += [
            row_end.eq(cfg.row_mode & (column == cfg.groups_per_row - 1)),
            step.eq(Mux(row_end, cfg.row_step, cfg.pixel_step)),
            next_column.eq(Mux(row_end, 0, column + 1)),
        ]
        next_pixel = add(m, pixel, step, p.banks, "next_pixel")
        with m.If(self.start):
            m.d.sync += [pixel.eq(0), tile_pixel.eq(0), column.eq(0), tile_column.eq(0)]
        with m.Elif(final_beat & ~slot["last"]):
            m.d.sync += [pixel.eq(tile_pixel), column.eq(tile_column)]
        with m.Elif(final_beat & slot["group_end"]):
            m.d.sync += [pixel.eq(0), tile_pixel.eq(0), column.eq(0), tile_column.eq(0)]
        with m.Elif(active):
            m.d.sync += [pixel.eq(next_pixel), column.eq(next_column)]
            with m.If(final_beat):
                m.d.sync += [tile_pixel.eq(next_pixel), tile_column.eq(next_column)]
        m.d.comb += [
            self.row_end.eq(row_end),
            self.advance.eq(active & ~final_beat),
            self.restore.eq(final_beat & ~slot["last"]),
            self.commit.eq(final_beat & slot["last"] & ~slot["group_end"]),
            self.reinit.eq(final_beat & slot["group_end"]),
            self.beat_dy.eq(slot["dy"]),
            self.beat_dx.eq(slot["dx"]),
        ]
        address = add(m, slot["address"], pixel, p.banks, "beat_address_sum")
        m.d.sync += [
            self.beat_valid.eq(active),
            self.beat_t.eq(t),
            self.beat_address.eq(address),
            Cat(self.beat_first, self.beat_shift, self.beat_last, self.beat_pad).eq(
                Cat(slot["first"], slot["shift"], slot["last"], slot["pad"])
            ),
            self.beat_switch.eq(active & (t == 0) & ~self.pool),
            self.beat_pool.eq(self.pool),
            self.beat_mode.eq(cfg.mode),
            self.beat_double.eq(cfg.row_mode & (cfg.stride_x == 2)),
        ]
