"""Store unit: consecutive memory words to the output region, as 128-bit beats."""

from __future__ import annotations

from amaranth.hdl import Array, Cat, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from fpga_gen.contract.isa import ADDRESS_BITS, HEADER_WORDS, Op
from fpga_gen.contract.params import PORT_BITS, WRITE_ROOM, EngineParams
from fpga_gen.hardware.common.address import add, constant, delay
from fpga_gen.hardware.common.config_view import header_fields
from fpga_gen.hardware.common.fan_out import KEEP, LOADS, copies, copies_for, tree
from fpga_gen.hardware.common.resets import data_register


class StoreUnit(wiring.Component):
    """Runs one STORE beside the other units: up to one beat per cycle, `params.store_words` memory
    words per access, while the write port has room.

    `header` is read with `start` and in the cycle after it. Reading begins when `results_in` says
    that all earlier results are in memory, and goes on in cycles when nobody else reads
    (`granted`); `request` asks the walker to leave one free.

    command_*: {offset, beats} of the write (valid/ready); data_valid, data: its beats, which the
    port must take (WRITE_ROOM of them after `room` has fallen). busy: from start to the last
    beat. The words that start at read_address are in read_data `read_latency` cycles later.
    """

    def __init__(self, params: EngineParams, *, read_latency: int) -> None:
        self.params = params
        self.read_latency = read_latency
        access_bits = params.store_words * params.word_bits
        self.beats = access_bits // PORT_BITS  # of an access
        # Fewer accesses than this are on their way when `room` falls.
        assert (read_latency + 4) + 2 * self.beats <= WRITE_ROOM
        super().__init__(
            {
                "header": In(64 * HEADER_WORDS),
                "start": In(1),
                "busy": Out(1),
                "results_in": In(1),
                "request": Out(1),
                "granted": In(1),
                "read_valid": Out(1),
                "read_address": Out(ADDRESS_BITS),
                "read_data": In(access_bits),
                "command_valid": Out(1),
                "command_ready": In(1),
                "command_offset": Out(32),
                "command_beats": Out(24),
                "room": In(1),
                "data_valid": Out(1),
                "data": Out(PORT_BITS),
            }
        )

    def elaborate(self, platform) -> Module:
        m = Module()
        self._send(m, self._read(m))
        return m

    def _read(self, m: Module) -> Signal:
        """Accesses. Returns the number of beats to send of an access, as it is made, or 0."""
        p, beats = self.params, self.beats
        per_beat = PORT_BITS // p.word_bits
        cfg = header_fields(self.header, Op.STORE)
        address = Signal(ADDRESS_BITS, reset_less=True)
        left = Signal(24, reset_less=True)  # beats that are not yet read
        some, final = Signal(), Signal()  # any left; one access reads them all
        results_in = Signal()  # since the start
        reading = Signal()
        pause = Signal(range(max(beats, 2)))  # cycles until the next access may come
        # pause is 0; the first copy is for all but the address.
        ready = [Signal(name=f"ready_{n}", init=1, attrs=KEEP) for n in range(2)]
        settle = Signal(range(self.read_latency + beats + 2))
        want, step = Signal(), Signal()
        asked = Signal()
        taken = Signal(range(beats + 1))
        next_address = add(m, address, constant(p.store_words, p.banks), p.banks, "store_next")
        m.d.comb += [
            final.eq(left <= beats),
            want.eq(reading & some & ready[0] & self.room),
            self.read_valid.eq(want & self.granted),
            step.eq(reading & some & ready[1] & self.room & self.granted),
            self.read_address.eq(address),
            taken.eq(Mux(self.read_valid, Mux(final, left, beats), 0)),
        ]
        m.d.sync += [
            self.request.eq(want & ~self.read_valid & ~asked),
            asked.eq(want & ~self.read_valid),
        ]
        with m.If(step):
            m.d.sync += address.eq(next_address)
        with m.If(self.read_valid):
            m.d.sync += [left.eq(left - beats), some.eq(~final), pause.eq(beats - 1)]
            m.d.sync += [copy.eq(beats == 1) for copy in ready]
        with m.Elif(pause != 0):
            m.d.sync += pause.eq(pause - 1)
            m.d.sync += [copy.eq(pause == 1) for copy in ready]
        with m.If(self.results_in):
            m.d.sync += results_in.eq(1)
        offset, command_beats = (
            data_register(m, port) for port in (self.command_offset, self.command_beats)
        )
        with m.FSM(name="store"):
            with m.State("IDLE"):
                m.d.sync += results_in.eq(0)
                with m.If(self.start):
                    m.d.sync += [
                        address.eq(cfg.base),
                        left.eq(cfg.words // per_beat),
                        some.eq(cfg.words.any()),
                        self.busy.eq(1),
                    ]
                    m.next = "FIELDS"
            with m.State("FIELDS"):  # in a cycle of their own: fewer loads
                m.d.sync += [
                    offset.eq(cfg.offset),
                    command_beats.eq(cfg.words // per_beat),
                ]
                m.next = "COMMAND"
            with m.State("COMMAND"):
                m.d.comb += self.command_valid.eq(1)
                with m.If(self.command_ready):
                    m.next = "READ"
            with m.State("READ"):
                m.d.comb += reading.eq(results_in)
                m.d.sync += settle.eq(0)
                with m.If(~some):
                    m.next = "SETTLE"
            with m.State("SETTLE"):  # until the last beat is sent
                m.d.sync += settle.eq(settle + 1)
                with m.If(settle == self.read_latency + beats):
                    m.d.sync += self.busy.eq(0)
                    m.next = "IDLE"
        return taken

    def _send(self, m: Module, taken: Value) -> None:
        """The words of an access, and from there beat by beat, first word lowest."""
        bits = len(self.read_data)
        arrived = delay(m, taken, self.read_latency, "arrived")
        words = Signal(bits, reset_less=True)
        counts = [1] * (self.read_latency - 1) + [copies_for(bits)]
        enables = tree(m, taken.any(), counts, "capture")
        for n, enable in enumerate(enables):
            part = slice(n * LOADS, min((n + 1) * LOADS, bits))
            with m.If(enable):
                m.d.sync += words[part].eq(self.read_data[part])
        left = Signal(range(self.beats + 1))  # beats after the one that is sent
        index = Signal(range(max(self.beats, 2)))
        at = Signal.like(index)  # the beat that is sent next
        m.d.comb += at.eq(Mux(arrived.any(), 0, index + 1))
        m.d.sync += index.eq(at)
        with m.If(arrived.any()):
            m.d.sync += [self.data_valid.eq(1), left.eq(arrived - 1)]
        with m.Else():
            m.d.sync += [self.data_valid.eq(left != 0), left.eq(Mux(left != 0, left - 1, 0))]
        chosen = copies(m, at, copies_for(PORT_BITS), "store_beat")
        m.d.comb += self.data.eq(
            Cat(
                Array(
                    words.word_select(beat, PORT_BITS)[n * LOADS : (n + 1) * LOADS]
                    for beat in range(self.beats)
                )[number]
                for n, number in enumerate(chosen)
            )
        )
