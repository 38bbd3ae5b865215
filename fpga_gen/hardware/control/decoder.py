"""Decoder: reads the program ahead, one word per cycle, while an earlier instruction runs.

Headers go to registers, tables to where they belong; FETCH, PAGE and TABLE are executed here, and
the weights or words of an instruction are ordered from the loader before it is dispatched.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from amaranth.hdl import Array, Cat, Module, Mux, Signal, Value, ValueLike
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from fpga_gen.contract.fields import WORD_BITS
from fpga_gen.contract.isa import (
    HEADER_WORDS,
    LAYOUTS,
    MAX_SOURCES,
    MAX_TABLE,
    OP_BITS,
    TABLE_WORDS,
    Op,
)
from fpga_gen.contract.params import EngineParams
from fpga_gen.hardware.common.joints import FETCH, LOOKUP_BITS, LookupWrite, TableWrite
from fpga_gen.hardware.common.records import HEADER
from fpga_gen.hardware.common.resets import data_register
from fpga_gen.hardware.control.program_memory import ProgramRead
from fpga_gen.hardware.loader.joints import COMMAND, KIND_CONV, KIND_VECTOR, KIND_WORDS
from fpga_gen_host.registers import ERROR_CODE_BITS, ErrorCode


class Decoder(wiring.Component):
    """Members:
    start: In, pulse. program: the words. vector_busy: In; the tables of a VECTOR wait for it.
    words_busy: In; a PAGE waits until all words of the stream that were ordered before are taken.
    order: the loader's command of an instruction. fetch: a region to read.
    tables: Out, words for the vector unit; table_index, block_write, tap_write, list_write: Out,
    tables.word is this word of the walker's tables.
    lookup: Out, entries of a TABLE. (with activations)
    decoded: a whole header, its tables are written.
    failed, code: Out, pulse with an ErrorCode; nothing is decoded after it.
    """

    def __init__(self, params: EngineParams) -> None:
        self.params = params
        super().__init__(
            {
                "start": In(1),
                "program": In(ProgramRead()),
                "words_busy": In(1),
                "vector_busy": In(1),
                "order": Out(stream.Signature(COMMAND)),
                "fetch": Out(stream.Signature(FETCH)),
                "tables": Out(TableWrite()),
                "table_index": Out(range(MAX_TABLE)),
                "block_write": Out(1),
                "tap_write": Out(1),
                "list_write": Out(1),
                "decoded": Out(stream.Signature(HEADER)),
                "failed": Out(1),
                "code": Out(ERROR_CODE_BITS),
            }
            | ({"lookup": Out(LookupWrite())} if params.activations else {})
        )

    def elaborate(self, platform) -> Module:
        m = Module()
        self.index = data_register(m, self.table_index)
        self._words(m)
        self._checks(m)
        self._order(m)
        self.request = data_register(m, self.fetch.payload)  # the reader's next region
        with m.If(self.fetch.ready):
            m.d.sync += self.fetch.valid.eq(0)
        with m.FSM(name="decoder"):
            with m.State("IDLE"):
                with m.If(self.start):
                    m.next = "HEADER"
            self._header(m)
            self._table_states(m)
            if self.params.activations:
                self._lookup_state(m)
            with m.State("ORDER"):
                m.d.comb += self.order.valid.eq(1)
                with m.If(self.order.ready):
                    m.next = "DECODED"
                    with m.If(self.walk.op == Op.PAGE):
                        m.d.comb += self.program.page.eq(1)
                        m.next = "PAGED"
            with m.State("PAGED"):  # until `exhausted` knows of it
                m.next = "HEADER"
            with m.State("DECODED"):
                m.d.comb += self.decoded.valid.eq(1)
                with m.If(self.decoded.ready):
                    m.next = "HEADER"
            with m.State("STOPPED"):  # until the shell resets the engine
                pass
        return m

    def _words(self, m: Module) -> None:
        """The header that is being decoded, and the present word for the tables."""
        self.words = [
            Signal(WORD_BITS, name=f"following_{i}", reset_less=True) for i in range(HEADER_WORDS)
        ]
        header = HEADER(Cat(*self.words))
        self.walk, self.vector, self.load = header.walk, header.vector, header.load
        self.table = header.table
        self.left = Signal(range(MAX_TABLE // 2 + 1), reset_less=True)  # table words to come
        self.final = Signal()  # the last one is being written
        m.d.comb += [
            self.decoded.payload.eq(header),
            self.program.page_words.eq(header.page.words),
            self.tables.word.eq(self.program.word),
            self.tables.source.eq(self.index[1:]),
            self.tables.part.eq(self.index[0]),
            self.tables.pair.eq(self.index),
        ]

    def _fail(self, m: Module, code: ErrorCode) -> None:
        m.d.comb += [self.failed.eq(1), self.code.eq(code)]
        m.next = "STOPPED"

    def _checks(self, m: Module) -> None:
        """What the states decide on, one cycle late."""
        p, walk, vector = self.params, self.walk, self.vector
        self.wrong_walk, self.wrong_vector = Signal(reset_less=True), Signal(reset_less=True)
        self.wrong_page, self.wrong_table = Signal(reset_less=True), Signal(reset_less=True)
        self.listed = Signal(reset_less=True)  # a CONV with slot lists
        if p.activations:
            table = self.table
            m.d.sync += self.wrong_table.eq(
                (table.lookup == 0) | (table.entry_words != TABLE_WORDS)
            )
        else:
            m.d.comb += self.wrong_table.eq(1)
        self.single = {
            name: Signal(name=f"single_{name}", reset_less=True)
            for name in ("n_blocks", "n_taps", "list_words", "y_words", "x_words")
        }
        m.d.sync += [
            self.wrong_walk.eq(
                (walk.n_blocks == 0)
                | (walk.n_taps == 0)
                | (walk.n_tiles == 0)
                | (walk.tile_groups == 0)
                | (walk.tile_groups > p.tile_groups)
                | (walk.n_groups == 0)
                | (walk.lanes == 0)
                | ((walk.op == Op.POOL) & (walk.list_words != 0))
                | ~Array([n + 1 in p.modes for n in range(1 << len(walk.mode))])[walk.mode]
            ),
            self.wrong_vector.eq(
                (vector.n_blocks == 0)
                | (vector.n_sources == 0)
                | (vector.n_sources > MAX_SOURCES)
                | (vector.out_h == 0)
                | (vector.out_w == 0)
                | (vector.pair & (p.vector_pixels == 1))
                | (~vector.direct & ((vector.y_words == 0) | (vector.x_words == 0)))
                | (vector.y_words > MAX_TABLE // 2)
                | (vector.x_words > MAX_TABLE // 2)
            ),
            self.wrong_page.eq(self.program.page_words == 0),
            self.listed.eq((walk.op == Op.CONV) & (walk.list_words != 0)),
            self.single["n_blocks"].eq(walk.n_blocks == 1),
            self.single["n_taps"].eq(walk.n_taps == 1),
            self.single["list_words"].eq(walk.list_words == 1),
            self.single["y_words"].eq(vector.y_words == 1),
            self.single["x_words"].eq(vector.x_words == 1),
        ]

    def _order(self, m: Module) -> None:
        """The loader's command of the decoded instruction."""
        walk, order = self.walk, self.order.payload
        m.d.comb += [
            order.mode.eq(Mux(walk.op == Op.VECTOR, 0, walk.mode)),
            order.groups.eq(walk.n_groups),
            order.tiles.eq(walk.n_tiles),
            order.slots.eq(walk.slots),
            order.half_from.eq(walk.half_from),
            order.high_from.eq(walk.high_from),
            order.last_subgroups.eq(walk.last_subgroups),
            order.repeats.eq(walk.repeats),
            order.listed.eq(self.listed),
            order.words.eq(self.load.stream_words),
            order.kind.eq(KIND_CONV),
        ]
        with m.If(walk.op == Op.LOAD):
            m.d.comb += order.kind.eq(KIND_WORDS)
        with m.Elif(walk.op == Op.PAGE):
            m.d.comb += [order.kind.eq(KIND_WORDS), order.words.eq(self.program.page_words)]
        with m.Elif(walk.op == Op.VECTOR):
            m.d.comb += order.kind.eq(KIND_VECTOR)

    def _header(self, m: Module) -> None:
        """Header words to `following`; then where the instruction's tables go."""
        lengths = [LAYOUTS[Op(i)].words if i in set(Op) else 1 for i in range(1 << OP_BITS)]
        at = Signal(range(HEADER_WORDS + 1))
        complete = Signal()  # all words of the header are taken
        walk, fetch = self.walk, HEADER(Cat(*self.words)).fetch
        with m.State("HEADER"):
            m.d.comb += self.program.want.eq(~complete)
            with m.If(~complete & self.program.present):
                m.d.sync += at.eq(at + 1)
                for index, word in enumerate(self.words):
                    with m.If(at == index):
                        m.d.sync += word.eq(self.program.word)
                with m.If(at == 0):  # the opcode comes from the program memory
                    m.d.sync += complete.eq(
                        Array(n == 1 for n in lengths)[self.program.word[:OP_BITS]]
                    )
                with m.Else():
                    m.d.sync += complete.eq(at + 1 == Array(lengths)[walk.op])
            with m.Elif(complete):
                m.d.sync += [at.eq(0), complete.eq(0), self.index.eq(0)]
                m.next = "CHECK"
                with m.If(walk.op > max(Op)):
                    self._fail(m, ErrorCode.BAD_INSTRUCTION)
            with m.Elif(self.program.exhausted):
                self._fail(m, ErrorCode.PROGRAM_OVERFLOW)
        with m.State("CHECK"):
            with m.Switch(walk.op):
                with m.Case(Op.CONV, Op.POOL):
                    self._enter_table(m, walk.n_blocks, self.single["n_blocks"], "BLOCKS")
                    with m.If(self.wrong_walk):
                        self._fail(m, ErrorCode.BAD_INSTRUCTION)
                with m.Case(Op.VECTOR):
                    with m.If(~self.vector_busy):
                        self._enter_table(m, self.vector.n_sources << 1, 0, "SOURCES")
                    with m.If(self.wrong_vector):
                        self._fail(m, ErrorCode.BAD_INSTRUCTION)
                with m.Case(Op.FETCH):
                    with m.If(~self.fetch.valid):
                        m.d.sync += [
                            self.fetch.valid.eq(1),
                            self.request.region.eq(fetch.region),
                            self.request.offset.eq(fetch.offset),
                            self.request.words.eq(fetch.words),
                        ]
                        m.next = "HEADER"
                with m.Case(Op.LOAD):
                    m.next = "ORDER"
                with m.Case(Op.PAGE):
                    with m.If(~self.words_busy):
                        m.next = "ORDER"
                    with m.If(self.wrong_page):
                        self._fail(m, ErrorCode.BAD_INSTRUCTION)
                with m.Case(Op.TABLE):
                    if self.params.activations:
                        self._enter_table(m, self.table.entry_words, 0, "LOOKUP")
                    with m.If(self.wrong_table):
                        self._fail(m, ErrorCode.BAD_INSTRUCTION)
                with m.Default():
                    m.next = "DECODED"

    def _enter_table(self, m: Module, count: Value, single: ValueLike, state: str) -> None:
        m.d.sync += [self.index.eq(0), self.left.eq(count), self.final.eq(single)]
        m.next = state

    def _table_states(self, m: Module) -> None:
        """A table word per cycle to where it belongs."""
        walk, vector, single = self.walk, self.vector, self.single

        @contextmanager
        def table(state: str, write: Signal) -> Iterator[None]:
            """What follows the last word."""
            with m.State(state):
                m.d.comb += self.program.want.eq(1)
                with m.If(self.program.present):
                    m.d.comb += write.eq(1)
                    m.d.sync += [
                        self.index.eq(self.index + 1),
                        self.left.eq(self.left - 1),
                        self.final.eq(self.left == 2),
                    ]
                    with m.If(self.final):
                        yield
                with m.Elif(self.program.exhausted):
                    self._fail(m, ErrorCode.PROGRAM_OVERFLOW)

        with table("BLOCKS", self.block_write):
            self._enter_table(m, walk.n_taps, single["n_taps"], "TAPS")
        with table("TAPS", self.tap_write):
            m.next = "ORDER"
            with m.If(walk.op == Op.POOL):
                m.next = "DECODED"
            with m.Elif(self.listed):
                self._enter_table(m, walk.list_words, single["list_words"], "LISTS")
        with table("LISTS", self.list_write):
            m.next = "ORDER"
        with table("SOURCES", self.tables.source_write):
            self._enter_table(m, vector.y_words, single["y_words"], "Y_TABLE")
            with m.If(vector.direct):
                m.next = "ORDER"
        with table("Y_TABLE", self.tables.y_write):
            self._enter_table(m, vector.x_words, single["x_words"], "X_TABLE")
        with table("X_TABLE", self.tables.x_write):
            m.next = "ORDER"

    def _lookup_state(self, m: Module) -> None:
        """Entries of a TABLE, one part of a program word a cycle."""
        parts = WORD_BITS // LOOKUP_BITS
        part, write = Signal(range(parts)), Signal()
        out = self.lookup
        m.d.sync += out.valid.eq(write)
        for port, value in (
            (out.lookup, self.table.lookup),
            (out.word, Cat(part, self.index)),
            (out.data, self.program.word.word_select(part, LOOKUP_BITS)),
        ):
            m.d.sync += data_register(m, port).eq(value)
        with m.State("LOOKUP"):
            m.d.comb += self.program.want.eq(part == parts - 1)
            with m.If(self.program.present):
                m.d.comb += write.eq(1)
                m.d.sync += part.eq(part + 1)
                with m.If(part == parts - 1):
                    m.d.sync += [
                        self.index.eq(self.index + 1),
                        self.left.eq(self.left - 1),
                        self.final.eq(self.left == 2),
                    ]
                    with m.If(self.final):
                        m.next = "HEADER"
            with m.Elif(self.program.exhausted):
                self._fail(m, ErrorCode.PROGRAM_OVERFLOW)
