"""One AXI4 read master."""

from __future__ import annotations

from amaranth import Cat, Const, Module, Mux, ResetInserter, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from fpga_gen.contract.params import MAX_BURST, PORT_BITS
from fpga_gen.hardware.common.resets import data_register
from fpga_gen.hardware.shell.axi_burst import TRANSFER, WINDOW_SET, BurstPlanner
from fpga_gen.hardware.shell.axi_fifo import BlockFifo
from fpga_gen.hardware.shell.axi_names import BEAT_SHIFT, READ, SIDEBAND

READ_DEPTH = 512  # beats of buffer per port: so much may be in flight


class ReadPort(wiring.Component):
    """Reads transfers {beat address, beats} and streams their beats in order.

    Bursts are issued ahead only into FIFO space that is free (credits), so rready is constantly 1
    and memory latency is hidden up to `depth` beats. Throughput one beat per cycle.

    `flush` = 1 drops queued transfers, finishes outstanding bursts and discards their beats, as
    AXI allows no abandoned burst, and clears the error flags; it must be held until `idle`.

    Members: the AXI4 read channels (names of axi_names.READ); transfer: In stream(TRANSFER);
    data: Out stream(128); windows: In, static; flush: In; idle: Out, nothing queued, outstanding
    or buffered (one cycle late); violation: Out, a transfer was outside every window, it was not
    issued; failed: Out, a beat came with an error; failed_response: Out(2), its RRESP;
    received: Out, strobe per beat.
    """

    def __init__(self, *, depth: int = READ_DEPTH) -> None:
        self.depth = depth
        super().__init__(
            {
                **READ,
                "transfer": In(stream.Signature(TRANSFER)),
                "data": Out(stream.Signature(PORT_BITS)),
                "windows": In(WINDOW_SET),
                "flush": In(1),
                "idle": Out(1),
                "violation": Out(1),
                "failed": Out(1),
                "failed_response": Out(2),
                "received": Out(1),
            }
        )

    def elaborate(self, platform) -> Module:
        m = Module()
        planner = BurstPlanner()
        m.submodules.planner = ResetInserter(self.flush)(planner)
        m.submodules.fifo = fifo = BlockFifo(width=PORT_BITS, depth=self.depth)
        wiring.connect(m, wiring.flipped(self.transfer), planner.transfer)
        m.d.comb += [getattr(self, f"ar{name}").eq(value) for name, value in SIDEBAND.items()]
        m.d.comb += [planner.windows.eq(self.windows), self.violation.eq(planner.violation)]

        # Address channel. Credits: beats of FIFO space not promised to a burst.
        credits = Signal(range(self.depth + 1), init=self.depth)
        issue = Signal()
        pop = Signal()  # one cycle late
        enough = Signal()
        address = Signal.like(planner.burst.p.address, reset_less=True)
        m.d.comb += [
            enough.eq(credits >= MAX_BURST),
            planner.burst.ready.eq((~self.arvalid | self.arready) & enough & ~self.flush),
            issue.eq(planner.burst.valid & planner.burst.ready),
            self.araddr.eq(Cat(Const(0, BEAT_SHIFT), address)),
        ]
        length = data_register(m, self.arlen)
        with m.If(issue):
            m.d.sync += [
                self.arvalid.eq(1),
                address.eq(planner.burst.p.address),
                length.eq(planner.burst.p.beats - 1),
            ]
        with m.Elif(self.arready):
            m.d.sync += self.arvalid.eq(0)
        m.d.sync += pop.eq(fifo.read.valid & fifo.read.ready)
        m.d.sync += credits.eq(credits + pop - Mux(issue, planner.burst.p.beats, 0))

        # Data channel, registered once before the FIFO.
        beat = Signal(PORT_BITS, reset_less=True)
        m.d.comb += [
            self.rready.eq(1),
            fifo.write.valid.eq(self.received),
            fifo.write.payload.eq(beat),
        ]
        m.d.sync += [self.received.eq(self.rvalid), beat.eq(self.rdata)]
        response = data_register(m, self.failed_response)
        with m.If(self.flush):
            m.d.sync += self.failed.eq(0)
        with m.Elif(self.rvalid & self.rresp[1] & ~self.failed):
            m.d.sync += [self.failed.eq(1), response.eq(self.rresp)]

        m.d.comb += [
            self.data.payload.eq(fifo.read.payload),
            self.data.valid.eq(fifo.read.valid & ~self.flush),
            fifo.read.ready.eq(self.data.ready | self.flush),
        ]
        m.d.sync += self.idle.eq((credits == self.depth) & ~planner.busy & ~issue)
        return m
