"""Map walker: turns one CONV or POOL instruction into memory reads and array beats.

Two small machines: `SlotRecords` prepares one weight slot ahead, `Beats` issues one pixel group per
cycle. A slot lasts at least `slot_minimum` cycles, because staged weights need that long to move
through the array's skewed registers. The first slot's beats carry first = 1, the last slot's
last = 1 (see isa.py for loop order).
"""

from __future__ import annotations

from amaranth.hdl import Module, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from fpga_gen.contract.isa import Op
from fpga_gen.contract.params import EngineParams
from fpga_gen.hardware.common.fan_out import LOADS, copies, copies_for
from fpga_gen.hardware.common.joints import TOKEN, Beat, Issue, LaneMotion, RecordRead, Tiles
from fpga_gen.hardware.common.records import BLOCK_RECORD, LIST_WORD, TAP_RECORD
from fpga_gen.hardware.walk.beats import Beats
from fpga_gen.hardware.walk.slot_records import SlotRecords


class Walker(wiring.Component):
    """See module docstring. The header and the tables are stable while `busy`.

    credit_add: pulse, one more slot is staged; the start of a slot claims one.
    tiles: one token for every tile; a tile's last slot starts only when the token register is
    empty and `drain_free` says that its drain memory will be.
    give_way: a pulse asks for one cycle without a beat, at the next start of a slot.
    stall_weights, stall_drain: a slot waits for its weights, for the exit path.
    """

    credit_latency = 4  # least distance of a slot's credit_add and the switch of its beat

    def __init__(self, params: EngineParams) -> None:
        self.params = params
        super().__init__(
            {
                "issue": In(Issue()),
                "busy": Out(1),
                "blocks": Out(RecordRead(BLOCK_RECORD, "n_blocks")),
                "taps": Out(RecordRead(TAP_RECORD, "n_taps")),
                "lists": Out(RecordRead(LIST_WORD, "list_words")),
                "credit_add": In(1),
                "give_way": In(1),
                "tiles": Out(Tiles()),
                "beat": Out(Beat(params)),
                "motion": Out(LaneMotion()),
                "stall_weights": Out(1),
                "stall_drain": Out(1),
            }
        )

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.records = records = SlotRecords(self.params)
        m.submodules.beats = beats = Beats(self.params)
        connect(m, flipped(self.issue), records.issue, beats.issue)
        connect(m, flipped(self.blocks), records.blocks)
        connect(m, flipped(self.taps), records.taps)
        connect(m, flipped(self.lists), records.lists)
        connect(m, records.records, beats.records)
        connect(m, flipped(self.beat), beats.beat)
        connect(m, flipped(self.motion), beats.motion)
        token = self.tiles.token
        m.d.comb += [
            records.busy.eq(beats.busy),
            beats.token_valid.eq(token.valid),
            beats.credit_add.eq(self.credit_add),
            beats.drain_free.eq(self.tiles.drain_free),
            beats.give_way.eq(self.give_way),
            self.busy.eq(beats.busy),
            self.stall_weights.eq(beats.stall_weights),
            self.stall_drain.eq(beats.stall_drain),
        ]
        record = records.records.payload
        self._token(m, record, records.records.ready & record.slot.last, beats.push)
        return m

    def _token(self, m: Module, record: data.View, last_taken: Value, push: Value) -> None:
        """The tile's token, one cycle after its last slot began; the record still stands."""
        token, header = self.tiles.token, self.issue.header
        with m.If(token.valid & token.ready):
            m.d.sync += token.valid.eq(0)
        with m.If(push):
            m.d.sync += token.valid.eq(1)
        made, held = Signal(TOKEN), Signal(TOKEN, reset_less=True)
        m.d.comb += [
            made.header.eq(header),
            made.tile.eq(record.tile),
            made.pool.eq(header.walk.op == Op.POOL),
            token.payload.eq(held),
        ]
        source, target = made.as_value(), held.as_value()
        enables = copies(m, last_taken, copies_for(len(target)), "push",
                         reset_less=False)  # fmt: skip
        for n, enable in enumerate(enables):
            part = slice(n * LOADS, (n + 1) * LOADS)
            with m.If(enable):
                m.d.sync += target[part].eq(source[part])
