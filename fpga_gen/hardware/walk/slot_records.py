"""First machine of the walker: fetches block and tap records of a CONV or POOL and adds their
addresses, one weight slot ahead of the beats."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from fpga_gen.contract.isa import ADDRESS_BITS, BLOCK, HEADER_WORDS, TAP, Op
from fpga_gen.contract.params import EngineParams
from fpga_gen.hardware.common.address import add
from fpga_gen.hardware.common.config_view import Fields, header_fields
from fpga_gen.hardware.common.fan_out import KEEP

TILE_FIELDS = {  # what the exit path must know of one finished tile, besides whether it is a pool's
    "groups": 7,  # pixel groups in the tile
    "new_instruction": 1,
    "new_group": 1,
    "base": ADDRESS_BITS,  # plane that holds the group's first channel
    "byte_offset": 4,
    "channels": 7,
}
SLOT_FIELDS = {  # what the beats of one weight slot must know
    "address": ADDRESS_BITS,
    "dy": 12,
    "dx": 12,
    "pad": 1,
    "first": 1,
    "shift": 1,
    "last": 1,  # last slot of its tile
    "group_end": 1,  # last slot of its output group
    "end": 1,  # last slot of the instruction
}
RECORD = data.StructLayout(
    {
        **SLOT_FIELDS,
        "final": 7,  # index of its last pixel group
        "single": 1,  # it is the first one
        **TILE_FIELDS,
    }
)


class SlotRecords(wiring.Component):
    """`header` and the tables are stable from `start` while `busy` (of the whole walker).

    block_index/tap_index -> block/tap one cycle later. record: the next slot's, while `valid`,
    until the pulse `take`; its tile fields stand one cycle longer.
    """

    def __init__(self, params: EngineParams) -> None:
        self.params = params
        super().__init__(
            {
                "start": In(1),
                "busy": In(1),
                "header": In(64 * HEADER_WORDS),
                "block_index": Out(8),
                "block": In(64),
                "tap_index": Out(8),
                "tap": In(64),
                "valid": Out(1),
                "take": In(1),
                "record": Out(RECORD),
            }
        )

    def elaborate(self, platform) -> Module:
        m = Module()
        p = self.params
        cfg = header_fields(self.header, Op.CONV)
        pool = Signal()
        record = Signal(RECORD, reset_less=True)
        # Copies of `valid`, so that the enables of the record's parts are gates of their own.
        filled, filled_2 = Signal(attrs=KEEP), Signal(attrs=KEEP)
        m.d.comb += [pool.eq(cfg.op == Op.POOL), self.record.eq(record)]
        with m.If(self.take):
            m.d.sync += [self.valid.eq(0), filled.eq(0), filled_2.eq(0)]
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
        with m.If(pool):
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
            last_block.eq(pool | (block_index == last_of["block"])),
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
                with m.If(~filled):
                    m.d.sync += [
                        record.address.eq(offset_address),
                        record.dy.eq(tap.dy),
                        record.dx.eq(tap.dx),
                        record.pad.eq(block.pad),
                    ]
                with m.If(~filled_2):
                    m.d.sync += [
                        record.base.eq(base),
                        record.byte_offset.eq(offset),
                        record.channels.eq(channels),
                    ]
                with m.If(~self.valid):
                    m.d.sync += [
                        self.valid.eq(1),
                        filled.eq(1),
                        filled_2.eq(1),
                        record.first.eq(first_slot),
                        record.shift.eq(block.shift & first_tap),
                        record.last.eq(last_slot),
                        record.group_end.eq(last_slot & last_tile),
                        record.end.eq(last_slot & last_tile & last_group),
                        record.final.eq(tile_final),
                        record.single.eq(tile_final == 0),
                        record.groups.eq(tile_final + 1),
                        record.new_instruction.eq(~started),
                        record.new_group.eq(first_tile),
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
                            block_index.eq(Mux(pool, group, 0)),
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
                                block_index.eq(Mux(pool, group + 1, 0)),
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
        return m
