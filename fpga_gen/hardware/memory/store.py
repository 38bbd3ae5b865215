"""Store unit: consecutive memory words to the output region, as 128-bit beats."""

from __future__ import annotations

from amaranth.hdl import Array, Cat, Module, Mux, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from fpga_gen.contract.address import ADDRESS_BITS
from fpga_gen.contract.isa import width
from fpga_gen.contract.latencies import READ_LATENCY
from fpga_gen.contract.params import PORT_BITS, WRITE_ROOM, EngineParams
from fpga_gen.hardware.common.address import add, constant, delay
from fpga_gen.hardware.common.fan_out import KEEP, LOADS, copies, copies_for, tree
from fpga_gen.hardware.common.joints import STORE, Issue, MemoryRead, StoreBeats
from fpga_gen.hardware.common.resets import data_register


class StoreUnit(wiring.Component):
    """Runs one STORE beside the other units: up to one beat per cycle, `params.store_words` memory
    words per access, while the write port has room.

    The header is read with the start and in the cycle after it. Reading begins when `results_in`
    says that all earlier results are in memory, and goes on in cycles when nobody else reads
    (`granted`); `request` asks the walker to leave one free.

    command: the transfer, in beats; beats: its data. busy: from start to the last beat.
    """

    def __init__(self, params: EngineParams) -> None:
        self.params = params
        access_bits = params.store_words * params.word_bits
        self.beats_per_access = access_bits // PORT_BITS
        # Fewer accesses than this are on their way when `room` falls.
        assert (READ_LATENCY + 4) + 2 * self.beats_per_access <= WRITE_ROOM
        super().__init__(
            {
                "issue": In(Issue()),
                "busy": Out(1),
                "results_in": In(1),
                "request": Out(1),
                "granted": In(1),
                "read": Out(MemoryRead(params, params.store_words)),
                "command": Out(stream.Signature(STORE)),
                "beats": Out(StoreBeats()),
            }
        )

    def elaborate(self, platform) -> Module:
        m = Module()
        self._send(m, *self._read(m))
        return m

    def _read(self, m: Module) -> tuple[Value, Value]:
        """Accesses. Returns whether one is made, and the beats to send of it, less one."""
        p, beats = self.params, self.beats_per_access
        per_beat = PORT_BITS // p.word_bits
        cfg = self.issue.header.store
        address = Signal(ADDRESS_BITS, reset_less=True)
        left = Signal(width("words"), reset_less=True)  # beats that are not yet read
        some, final = Signal(), Signal()  # any left; one access reads them all
        results_in = Signal()  # since the start
        reading, in_read = Signal(), Signal()  # in_read: the state READ
        pause = Signal(range(max(beats, 2)))  # cycles until the next access may come
        # pause is 0; the first copy is for all but the address.
        ready = [Signal(name=f"ready_{n}", init=1, attrs=KEEP) for n in range(2)]
        settle = Signal(range(READ_LATENCY + beats + 2))
        settled = Signal(reset_less=True)  # settle has reached its end
        want, step = Signal(), Signal()
        asked = Signal()
        behind = Signal(range(max(beats, 2)))
        next_address = add(m, address, constant(p.store_words, p.banks), p.banks, "store_next")
        m.d.comb += [
            final.eq(left <= beats),
            reading.eq(in_read & results_in),
            want.eq(reading & some & ready[0] & self.beats.room),
            self.read.valid.eq(want & self.granted),
            step.eq(reading & some & ready[1] & self.beats.room & self.granted),
            self.read.address.eq(address),
            behind.eq(Mux(final, left - 1, beats - 1)),
        ]
        m.d.sync += [
            settled.eq(settle == READ_LATENCY + beats - 1),
            self.request.eq(want & ~self.read.valid & ~asked),
            asked.eq(want & ~self.read.valid),
        ]
        with m.If(step):
            m.d.sync += address.eq(next_address)
        with m.If(self.read.valid):
            m.d.sync += [left.eq(left - beats), some.eq(~final), pause.eq(beats - 1)]
            m.d.sync += [copy.eq(beats == 1) for copy in ready]
        with m.Elif(pause != 0):
            m.d.sync += pause.eq(pause - 1)
            m.d.sync += [copy.eq(pause == 1) for copy in ready]
        with m.If(self.results_in):
            m.d.sync += results_in.eq(1)
        command = data_register(m, self.command.payload)
        with m.FSM(name="store"):
            with m.State("IDLE"):
                m.d.sync += results_in.eq(0)
                with m.If(self.issue.start):
                    m.d.sync += [
                        address.eq(cfg.base),
                        left.eq(cfg.words // per_beat),
                        some.eq(cfg.words.any()),
                        self.busy.eq(1),
                    ]
                    m.next = "FIELDS"
            with m.State("FIELDS"):  # in a cycle of their own: fewer loads
                m.d.sync += [
                    command.offset.eq(cfg.offset),
                    command.beats.eq(cfg.words // per_beat),
                ]
                m.next = "COMMAND"
            with m.State("COMMAND"):
                m.d.comb += self.command.valid.eq(1)
                with m.If(self.command.ready):
                    m.d.sync += in_read.eq(1)
                    m.next = "READ"
            with m.State("READ"):
                m.d.sync += settle.eq(0)
                with m.If(~some):
                    m.d.sync += in_read.eq(0)
                    m.next = "SETTLE"
            with m.State("SETTLE"):  # until the last beat is sent
                m.d.sync += settle.eq(settle + 1)
                with m.If(settled):
                    m.d.sync += self.busy.eq(0)
                    m.next = "IDLE"
        return self.read.valid, behind

    def _send(self, m: Module, taken: Value, behind: Value) -> None:
        """The words of an access, and from there beat by beat, first word lowest. behind: beats
        after the first one of an access that is made."""
        bits = len(self.read.data)
        late = delay(m, Cat(taken, behind), READ_LATENCY - 1, "taken")
        late = copies(m, late, 1, "arrived")[0]  # no output of a shift register
        arrived, more = late[0], late[1:]
        words = Signal(bits, reset_less=True)
        counts = [1] * (READ_LATENCY - 1) + [copies_for(bits)]
        enables = tree(m, taken, counts, "capture")
        for n, enable in enumerate(enables):
            part = slice(n * LOADS, min((n + 1) * LOADS, bits))
            with m.If(enable):
                m.d.sync += words[part].eq(self.read.data[part])
        left = Signal.like(behind)  # beats after the one that is sent
        index = Signal(range(max(self.beats_per_access, 2)))
        at = Signal.like(index)  # the beat that is sent next
        m.d.comb += at.eq(Mux(arrived, 0, index + 1))
        m.d.sync += index.eq(at)
        with m.If(arrived):
            m.d.sync += [self.beats.valid.eq(1), left.eq(more)]
        with m.Else():
            m.d.sync += [self.beats.valid.eq(left != 0), left.eq(Mux(left != 0, left - 1, 0))]
        loads = max(1, self.beats_per_access // 4)  # of a bit: a LUT chooses among four beats
        piece = max(1, LOADS // loads)
        chosen = copies(m, at, copies_for(PORT_BITS, piece), "store_beat")
        m.d.comb += self.beats.data.eq(
            Cat(
                Array(
                    words.word_select(beat, PORT_BITS)[n * piece : (n + 1) * piece]
                    for beat in range(self.beats_per_access)
                )[number]
                for n, number in enumerate(chosen)
            )
        )
