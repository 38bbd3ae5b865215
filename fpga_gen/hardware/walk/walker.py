"""Map walker: turns one CONV or POOL instruction into memory reads and array beats.

Two small machines: `SlotRecords` prepares one weight slot ahead, `Beats` issues one pixel group per
cycle. A slot lasts at least `slot_minimum` cycles, because staged weights need that long to move
through the array's skewed registers. The first slot's beats carry first = 1, the last slot's
last = 1 (see isa.py for loop order).
"""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from fpga_gen.contract.isa import HEADER_WORDS, Op
from fpga_gen.contract.params import EngineParams
from fpga_gen.hardware.common.config_view import header_fields
from fpga_gen.hardware.common.fan_out import LOADS, copies, copies_for
from fpga_gen.hardware.walk.beats import Beats, beat_members
from fpga_gen.hardware.walk.slot_records import TILE_FIELDS, SlotRecords

TOKEN_FIELDS = {**TILE_FIELDS, "pool": 1}


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
            **beat_members(params),
        }
        members |= {f"token_{k}": Out(v) for k, v in TOKEN_FIELDS.items()}
        super().__init__(members)

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.records = records = SlotRecords(self.params)
        m.submodules.beats = beats = Beats(self.params, slot_minimum=self.slot_minimum)
        m.d.comb += [
            records.start.eq(self.start),
            records.busy.eq(beats.busy),
            records.header.eq(self.header),
            self.block_index.eq(records.block_index),
            records.block.eq(self.block),
            self.tap_index.eq(records.tap_index),
            records.tap.eq(self.tap),
            records.take.eq(beats.take),
            beats.valid.eq(records.valid),
            beats.record.eq(records.record),
            beats.start.eq(self.start),
            beats.header.eq(self.header),
            beats.token_valid.eq(self.token_valid),
            beats.lanes_ready.eq(self.lanes_ready),
            beats.credit_add.eq(self.credit_add),
            beats.drain_free.eq(self.drain_free),
            beats.give_way.eq(self.give_way),
            self.busy.eq(beats.busy),
        ]
        m.d.comb += [
            getattr(self, name).eq(getattr(beats, name)) for name in beat_members(self.params)
        ]
        self._token(m, records.record, beats.take & records.record.last, beats.push)
        return m

    def _token(self, m: Module, record: data.View, last_taken: Value, push: Value) -> None:
        """The tile's token, one cycle after its last slot began; the record still stands."""
        pool = header_fields(self.header, Op.CONV).op == Op.POOL
        with m.If(self.token_valid & self.token_ready):
            m.d.sync += self.token_valid.eq(0)
        with m.If(push):
            m.d.sync += self.token_valid.eq(1)
        facts = [record[k] if k != "pool" else pool for k in TOKEN_FIELDS]
        members = [getattr(self, f"token_{k}") for k in TOKEN_FIELDS]
        source, target = Cat(self.header, *facts), Cat(self.token_header, *members)
        token = Signal(len(source), reset_less=True)
        m.d.comb += target.eq(token)
        enables = copies(m, last_taken, copies_for(len(token)), "push",
                         reset_less=False)  # fmt: skip
        for n, enable in enumerate(enables):
            part = slice(n * LOADS, (n + 1) * LOADS)
            with m.If(enable):
                m.d.sync += token[part].eq(source[part])
