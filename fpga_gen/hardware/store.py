"""Store unit: consecutive memory words to the output region, packed into 128-bit beats."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import fifo, wiring
from amaranth.lib.wiring import In, Out

from fpga_gen.hardware.address import add, constant, delay
from fpga_gen.hardware.config_view import header_fields
from fpga_gen.hardware.params import PORT_BITS, EngineParams
from fpga_gen.isa import ADDRESS_BITS, HEADER_WORDS, Op

FIFO_DEPTH = 32


class StoreUnit(wiring.Component):
    """Runs one STORE: one memory word per cycle while the write port keeps up.

    command_*: {offset, beats} of the write (valid/ready); data_*: its beats (valid/ready).
    read_data is the word of read_address, `read_latency` cycles later.
    """

    def __init__(self, params: EngineParams, *, read_latency: int) -> None:
        self.params = params
        self.read_latency = read_latency
        super().__init__(
            {
                "header": In(64 * HEADER_WORDS),
                "start": In(1),
                "busy": Out(1),
                "read_valid": Out(1),
                "read_address": Out(ADDRESS_BITS),
                "read_data": In(params.word_bits),
                "command_valid": Out(1),
                "command_ready": In(1),
                "command_offset": Out(32),
                "command_beats": Out(24),
                "data_valid": Out(1),
                "data_ready": In(1),
                "data": Out(PORT_BITS),
            }
        )

    def elaborate(self, platform) -> Module:
        m = Module()
        p = self.params
        cfg = header_fields(self.header, Op.STORE)
        per_beat = PORT_BITS // p.word_bits
        m.submodules.beats = beats = fifo.SyncFIFOBuffered(width=PORT_BITS, depth=FIFO_DEPTH)
        address = Signal(ADDRESS_BITS)
        left = Signal(24)
        pending = Signal(range(FIFO_DEPTH * per_beat + 1))  # words issued, not yet sent on
        arrived = delay(m, self.read_valid, self.read_latency, "arrived", reset_less=False)
        next_address = add(m, address, constant(1, p.banks), p.banks, "store_next")
        sent = Signal()
        m.d.comb += [
            sent.eq(self.data_valid & self.data_ready),
            self.read_address.eq(address),
            self.data_valid.eq(beats.r_rdy),
            self.data.eq(beats.r_data),
            beats.r_en.eq(self.data_ready),
            self.command_offset.eq(cfg.offset),
            self.command_beats.eq(cfg.words // per_beat),
        ]
        with m.FSM(name="store"):
            with m.State("IDLE"):
                with m.If(self.start):
                    m.d.sync += [address.eq(cfg.base), left.eq(cfg.words), self.busy.eq(1)]
                    m.next = "COMMAND"
            with m.State("COMMAND"):
                m.d.comb += self.command_valid.eq(1)
                with m.If(self.command_ready):
                    m.next = "READ"
            with m.State("READ"):
                with m.If(left == 0):
                    with m.If(pending == 0):
                        m.d.sync += self.busy.eq(0)
                        m.next = "IDLE"
                with m.Elif(pending < (FIFO_DEPTH - 2) * per_beat):
                    m.d.comb += self.read_valid.eq(1)
                    m.d.sync += [address.eq(next_address), left.eq(left - 1)]
        m.d.sync += pending.eq(pending + self.read_valid - Mux(sent, per_beat, 0))
        # Collect words into a beat, first word lowest.
        collected = Signal(PORT_BITS, reset_less=True)
        count = Signal(range(max(per_beat, 2)))
        complete = Signal()
        m.d.sync += complete.eq(arrived & (count == per_beat - 1))
        with m.If(arrived):
            m.d.sync += count.eq(Mux(count == per_beat - 1, 0, count + 1))
            for index in range(per_beat):
                with m.If(count == index):
                    m.d.sync += collected.word_select(index, p.word_bits).eq(self.read_data)
        m.d.comb += [beats.w_en.eq(complete), beats.w_data.eq(collected)]
        return m
