"""Sequencer: orders the program, decodes ahead, starts instructions in order.

While one instruction runs, the next one's header and tables are decoded into the other half of the
table memories and its weights are ordered from the loader, so that dispatch costs a few cycles.
"""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from fpga_gen.contract.fields import WORD_BITS
from fpga_gen.contract.isa import MAX_BLOCKS, MAX_TAPS, Op, limit, width
from fpga_gen.contract.params import EngineParams
from fpga_gen.hardware.common.joints import (
    FETCH,
    Issue,
    LookupWrite,
    ProgramFill,
    RecordRead,
    TableWrite,
    Units,
)
from fpga_gen.hardware.common.ram import RamShape, place_ram
from fpga_gen.hardware.common.records import BLOCK_RECORD, LIST_WORD, TAP_RECORD
from fpga_gen.hardware.common.resets import data_register
from fpga_gen.hardware.control.decoder import Decoder
from fpga_gen.hardware.control.dispatcher import Dispatcher
from fpga_gen.hardware.control.program_memory import ProgramMemory
from fpga_gen.hardware.loader.joints import COMMAND, KIND_WORDS
from fpga_gen_host.registers import ERROR_CODE_BITS, LAYER_BITS, ErrorCode

TABLE_HALF = max(MAX_BLOCKS, MAX_TAPS, limit("list_words")) + 1
TABLE_SHAPE = RamShape(WORD_BITS, 2 * TABLE_HALF, "block")


class Sequencer(wiring.Component):
    """See module docstring.

    Members:
        start: In, pulse; program_words: In, stream words of the first fill.
        command: to the loader. fill: the loader's words for the program. fetch: to the reader.
        walk (CONV, POOL), vector, load, store: starts; all hold the header of the instruction that
            was started last (a STORE runs beside others). units: what is free.
        stored: In, all STOREs that the store unit is done with are in DRAM.
        blocks, taps, lists: tables of the walker. tables: those of the vector unit. lookup: those
            of the exit path. (with activations)
        done: Out, pulse after END. error, error_code: Out, pulse with an ErrorCode.
        layer: Out, instructions dispatched; layer_start: Out, pulse for each.
    """

    def __init__(self, params: EngineParams, *, expand: bool = False) -> None:
        self.params = params
        self.expand = expand
        super().__init__(
            {
                "start": In(1),
                "program_words": In(width("words")),
                "command": Out(stream.Signature(COMMAND)),
                "fill": In(ProgramFill(params)),
                "fetch": Out(stream.Signature(FETCH)),
                "walk": Out(Issue()),
                "vector": Out(Issue()),
                "load": Out(Issue()),
                "store": Out(Issue()),
                "units": In(Units()),
                "stored": In(1),
                "blocks": In(RecordRead(BLOCK_RECORD, "n_blocks")),
                "taps": In(RecordRead(TAP_RECORD, "n_taps")),
                "lists": In(RecordRead(LIST_WORD, "list_words")),
                "tables": Out(TableWrite()),
                "done": Out(1),
                "error": Out(1),
                "error_code": Out(ERROR_CODE_BITS),
                "layer": Out(LAYER_BITS),
                "layer_start": Out(1),
            }
            | ({"lookup": Out(LookupWrite())} if params.activations else {})
        )

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.program = program = ProgramMemory(self.params, expand=self.expand)
        m.submodules.decoder = decoder = Decoder(self.params)
        m.submodules.dispatcher = dispatcher = Dispatcher()
        self._connect(m, program, decoder, dispatcher)
        self._order(m, program, decoder)
        self._tables(m, decoder, dispatcher)
        error_code = data_register(m, self.error_code)
        m.d.sync += self.error.eq(program.overflow | decoder.failed)
        with m.If(program.overflow):
            m.d.sync += error_code.eq(ErrorCode.PROGRAM_OVERFLOW)
        with m.Elif(decoder.failed):
            m.d.sync += error_code.eq(decoder.code)
        return m

    def _connect(
        self, m: Module, program: ProgramMemory, decoder: Decoder, dispatcher: Dispatcher
    ) -> None:
        connect(m, program.read, decoder.program)
        connect(m, decoder.decoded, dispatcher.decoded)
        connect(m, flipped(self.fill), program.fill)
        connect(m, flipped(self.fetch), decoder.fetch)
        connect(m, flipped(self.tables), decoder.tables)
        if self.params.activations:
            connect(m, flipped(self.lookup), decoder.lookup)
        connect(m, flipped(self.units), dispatcher.units)
        connect(m, flipped(self.walk), dispatcher.walk)
        connect(m, flipped(self.vector), dispatcher.vector)
        connect(m, flipped(self.load), dispatcher.load)
        connect(m, flipped(self.store), dispatcher.store)
        m.d.comb += [
            program.start.eq(self.start),
            program.program_words.eq(self.program_words),
            decoder.start.eq(self.start),
            decoder.words_busy.eq(program.fill.filling | self.units.load_busy),
            decoder.vector_busy.eq(self.units.vector_busy),
            decoder.stored.eq(self.stored & ~self.units.store_busy),
            self.done.eq(dispatcher.done),
            self.layer.eq(dispatcher.layer),
            self.layer_start.eq(dispatcher.layer_start),
        ]

    def _order(self, m: Module, program: ProgramMemory, decoder: Decoder) -> None:
        """The loader's command: the program first, then those of the instructions."""
        command, order = self.command, decoder.order
        m.d.comb += [
            command.valid.eq(program.order_valid | order.valid),
            program.order_ready.eq(command.ready),
            order.ready.eq(command.ready),
            command.payload.eq(order.payload),
        ]
        with m.If(~program.ordered):
            m.d.comb += [
                command.payload.kind.eq(KIND_WORDS),
                command.payload.words.eq(self.program_words),
            ]

    def _tables(self, m: Module, decoder: Decoder, dispatcher: Dispatcher) -> None:
        """Blocks, taps and slot lists: the walker reads one half, the other one is being filled."""
        running_half, decode_half = Signal(reset_less=True), Signal()  # whichever a run begins with
        op = decoder.decoded.payload.walk.op
        is_walk = Signal(reset_less=True)
        m.d.sync += is_walk.eq((op == Op.CONV) | (op == Op.POOL))
        m.d.comb += decode_half.eq(~running_half)
        with m.If(dispatcher.dispatched):
            m.d.sync += running_half.eq(Mux(is_walk, decode_half, running_half))
        for name, port, write in (
            ("blocks", self.blocks, decoder.block_write),
            ("taps", self.taps, decoder.tap_write),
            ("lists", self.lists, decoder.list_write),
        ):
            ram = place_ram(m, name, TABLE_SHAPE, expand=self.expand)
            m.d.comb += [
                ram.w_addr.eq(Cat(decoder.table_index[: len(port.index)], decode_half)),
                ram.w_data.eq(decoder.tables.word),
                ram.w_en.eq(write),
                ram.r_addr.eq(Cat(port.index, running_half)),
                port.record.eq(ram.r_data),
            ]
