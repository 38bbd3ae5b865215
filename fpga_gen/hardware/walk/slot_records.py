"""First machine of the walker: fetches block and tap records of a CONV or POOL and adds their
addresses, one weight slot ahead of the beats.

Without slot lists it counts through the blocks and their taps; with them an entry of the list names
both, so that a slot that is skipped takes no time. Either way a slot takes at most six cycles, less
than its beats.
"""

from __future__ import annotations

from amaranth.hdl import Array, Module, Mux, Signal, Value, signed
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
from fpga_gen.hardware.common.states import ALWAYS, States

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
STATES = ("IDLE", "BLOCK", "BLOCK_READ", "ENTRY", "TAP", "TAP_READ", "TAP_ADD", "PUSH", "GROUP",
          "DRAIN")  # fmt: skip


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
        self.more_taps = Signal(reset_less=True)
        # Output group of the next slot, if this is the last one of its tile.
        self.group_after = Signal(len(self.group), reset_less=True)
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
            self.group_after.eq(Mux(ends_tile & self.last_tile, self.group + 1, self.group)),
        ]

    def _record(self, m: Module) -> None:
        """The record that is offered, and what it is made of."""
        p, cfg = self.params, self.cfg
        self.record = Signal(SLOT_RECORD, reset_less=True)
        # Copies of `valid`, so that the enables of the record's parts are gates of their own.
        self.filled = [Signal(name=f"filled_{n}", attrs=KEEP) for n in range(3)]
        m.d.comb += self.records.payload.eq(self.record)
        with m.If(self.records.ready):
            m.d.sync += [self.records.valid.eq(0), *(copy.eq(0) for copy in self.filled)]
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
        states = States(STATES)
        now = states.now
        ci = self.params.in_channels
        more = self.carry >= ci  # planes to go on to the next group's first channel
        for source, target, when in (
            ("IDLE", "BLOCK", self.issue.start),
            ("BLOCK", "ENTRY", self.listed),  # the record arrives in the next cycle
            ("BLOCK", "BLOCK_READ", ALWAYS),
            ("BLOCK_READ", "TAP", ALWAYS),
            ("ENTRY", "TAP", ALWAYS),
            ("TAP", "TAP_READ", ALWAYS),
            ("TAP_READ", "TAP_ADD", ALWAYS),  # its address is added to the block's
            ("TAP_ADD", "PUSH", ALWAYS),
            ("PUSH", "PUSH", self.records.valid),
            ("PUSH", "ENTRY", self.more_taps & self.listed),
            ("PUSH", "TAP", self.more_taps),
            ("PUSH", "BLOCK", ~self.ends_group),
            ("PUSH", "GROUP", ~self.ends_all),
            ("PUSH", "DRAIN", ALWAYS),
            ("GROUP", "BLOCK", ~more),  # the output base moves on, a plane a cycle
            ("DRAIN", "IDLE", ~self.busy),
        ):
            states.move(source, target, when)
        states.build(m)
        # IDLE sets out whatever follows: no register waits for `start`.
        idle = [states.copy(m, "IDLE", f"idle_{n}") for n in range(2)]
        self._fill(m, now["PUSH"])
        pushed = now["PUSH"] & ~self.records.valid
        self._places(m, now, idle[0], pushed)
        self._group_base(m, now["GROUP"], idle[1], more, pushed)

    def _places(self, m: Module, now: dict[str, Signal], idle: Signal, pushed: Value) -> None:
        """Group, tile, block, entry and tap of the next slot."""
        block, last, ends_group = self.blocks.record, self.last_slot, self.ends_group
        following = Mux(last, self._first_block(self.group_after), self.block_index + 1)
        entry = Mux(now["ENTRY"], self.entry_index + 1, self.group_entry)
        with m.If(idle | now["ENTRY"] | (pushed & ~self.more_taps)):
            m.d.sync += self.block_index.eq(
                Mux(idle, 0, Mux(now["ENTRY"], self.entry.block, following))
            )
        with m.If(idle | now["ENTRY"] | (pushed & last & ~ends_group)):
            m.d.sync += self.entry_index.eq(Mux(idle, 0, entry))
        with m.If(idle | (pushed & ends_group)):
            m.d.sync += [
                self.group.eq(Mux(idle, 0, self.group + 1)),
                self.group_entry.eq(Mux(idle, 0, self.entry_index)),
            ]
        with m.If(idle | (pushed & last)):
            m.d.sync += [
                self.tile.eq(Mux(idle | ends_group, 0, self.tile + 1)),
                self.started.eq(~idle),
                self.first_tile.eq(idle | ends_group),
            ]
        with m.If(idle | pushed):
            m.d.sync += self.first_slot.eq(idle | last)
        with m.If(now["ENTRY"]):
            m.d.sync += [self.tap_index.eq(self.entry.tap), self.final_entry.eq(self.entry.final)]
        with m.Elif(now["BLOCK_READ"]):
            m.d.sync += [self.tap_index.eq(block.tap_start), self.tap_left.eq(block.tap_count)]
        with m.Elif(pushed & self.more_taps):
            m.d.sync += [
                self.tap_index.eq(self.tap_index + 1),
                self.tap_left.eq(self.tap_left - 1),
            ]

    def _group_base(
        self, m: Module, in_group: Signal, idle: Signal, more: Value, pushed: Value
    ) -> None:
        """Where the output group's channels begin in the result, and how many are left."""
        cfg, p = self.cfg, self.params
        next_base = add(m, self.base, cfg.out_plane, p.banks, "next_base")
        carried = Mux(in_group, self.carry - p.in_channels, self.offset + self.group_channels)
        m.d.sync += self.carry.eq(carried)
        with m.If(idle):
            m.d.sync += [self.base.eq(cfg.out_base), self.offset.eq(cfg.byte_offset)]
        with m.Elif(in_group):
            with m.If(more):
                m.d.sync += self.base.eq(next_base)
            with m.Else():
                m.d.sync += self.offset.eq(self.carry)
        with m.If(idle):
            m.d.sync += self.left.eq(cfg.channels)
        with m.Elif(pushed & self.ends_group):
            m.d.sync += self.left.eq(self.left - self.group_channels)

    def _fill(self, m: Module, in_push: Signal) -> None:
        """The slot's record, when the one before is taken."""
        slot, tile = self.record.slot, self.record.tile
        block, tap = self.blocks.record, self.taps.record
        with m.If(in_push & ~self.filled[0]):
            m.d.sync += [
                slot.address.eq(self.slot_address),
                slot.dy.eq(tap.dy),
                slot.dx.eq(tap.dx),
                slot.pad.eq(block.pad),
            ]
        with m.If(in_push & ~self.filled[1]):
            m.d.sync += [
                tile.base.eq(self.base),
                tile.byte_offset.eq(self.offset),
                tile.channels.eq(self.channels),
            ]
        with m.If(in_push & ~self.filled[2]):
            m.d.sync += [
                self.records.valid.eq(1),
                *(copy.eq(1) for copy in self.filled),
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

    def _first_block(self, group: Value) -> Value:
        """Block that an output group begins with: a POOL has one for each."""
        return Mux(self.pool, group, 0)
