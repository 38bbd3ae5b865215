"""First machine of the walker: fetches block and tap records of a CONV or POOL and adds their
addresses, one weight slot ahead of the beats.

Without slot lists it counts through the blocks and their taps; with them an entry of the list names
both, so that a slot that is skipped takes no time. Either way a slot takes at most six cycles, less
than its beats.
"""

from __future__ import annotations

from amaranth.hdl import Array, Module, Mux, Signal, ValueLike, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from fpga_gen.contract.address import ADDRESS_BITS
from fpga_gen.contract.isa import Op, width
from fpga_gen.contract.params import CHANNEL_BITS, EngineParams
from fpga_gen.contract.records import SlotEntry
from fpga_gen.hardware.common.address import add
from fpga_gen.hardware.common.fan_out import KEEP
from fpga_gen.hardware.common.joints import GROUP_BITS, TILE, Issue, RecordRead
from fpga_gen.hardware.common.records import BLOCK_RECORD, LIST_ENTRY, LIST_WORD, TAP_RECORD

SLOT = data.StructLayout(  # what the beats of one weight slot must know
    {
        "address": ADDRESS_BITS,
        "dy": signed(width("dy")),
        "dx": signed(width("dx")),
        "pad": 1,
        "first": 1,
        "shift": 1,
        "last": 1,  # last slot of its tile
        "group_end": 1,  # last slot of its output group
        "end": 1,  # last slot of the instruction
    }
)
SLOT_RECORD = data.StructLayout(
    {
        "slot": SLOT,
        "final": GROUP_BITS,  # index of its last pixel group
        "single": 1,  # it is the first one
        "tile": TILE,
    }
)


