"""One AXI4 write master."""

from __future__ import annotations

from amaranth import Cat, Const, Module, Mux, ResetInserter, Signal, signed
from amaranth.lib import fifo, stream, wiring
from amaranth.lib.wiring import In, Out

from fpga_gen.contract.params import MAX_BURST, PORT_BITS, WRITE_BUFFER, WRITE_ROOM
from fpga_gen.hardware.common.fan_out import KEEP
from fpga_gen.hardware.common.resets import clear, data_register
from fpga_gen.hardware.shell.axi_burst import TRANSFER, BurstPlanner, window_set
from fpga_gen.hardware.shell.axi_fifo import PART, BlockFifo
from fpga_gen.hardware.shell.axi_names import BEAT_BYTES, BEAT_SHIFT, SIDEBAND, WRITE

MAX_RESPONSES = 16  # bursts without a response
BURST_QUEUE_DEPTH = 4


class WritePort(wiring.Component):
    """Writes transfers {beat address, beats} with the beats of a data stream, in order.

    A burst is announced only when all its beats are in the FIFO, so a slow producer never blocks
    the interconnect and every announced burst can be finished, also after `flush`.

    `flush` = 1 drops queued transfers and buffered beats that belong to no announced burst,
    finishes announced bursts with their true data, and clears the error flags; it must be held
    until `drained`.

    Members: the AXI4 write channels (names of axi_names.WRITE); transfer: In stream(TRANSFER);
    data: In stream(128); room: Out, WRITE_ROOM more beats are taken after it falls; windows: In,
    one, static; flush: In, also high in a reset; resets: In, copies of the reset for the FIFO and
    for the rest; idle: Out, every accepted transfer is written and answered (falls in the cycle
    after a transfer is accepted); drained: Out, idle and no beat is buffered; violation: Out, a
    transfer was outside the window, it was not issued; failed: Out, a response was an error or
    came before the last beat of its burst was taken; broken: Out, it was the latter;
    failed_response: Out(2), its BRESP, or 0;
    sent: Out, strobe per beat.
    """

    def __init__(self, *, depth: int = WRITE_BUFFER) -> None:
        assert depth >= MAX_BURST, "the FIFO must hold a whole burst"
        self.depth = depth
        super().__init__(
            {
                **WRITE,
                "transfer": In(stream.Signature(TRANSFER)),
                "data": In(stream.Signature(PORT_BITS)),
                "room": Out(1),
                "windows": In(window_set(1)),
                "flush": In(1),
                "idle": Out(1),
                "resets": In(2),
                "drained": Out(1),
                "violation": Out(1),
                "failed": Out(1),
                "broken": Out(1),
                "failed_response": Out(2),
                "sent": Out(1),
            }
        )

    def elaborate(self, platform) -> Module:
        m = Module()
        self.planner = BurstPlanner(windows=1)
        m.submodules.planner = ResetInserter(self.flush)(self.planner)
        self.beats = BlockFifo(width=PORT_BITS, depth=self.depth)
        m.submodules.beats = ResetInserter(self.resets[0])(self.beats)
        # Lengths of the bursts that are announced, for the data channel.
        self.bursts = fifo.SyncFIFO(width=len(self.planner.burst.p.beats), depth=BURST_QUEUE_DEPTH)
        m.submodules.bursts = ResetInserter(self.resets[1])(self.bursts)
        wiring.connect(m, wiring.flipped(self.transfer), self.planner.transfer)
        m.d.comb += [getattr(self, f"aw{name}").eq(value) for name, value in SIDEBAND.items()]
        m.d.comb += [
            self.planner.windows.eq(self.windows),
            self.violation.eq(self.planner.violation),
        ]
        self.issue, self.discard = Signal(), Signal()
        flags = [*self._account(m), *self._data_channel(m)]
        self._address_channel(m)
        flags += self._responses(m)
        flags += [self.awvalid, self.room, self.sent, self.failed]
        clear(m, self.resets[1], flags)
        return m

    def _account(self, m: Module) -> list[Signal]:
        """Beats that come in, and bursts that may be announced; returns its flags."""
        planner, beats, issue = self.planner, self.beats, self.issue
        available = Signal(range(self.depth + 1))  # buffered beats that belong to no burst
        unanswered = Signal(range(MAX_RESPONSES + 1))
        push = Signal()
        # Registered; what they need can only come, not go, while a burst waits.
        self.covered = Signal()  # its beats are there, and room for its length and response
        self.quiet = Signal(init=1)  # no response is outstanding
        self.sending = Signal()  # beats of announced bursts are still to be taken
        size = planner.burst.p.beats
        m.d.comb += [
            beats.write.payload.eq(self.data.payload),
            beats.write.valid.eq(self.data.valid & ~self.flush),
            self.data.ready.eq(beats.write.ready & ~self.flush),
            push.eq(self.data.valid & self.data.ready),
        ]
        m.d.sync += self.room.eq(beats.count < self.depth - WRITE_ROOM - 2)
        change = Signal(signed(2))  # one cycle late: a burst waits for a beat a cycle longer
        m.d.sync += [
            change.eq(push - self.discard),
            available.eq(available + change - Mux(issue, size, 0)),
            unanswered.eq(unanswered + issue - (self.bvalid & unanswered.any())),
            self.quiet.eq((unanswered == 0) & ~issue & ~self.sending),
            self.covered.eq(
                (available >= size)
                & self.bursts.w_rdy
                & (unanswered != MAX_RESPONSES)
                & planner.burst.valid
                & ~issue
            ),
        ]
        return [available, change, unanswered, self.covered, self.quiet]

    def _address_channel(self, m: Module) -> None:
        burst = self.planner.burst
        address = Signal.like(burst.p.address, reset_less=True)
        m.d.comb += [
            burst.ready.eq((~self.awvalid | self.awready) & self.covered & ~self.flush),
            self.issue.eq(burst.valid & burst.ready),
            self.awaddr.eq(Cat(Const(0, BEAT_SHIFT), address)),
            self.bursts.w_data.eq(burst.p.beats),
            self.bursts.w_en.eq(self.issue),
        ]
        length = data_register(m, self.awlen)
        with m.If(self.issue):
            m.d.sync += [
                self.awvalid.eq(1),
                address.eq(burst.p.address),
                length.eq(burst.p.beats - 1),
            ]
        with m.Elif(self.awready):
            m.d.sync += self.awvalid.eq(0)

    def _data_channel(self, m: Module) -> list[Signal]:
        """The beats of one burst after the other, through an output register; returns its flags."""
        beats, bursts = self.beats, self.bursts
        # Beats of the current burst not yet in the output register.
        left = Signal(len(bursts.r_data), reset_less=True)
        some = Signal()  # left is not 0
        last = Signal()  # left is 1
        load = Signal()
        dropping = Signal(reset_less=True)  # a cycle late: no burst is announced in a flush
        m.d.sync += dropping.eq(self.flush & ~some & ~bursts.r_rdy)
        m.d.comb += [
            load.eq(some & beats.read.valid & (~self.wvalid | self.wready)),
            bursts.r_en.eq(~some | (load & last)),
            self.discard.eq(self.flush & dropping & beats.read.valid),
            beats.read.ready.eq(load | self.discard),
            self.wstrb.eq((1 << BEAT_BYTES) - 1),
        ]
        with m.If(bursts.r_en):
            m.d.sync += [
                left.eq(bursts.r_data),
                some.eq(bursts.r_rdy),
                last.eq(bursts.r_rdy & (bursts.r_data == 1)),
            ]
        with m.Elif(load):
            m.d.sync += [left.eq(left - 1), last.eq(left == 2)]
        words, valids = [], []  # a copy of `wvalid` for every part of the word that it gates
        for at in range(0, PORT_BITS, PART):
            word = Signal(min(PART, PORT_BITS - at), name=f"word_{at}", reset_less=True)
            valid = Signal(name=f"wvalid_{at}", attrs=KEEP)
            with m.If(some & beats.read.valid & (~valid | self.wready)):
                m.d.sync += [valid.eq(1), word.eq(beats.read.payload[at : at + PART])]
            with m.Elif(self.wready):
                m.d.sync += valid.eq(0)
            words.append(word)
            valids.append(valid)
        m.d.comb += [self.wvalid.eq(valids[0]), self.wdata.eq(Cat(words))]
        final = data_register(m, self.wlast)
        with m.If(load):
            m.d.sync += final.eq(last)
        m.d.comb += self.sending.eq(some | bursts.r_rdy | self.wvalid)
        m.d.sync += self.sent.eq(self.wvalid & self.wready)
        return [some, last, *valids]

    def _responses(self, m: Module) -> list[Signal]:
        """Answers, each of a burst whose last beat was taken; returns its flags."""
        owed = Signal(range(MAX_RESPONSES + BURST_QUEUE_DEPTH))  # answers of such bursts
        awaited = Signal()
        m.d.comb += [
            self.bready.eq(1),
            self.idle.eq(~self.planner.busy & self.quiet),
            self.drained.eq(self.idle & (self.beats.count == 0)),
            awaited.eq(owed.any()),
        ]
        ended = self.wvalid & self.wready & self.wlast
        m.d.sync += owed.eq(owed + ended - (self.bvalid & awaited))
        with m.If(self.flush & self.idle):  # those that were answered too soon
            m.d.sync += owed.eq(0)
        response = data_register(m, self.failed_response)
        broken = data_register(m, self.broken)
        with m.If(self.flush):
            m.d.sync += self.failed.eq(0)
        with m.Elif(self.bvalid & (self.bresp[1] | ~awaited) & ~self.failed):
            m.d.sync += [
                self.failed.eq(1),
                broken.eq(~awaited),
                response.eq(Mux(awaited, self.bresp, 0)),
            ]
        return [owed]
