"""One AXI4 read master."""

from __future__ import annotations

from amaranth import Cat, Const, Module, Mux, ResetInserter, Signal, Value
from amaranth.lib import fifo, stream, wiring
from amaranth.lib.wiring import In, Out

from fpga_gen.contract.params import MAX_BURST, PORT_BITS
from fpga_gen.hardware.common.resets import clear, data_register
from fpga_gen.hardware.shell.axi_burst import TRANSFER, BurstPlanner, window_set
from fpga_gen.hardware.shell.axi_fifo import BlockFifo
from fpga_gen.hardware.shell.axi_names import BEAT_SHIFT, READ, SIDEBAND
from fpga_gen_host.registers import WINDOWS

READ_DEPTH = 512  # beats of buffer per port: so much may be in flight
MAX_BURSTS = 32  # that may be in flight
FORGET_CYCLES = 4096  # of a flush without a beat; a power of two, longer than a memory's latency
PORT_RESETS = 2  # copies of the reset: for the FIFO, for the rest


class ReadPort(wiring.Component):
    """Reads transfers {beat address, beats} and streams their beats in order.

    Bursts are issued ahead only into FIFO space that is free (credits), so rready is constantly 1
    and memory latency is hidden up to `depth` beats. Throughput one beat per cycle.

    `flush` = 1 drops queued transfers, finishes outstanding bursts and discards their beats, as
    AXI allows no abandoned burst, and clears the error flags; it must be held until `idle`. Beats
    that show on `data` meanwhile are discarded whether they are taken or not.

    The beats are counted against the lengths of the bursts: one that nobody asked for is dropped,
    and RLAST must come with the last beat of a burst and with no other. A memory that broke these
    rules may owe beats that never come: after FORGET_CYCLES of a flush without any, they are
    forgotten. One that comes later all the same is one that nobody asked for.

    Members: the AXI4 read channels (names of axi_names.READ); transfer: In stream(TRANSFER);
    data: Out stream(128); windows: In, static; flush: In; resets: In, PORT_RESETS copies of the
    reset; idle: Out, nothing queued, outstanding
    or buffered (one cycle late); violation: Out, a transfer was outside every window, it was not
    issued; failed: Out, a beat came with an error or broke a rule; broken: Out, it was the latter;
    failed_response: Out(2), its RRESP, 0 if a rule was broken; received: Out, strobe per beat.
    """

    def __init__(self, *, depth: int = READ_DEPTH) -> None:
        self.depth = depth
        super().__init__(
            {
                **READ,
                "transfer": In(stream.Signature(TRANSFER)),
                "data": Out(stream.Signature(PORT_BITS)),
                "windows": In(window_set(WINDOWS)),
                "flush": In(1),
                "resets": In(PORT_RESETS),
                "idle": Out(1),
                "violation": Out(1),
                "failed": Out(1),
                "broken": Out(1),
                "failed_response": Out(2),
                "received": Out(1),
            }
        )

    def elaborate(self, platform) -> Module:
        m = Module()
        self.planner = BurstPlanner(windows=WINDOWS)
        m.submodules.planner = ResetInserter(self.flush)(self.planner)
        self.buffer = BlockFifo(width=PORT_BITS, depth=self.depth)
        m.submodules.fifo = ResetInserter(self.resets[0])(self.buffer)
        # Lengths of the bursts that are in flight.
        size = self.planner.burst.p.beats
        self.lengths = fifo.SyncFIFO(width=len(size), depth=MAX_BURSTS)
        self.forget = Signal()  # what is in flight
        m.submodules.lengths = ResetInserter(self.resets[1] | self.forget)(self.lengths)
        wiring.connect(m, wiring.flipped(self.transfer), self.planner.transfer)
        m.d.comb += [getattr(self, f"ar{name}").eq(value) for name, value in SIDEBAND.items()]
        m.d.comb += [
            self.planner.windows.eq(self.windows),
            self.violation.eq(self.planner.violation),
            self.data.payload.eq(self.buffer.read.payload),
            self.data.valid.eq(self.buffer.read.valid),
            self.buffer.read.ready.eq(self.data.ready | self.flush),
        ]
        flags = self._address_channel(m)
        more, violation = self._data_channel(m)
        flags += [*more, *self._forget(m, violation)]
        clear(m, self.resets[1], [*flags, self.arvalid, self.idle, self.received, self.failed])
        return m

    def _address_channel(self, m: Module) -> list[Signal]:
        """A burst is issued when there is room for its beats and for its length; returns its
        counters and flags."""
        planner, buffer, lengths = self.planner, self.buffer, self.lengths
        size = planner.burst.p.beats
        credits = Signal(range(self.depth + 1), init=self.depth)  # space not promised to a burst
        issue = Signal()
        pop = Signal()  # one cycle late
        enough = Signal()
        listed = Signal()  # there is room for its length; a burst takes at least two cycles
        address = Signal.like(planner.burst.p.address, reset_less=True)
        m.d.comb += [
            enough.eq((credits >= MAX_BURST) & listed),
            planner.burst.ready.eq((~self.arvalid | self.arready) & enough & ~self.flush),
            issue.eq(planner.burst.valid & planner.burst.ready),
            self.araddr.eq(Cat(Const(0, BEAT_SHIFT), address)),
            lengths.w_data.eq(size),
            lengths.w_en.eq(issue),
        ]
        m.d.sync += listed.eq(lengths.w_level < MAX_BURSTS - 2)
        length = data_register(m, self.arlen)
        with m.If(issue):
            m.d.sync += [
                self.arvalid.eq(1),
                address.eq(planner.burst.p.address),
                length.eq(size - 1),
            ]
        with m.Elif(self.arready):
            m.d.sync += self.arvalid.eq(0)
        m.d.sync += [
            pop.eq(buffer.read.valid & buffer.read.ready),
            credits.eq(credits + pop - Mux(issue, size, 0)),
            self.idle.eq((credits == self.depth) & ~planner.busy & ~issue),
        ]
        with m.If(self.forget):
            m.d.sync += credits.eq(self.depth)
        return [credits, pop, listed]

    def _data_channel(self, m: Module) -> tuple[list[Signal], Value]:
        """Beats, registered once before the FIFO, and what is wrong with them; returns its flags,
        and whether a beat breaks a rule."""
        buffer, lengths = self.buffer, self.lengths
        beat = Signal(PORT_BITS, reset_less=True)
        last = Signal(reset_less=True)
        answer = Signal(2, reset_less=True)
        # Beats of the burst that is being delivered.
        left = Signal(len(lengths.r_data), reset_less=True)
        some = Signal()  # there is one
        final = Signal()  # `left` is 1
        taken = Signal()
        m.d.comb += [
            self.rready.eq(1),
            taken.eq(self.received & some),
            buffer.write.valid.eq(taken),
            buffer.write.payload.eq(beat),
            lengths.r_en.eq(~some | (taken & final)),
        ]
        m.d.sync += [
            self.received.eq(self.rvalid),
            beat.eq(self.rdata),
            last.eq(self.rlast),
            answer.eq(self.rresp),
        ]
        with m.If(lengths.r_en):
            m.d.sync += [
                left.eq(lengths.r_data),
                some.eq(lengths.r_rdy),
                final.eq(lengths.r_rdy & (lengths.r_data == 1)),
            ]
        with m.Elif(taken):
            m.d.sync += [left.eq(left - 1), final.eq(left == 2)]
        with m.If(self.forget):
            m.d.sync += [some.eq(0), final.eq(0)]

        # `some` is never late: a length is there two cycles before the first beat can be.
        wrong = Signal()
        response = data_register(m, self.failed_response)
        broken = data_register(m, self.broken)
        m.d.comb += wrong.eq(~some | (last != final))
        with m.If(self.flush):
            m.d.sync += self.failed.eq(0)
        with m.Elif(self.received & (wrong | answer[1]) & ~self.failed):
            m.d.sync += [
                self.failed.eq(1),
                broken.eq(wrong),
                response.eq(Mux(wrong, 0, answer)),
            ]
        return [some, final], self.received & wrong

    def _forget(self, m: Module, violation: Value) -> list[Signal]:
        """The end of a flush that a memory's missing beats would keep up for ever; returns its
        flags."""
        violated = Signal()
        silent = Signal(range(FORGET_CYCLES))
        over = Signal()
        with m.If(violation):
            m.d.sync += violated.eq(1)
        with m.Elif(self.forget | (self.flush & self.idle)):
            m.d.sync += violated.eq(0)
        with m.If(self.received | ~self.flush):
            m.d.sync += silent.eq(0)
        with m.Elif(~silent.all()):
            m.d.sync += silent.eq(silent + 1)
        # Every address is taken and every beat that came has left the buffer.
        m.d.sync += over.eq(
            violated
            & silent.all()
            & self.flush
            & ~self.received
            & ~self.arvalid
            & (self.buffer.count == 0)
        )
        m.d.comb += self.forget.eq(over & self.flush & ~self.received)
        return [violated, silent, over]
