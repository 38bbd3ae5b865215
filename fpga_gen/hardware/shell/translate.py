"""Transfers of the engine, given by their place in a region, to addresses."""

from __future__ import annotations

from amaranth import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from fpga_gen.contract.isa import width
from fpga_gen.hardware.common.fan_out import KEEP
from fpga_gen.hardware.shell.axi_burst import TRANSFER
from fpga_gen.hardware.shell.axi_names import BEAT_ADDRESS_BITS


class Translate(wiring.Component):
    """transfer.address = base + offset, in beats, in two registered stages.

    Members:
        valid, base, offset, length: In, a transfer; ready: Out, a register.
        transfer: Out. pending: Out, one is in the stages. clear: In, drops it.
    """

    def __init__(self) -> None:
        super().__init__(
            {
                "valid": In(1),
                "base": In(BEAT_ADDRESS_BITS),
                "offset": In(width("offset")),
                "length": In(width("words")),
                "ready": Out(1),
                "transfer": Out(stream.Signature(TRANSFER)),
                "pending": Out(1),
                "clear": In(1),
            }
        )

    def elaborate(self, platform) -> Module:
        m = Module()
        held = Signal()
        summed_valid = Signal()
        held_base = Signal(BEAT_ADDRESS_BITS, reset_less=True)
        held_offset = Signal(len(self.offset), reset_less=True)
        held_length = Signal(len(self.length), reset_less=True)
        summed = Signal(TRANSFER, reset_less=True)
        # Copies, so that the enables of wide registers are gates of their own.
        held_data = Signal(attrs=KEEP)
        summed_data = Signal(attrs=KEEP)
        advance, ready = Signal(), Signal()
        m.d.comb += [
            advance.eq(~summed_valid | self.transfer.ready),
            ready.eq(~held),  # who asks waits for a register only
            self.ready.eq(ready),
            self.transfer.valid.eq(summed_valid),
            self.transfer.payload.eq(summed),
            self.pending.eq(held | summed_valid),
        ]
        with m.If(advance):
            m.d.sync += [summed_valid.eq(held), summed_data.eq(held)]
        with m.If(~summed_data | self.transfer.ready):
            m.d.sync += [summed.address.eq(held_base + held_offset), summed.beats.eq(held_length)]
        with m.If(ready):
            m.d.sync += [held.eq(self.valid), held_data.eq(self.valid), held_base.eq(self.base)]
        with m.Elif(advance):
            m.d.sync += [held.eq(0), held_data.eq(0)]
        with m.If(~held_data):
            m.d.sync += [held_offset.eq(self.offset), held_length.eq(self.length)]
        with m.If(self.clear):
            m.d.sync += [s.eq(0) for s in (held, held_data, summed_valid, summed_data)]
        return m
