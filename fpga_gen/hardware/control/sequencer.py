"""Sequencer: orders the program, decodes ahead, starts instructions in order.

While one instruction runs, the next one's header and tables are decoded into the other half of the
table memories and its weights are ordered from the loader, so that dispatch costs a few cycles.
"""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from fpga_gen.contract.isa import HEADER_WORDS, MAX_SOURCES, MAX_TABLE, SOURCE, Op, words_of
from fpga_gen.contract.params import EngineParams
from fpga_gen.hardware.common.config_view import header_fields
from fpga_gen.hardware.common.ram import RamShape, place_ram
from fpga_gen.hardware.common.resets import data_register
from fpga_gen.hardware.control.decoder import Decoder
from fpga_gen.hardware.control.dispatcher import Dispatcher
from fpga_gen.hardware.control.program_memory import ProgramMemory
from fpga_gen.hardware.loader.loader_control import COMMAND, KIND_WORDS
from fpga_gen_host.registers import ErrorCode

TABLE_HALF = 256
TABLE_SHAPE = RamShape(64, 2 * TABLE_HALF, "block")


class Sequencer(wiring.Component):
    """See module docstring.

    Starts: walker_start (CONV, POOL), vector_start, load_start, store_start: pulses; `header` holds
    the instruction from the pulse on, until the next one (a STORE runs beside others). *_busy from
    the units; exit_idle: all results are readable.
    block_index/tap_index -> block/tap one cycle later. done: pulse after END.
    filling, fill_valid, fill_data: see ProgramMemory.
    """

    def __init__(self, params: EngineParams, *, expand: bool = False) -> None:
        self.params = params
        self.expand = expand
        super().__init__(
            {
                "start": In(1),
                "program_words": In(24),
                "command_valid": Out(1),
                "command_ready": In(1),
                "command": Out(COMMAND),
                "filling": Out(1),
                "fill_valid": In(1),
                "fill_data": In(params.stream_bits),
                "fetch_valid": Out(1),
                "fetch_ready": In(1),
                "fetch_region": Out(2),
                "fetch_offset": Out(32),
                "fetch_words": Out(24),
                "header": Out(64 * HEADER_WORDS),
                "walker_start": Out(1),
                "walker_busy": In(1),
                "block_index": In(8),
                "block": Out(64),
                "tap_index": In(8),
                "tap": Out(64),
                "vector_start": Out(1),
                "vector_busy": In(1),
                "source_index": Out(range(MAX_SOURCES)),
                "source_word": Out(range(words_of(SOURCE))),
                "source_write": Out(1),
                "y_write": Out(1),
                "x_write": Out(1),
                "table_pair": Out(range(MAX_TABLE // 2)),
                "write_data": Out(64),
                "load_start": Out(1),
                "load_busy": In(1),
                "store_start": Out(1),
                "store_busy": In(1),
                "exit_idle": In(1),
                "params_ready": In(1),
                "done": Out(1),
                "error": Out(1),
                "error_code": Out(8),
                "layer": Out(16),
                "layer_start": Out(1),
            }
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
        m.d.comb += [
            decoder.start.eq(self.start),
            decoder.present.eq(program.present),
            decoder.word.eq(program.word),
            decoder.exhausted.eq(program.exhausted),
            program.take.eq(decoder.take),
            program.page.eq(decoder.page),
            program.page_words.eq(decoder.page_words),
            decoder.words_busy.eq(program.filling | self.load_busy),
            dispatcher.decoded.eq(decoder.decoded),
            dispatcher.following.eq(decoder.following),
            decoder.taken.eq(dispatcher.taken),
            decoder.vector_busy.eq(self.vector_busy),
        ]
        outside = {
            program: ("start", "program_words", "filling", "fill_valid", "fill_data"),
            decoder: ("fetch_valid", "fetch_ready", "fetch_region", "fetch_offset", "fetch_words",
                      "source_write", "y_write", "x_write"),
            dispatcher: ("walker_busy", "vector_busy", "load_busy", "store_busy", "exit_idle",
                         "params_ready", "header", "walker_start", "vector_start", "load_start",
                         "store_start", "done", "layer", "layer_start"),
        }  # fmt: skip
        for part, names in outside.items():
            for name in names:
                inner, outer = getattr(part, name), getattr(self, name)
                out = part.signature.members[name].flow is Out
                m.d.comb += outer.eq(inner) if out else inner.eq(outer)

    def _order(self, m: Module, program: ProgramMemory, decoder: Decoder) -> None:
        """The loader's command: the program first, then those of the instructions."""
        m.d.comb += [
            self.command_valid.eq(program.order_valid | decoder.order_valid),
            program.order_ready.eq(self.command_ready),
            decoder.order_ready.eq(self.command_ready),
            self.command.eq(decoder.order),
        ]
        with m.If(~program.ordered):
            m.d.comb += [
                self.command.kind.eq(KIND_WORDS),
                self.command.words.eq(self.program_words),
            ]

    def _tables(self, m: Module, decoder: Decoder, dispatcher: Dispatcher) -> None:
        """Blocks and taps: one half is read by the walker, the other one is being filled."""
        assert words_of(SOURCE) == 2
        running_half, decode_half = Signal(), Signal()
        op = header_fields(decoder.following, Op.CONV).op
        m.d.comb += decode_half.eq(~running_half)
        with m.If(dispatcher.dispatched):
            is_walk = (op == Op.CONV) | (op == Op.POOL)
            m.d.sync += running_half.eq(Mux(is_walk, decode_half, running_half))
        for name, index, write, out in (
            ("blocks", self.block_index, decoder.block_write, self.block),
            ("taps", self.tap_index, decoder.tap_write, self.tap),
        ):
            ram = place_ram(m, name, TABLE_SHAPE, expand=self.expand)
            m.d.comb += [
                ram.w_addr.eq(Cat(decoder.table_index[:8], decode_half)),
                ram.w_data.eq(decoder.word),
                ram.w_en.eq(write),
                ram.r_addr.eq(Cat(index, running_half)),
                out.eq(ram.r_data),
            ]
        m.d.comb += [
            self.write_data.eq(decoder.word),
            self.source_index.eq(decoder.table_index[1:]),
            self.source_word.eq(decoder.table_index[0]),
            self.table_pair.eq(decoder.table_index),
        ]