class SlotRecords(wiring.Component):
    """The header and the tables are stable from `start` while `busy` (of the whole walker).

    records: the next slot's; the tile in it stands one cycle longer than it is offered.
    """

    def __init__(self, params: EngineParams) -> None:
        self.params = params
        super().__init__(
            {
                "issue": In(Issue()),
                "busy": In(1),
                "blocks": Out(RecordRead(BLOCK_RECORD, "n_blocks")),
                "taps": Out(RecordRead(TAP_RECORD, "n_taps")),
                "lists": Out(RecordRead(LIST_WORD, "list_words")),
                "records": Out(stream.Signature(SLOT_RECORD)),
            }
        )

    def elaborate(self, platform) -> Module:
        m = Module()
        self.cfg = self.issue.header.walk
        self.pool = Signal()
        m.d.comb += self.pool.eq(self.cfg.op == Op.POOL)
        self._counters(m)
        self._list(m)
        self._ends(m)
        self._record(m)
        self._machine(m)
        return m

    def _counters(self, m: Module) -> None:
        """Where the machine is, and the output group's place in the result."""
        self.group = Signal(width("n_groups"), reset_less=True)
        self.tile = Signal(width("n_tiles"), reset_less=True)
        self.block_index = Signal(width("n_blocks"), reset_less=True)
        self.tap_index = Signal(width("n_taps"), reset_less=True)
        self.tap_left = Signal(width("tap_count"), reset_less=True)
        self.first_slot, self.was_low, self.first_tile, self.started = (
            Signal(name=n, reset_less=True)
            for n in ("first_slot", "was_low", "first_tile", "started")
        )
        self.base = Signal(ADDRESS_BITS, reset_less=True)
        self.offset = Signal(width("byte_offset"), reset_less=True)
        self.left = Signal(width("channels"), reset_less=True)  # channels not yet in a group
        # Channels to skip on the way to the next group.
        self.carry = Signal(CHANNEL_BITS + 1, reset_less=True)
        self.group_channels = Signal(CHANNEL_BITS, reset_less=True)
        p = self.params
        m.d.sync += self.group_channels.eq(p.group_channels(1))
        for mode in p.modes[1:]:
            with m.If(self.cfg.mode == mode - 1):
                m.d.sync += self.group_channels.eq(p.group_channels(mode))
        with m.If(self.pool):
            m.d.sync += self.group_channels.eq(p.in_channels)
        m.d.comb += [self.blocks.index.eq(self.block_index), self.taps.index.eq(self.tap_index)]

    def _list(self, m: Module) -> None:
        """Place in the slot lists, and the entry there."""
        bits = width("list_words") + (SlotEntry.PER_WORD - 1).bit_length()
        self.listed = Signal(reset_less=True)
        self.entry_index = Signal(bits, reset_less=True)
        self.group_entry = Signal(bits, reset_less=True)  # the first one of the group
        self.final_entry = Signal(reset_less=True)  # the entry that was taken is its group's last
        part = self.entry_index[: bits - width("list_words")]
        m.d.comb += self.lists.index.eq(self.entry_index[len(part) :])
        self.entry = LIST_ENTRY(Array(v.as_value() for v in self.lists.record)[part])
        with m.If(self.issue.start):
            m.d.sync += self.listed.eq(~self.pool & (self.cfg.list_words != 0))

    def _ends(self, m: Module) -> None:
        """What a state needs is registered a state before: nothing waits for a comparison."""
        cfg = self.cfg
        counted = (
            ("block", self.block_index, cfg.n_blocks),
            ("tile", self.tile, cfg.n_tiles),
            ("group", self.group, cfg.n_groups),
        )
        last_of = {
            name: Signal(len(value), name=f"last_{name}", reset_less=True)
            for name, value, _ in counted
        }
        with m.If(self.issue.start):
            m.d.sync += [last_of[name].eq(count - 1) for name, _, count in counted]
        self.last_block, self.last_tile, self.last_group = (
            Signal(reset_less=True, name=f"at_last_{n}") for n in last_of
        )
        self.last_tap = Signal(reset_less=True)  # of the block
        # This slot is the last one of its tile, of its output group, of the instruction: known in
        # PUSH, whose tap was set three cycles before, and whose entry two.
        self.last_slot, self.ends_group, self.ends_all = (
            Signal(reset_less=True, name=n) for n in ("last_slot", "ends_group", "ends_all")
        )
        self.more_taps, self.more_blocks = (
            Signal(name=n, reset_less=True) for n in ("more_taps", "more_blocks")
        )
        ends_tile = Mux(self.listed, self.final_entry, self.last_block & self.last_tap)
        m.d.sync += [
            self.last_tap.eq(self.tap_left == 1),
            self.last_slot.eq(ends_tile),
            self.ends_group.eq(ends_tile & self.last_tile),
            self.ends_all.eq(ends_tile & self.last_tile & self.last_group),
            self.last_block.eq(self.pool | (self.block_index == last_of["block"])),
            self.last_tile.eq(self.tile == last_of["tile"]),
            self.last_group.eq(self.group == last_of["group"]),
            self.more_taps.eq(Mux(self.listed, ~self.final_entry, ~self.last_tap)),
            self.more_blocks.eq(~self.listed & ~self.last_block),
        ]

    def _record(self, m: Module) -> None:
        """The record that is offered, and what it is made of."""
        p, cfg = self.params, self.cfg
        self.record = Signal(SLOT_RECORD, reset_less=True)
        # Copies of `valid`, so that the enables of the record's parts are gates of their own.
        self.filled, self.filled_2 = (Signal(name=n, attrs=KEEP) for n in ("filled", "filled_2"))
        m.d.comb += self.records.payload.eq(self.record)
        with m.If(self.records.ready):
            m.d.sync += [self.records.valid.eq(0), self.filled.eq(0), self.filled_2.eq(0)]
        self.tile_final = Signal(GROUP_BITS, reset_less=True)
        self.channels = Signal(CHANNEL_BITS, reset_less=True)
        self.slot_address = Signal(ADDRESS_BITS, reset_less=True)
        block_address, tap_address = (
            Signal(ADDRESS_BITS, name=n, reset_less=True) for n in ("block_address", "tap_address")
        )
        address = add(m, block_address, tap_address, p.banks, "slot_address_sum")
        m.d.sync += [
            self.tile_final.eq(cfg.tile_groups - 1 - (self.tile >= cfg.long_tiles)),
            self.channels.eq(Mux(self.left < self.group_channels, self.left, self.group_channels)),
            block_address.eq(self.blocks.record.address),
            tap_address.eq(self.taps.record.address),
            self.slot_address.eq(address),
        ]

    def _machine(self, m: Module) -> None:
        block, ci = self.blocks.record, self.params.in_channels
        next_base = add(m, self.base, self.cfg.out_plane, self.params.banks, "next_base")
        in_group = self.in_group = Signal()  # the state GROUP
        m.d.sync += self.carry.eq(Mux(in_group, self.carry - ci, self.offset + self.group_channels))
        with m.FSM(name="prepare"):
            with m.State("IDLE"):
                with m.If(self.issue.start):
                    self._begin(m)
                    m.next = "BLOCK"
            with m.State("BLOCK"):  # the record arrives in the next cycle
                m.next = "BLOCK_READ"
                with m.If(self.listed):
                    m.next = "ENTRY"
            with m.State("BLOCK_READ"):
                m.d.sync += [
                    self.tap_index.eq(block.tap_start),
                    self.tap_left.eq(block.tap_count),
                ]
                m.next = "TAP"
            with m.State("ENTRY"):
                m.d.sync += [
                    self.block_index.eq(self.entry.block),
                    self.tap_index.eq(self.entry.tap),
                    self.final_entry.eq(self.entry.final),
                    self.entry_index.eq(self.entry_index + 1),
                ]
                m.next = "TAP"
            with m.State("TAP"):
                m.next = "TAP_READ"
            with m.State("TAP_READ"):
                m.next = "TAP_ADD"
            with m.State("TAP_ADD"):  # its address is added to the block's
                m.next = "PUSH"
            with m.State("PUSH"):
                self._fill(m)
                with m.If(~self.records.valid):
                    self._move_on(m)
            with m.State("GROUP"):  # move the output base to the next group's first channel
                with m.If(self.carry >= ci):
                    m.d.sync += self.base.eq(next_base)
                with m.Else():
                    m.d.sync += [self.offset.eq(self.carry), in_group.eq(0)]
                    m.next = "BLOCK"
            with m.State("DRAIN"):
                with m.If(~self.busy):
                    m.next = "IDLE"

    def _begin(self, m: Module) -> None:
        cfg = self.cfg
        m.d.sync += [
            self.group.eq(0),
            self.tile.eq(0),
            self.block_index.eq(0),
            self.first_slot.eq(1),
            self.first_tile.eq(1),
            self.started.eq(0),
            self.entry_index.eq(0),
            self.group_entry.eq(0),
            self.base.eq(cfg.out_base),
            self.offset.eq(cfg.byte_offset),
            self.left.eq(cfg.channels),
        ]

    def _fill(self, m: Module) -> None:
        """The slot's record, when the one before is taken."""
        slot, tile = self.record.slot, self.record.tile
        block, tap = self.blocks.record, self.taps.record
        with m.If(~self.filled):
            m.d.sync += [
                slot.address.eq(self.slot_address),
                slot.dy.eq(tap.dy),
                slot.dx.eq(tap.dx),
                slot.pad.eq(block.pad),
            ]
        with m.If(~self.filled_2):
            m.d.sync += [
                tile.base.eq(self.base),
                tile.byte_offset.eq(self.offset),
                tile.channels.eq(self.channels),
            ]
        with m.If(~self.records.valid):
            m.d.sync += [
                self.records.valid.eq(1),
                self.filled.eq(1),
                self.filled_2.eq(1),
                slot.first.eq(self.first_slot),
                slot.shift.eq(block.shift & ~self.was_low & ~self.first_slot),
                self.was_low.eq(block.shift),
                slot.last.eq(self.last_slot),
                slot.group_end.eq(self.ends_group),
                slot.end.eq(self.ends_all),
                self.record.final.eq(self.tile_final),
                self.record.single.eq(self.tile_final == 0),
                tile.groups.eq(self.tile_final + 1),
                tile.new_instruction.eq(~self.started),
                tile.new_group.eq(self.first_tile),
            ]

    def _move_on(self, m: Module) -> None:
        """Goes to the next tap, block, tile or output group."""
        m.d.sync += self.first_slot.eq(0)
        with m.If(self.more_taps):
            m.d.sync += [
                self.tap_left.eq(self.tap_left - 1),
                self.tap_index.eq(self.tap_index + 1),
            ]
            m.next = "TAP"
            with m.If(self.listed):
                m.next = "ENTRY"
        with m.Elif(self.more_blocks):
            m.d.sync += self.block_index.eq(self.block_index + 1)
            m.next = "BLOCK"
        with m.Else():
            m.d.sync += [
                self.block_index.eq(self._first_block(self.group)),
                self.first_slot.eq(1),
                self.started.eq(1),
                self.first_tile.eq(0),
                self.tile.eq(self.tile + 1),
                self.entry_index.eq(self.group_entry),
            ]
            with m.If(~self.ends_group):
                m.next = "BLOCK"
            with m.Elif(~self.ends_all):
                m.d.sync += [
                    self.group.eq(self.group + 1),
                    self.tile.eq(0),
                    self.first_tile.eq(1),
                    self.entry_index.eq(self.entry_index),
                    self.group_entry.eq(self.entry_index),
                    self.block_index.eq(self._first_block(self.group + 1)),
                    self.left.eq(self.left - self.group_channels),
                    self.in_group.eq(1),
                ]
                m.next = "GROUP"
            with m.Else():
                m.next = "DRAIN"

    def _first_block(self, group: ValueLike) -> ValueLike:
        """Block that an output group begins with: a POOL has one for each."""
        return Mux(self.pool, group, 0)
