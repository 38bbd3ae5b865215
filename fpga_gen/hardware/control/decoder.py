"""Decoder: reads the program ahead, one word per cycle, while an earlier instruction runs.

Headers go to registers, tables to where they belong; FETCH, PAGE and TABLE are executed here, and
the weights or words of an instruction are ordered from the loader before it is dispatched.
"""

from __future__ import annotations

from functools import reduce
from operator import or_

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from fpga_gen.contract.fields import WORD_BITS
from fpga_gen.contract.isa import (
    HEADER_WORDS,
    LAYOUTS,
    MAX_TABLE,
    OP_BITS,
    Op,
)
from fpga_gen.contract.params import EngineParams
from fpga_gen.hardware.common.joints import FETCH, LOOKUP_BITS, LookupWrite, TableWrite
from fpga_gen.hardware.common.records import HEADER
from fpga_gen.hardware.common.resets import data_register
from fpga_gen.hardware.common.states import ALWAYS, States
from fpga_gen.hardware.control.header_checks import HeaderChecks
from fpga_gen.hardware.control.program_memory import ProgramRead
from fpga_gen.hardware.loader.joints import COMMAND, KIND_CONV, KIND_VECTOR, KIND_WORDS
from fpga_gen_host.registers import ERROR_CODE_BITS, ErrorCode

STATES = ("IDLE", "HEADER", "LENGTH", "CHECK", "LOOKUP", "BLOCKS", "TAPS", "LISTS", "SOURCES",
          "Y_TABLE", "X_TABLE", "ORDER", "PAGE", "PAGED", "DECODED", "STOPPED")  # fmt: skip
TABLES = ("BLOCKS", "TAPS", "LISTS", "SOURCES", "Y_TABLE", "X_TABLE")  # states that take words


class Decoder(wiring.Component):
    """Members:
    start: In, pulse. program: the words. vector_busy: In; the tables of a VECTOR wait for it.
    words_busy: In; a PAGE waits until all words of the stream that were ordered before are taken.
    stored: In; what the STOREs before wrote is in DRAM: a FETCH that reads it waits for that.
    order: the loader's command of an instruction. fetch: a region to read.
    tables: Out, words for the vector unit; table_index, block_write, tap_write, list_write: Out,
    tables.word is this word of the walker's tables.
    lookup: Out, entries of a TABLE. (with activations)
    decoded: a whole header, its tables are written.
    failed, code: Out, pulse with an ErrorCode, one cycle late; nothing is decoded after it.
    """

    def __init__(self, params: EngineParams) -> None:
        self.params = params
        super().__init__(
            {
                "start": In(1),
                "program": In(ProgramRead()),
                "words_busy": In(1),
                "stored": In(1),
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
        self.fault = data_register(m, self.code)
        self.states = States(STATES)
        self.now = self.states.now
        self.in_table = Signal(reset_less=True)  # as `states` says a cycle before
        # The last part of a TABLE's program word: a register, as `in_words` is.
        self.word_done = Signal()
        self._words(m)
        self.checks = HeaderChecks(m, self.params, self.header, self.stored)
        self._order(m)
        self.request = data_register(m, self.fetch.payload)  # the reader's next region
        with m.If(self.fetch.ready):
            m.d.sync += self.fetch.valid.eq(0)
        self._take(m)
        self._counts(m)
        if self.params.activations:
            self._lookup(m)
        self._header(m)
        self._moves(m)
        return m

    def _moves(self, m: Module) -> None:
        """Where each state goes, and what others hear of it."""
        states, now, checks = self.states, self.now, self.checks
        present, exhausted = self.program.present, self.program.exhausted
        complete, first, final = self.complete, self.at == 0, self.final
        wrong = Cat(
            checks.is_walk & checks.wrong_walk,
            checks.is_vector & checks.wrong_vector,
            checks.is_page & checks.wrong_page,
            checks.is_table & checks.wrong_table,
        ).any()
        table_end = self.word_done & final
        for source, target, when in (
            ("IDLE", "HEADER", self.start),
            ("HEADER", "STOPPED", complete & checks.unknown),
            ("HEADER", "CHECK", complete),
            ("HEADER", "LENGTH", present & first),
            ("HEADER", "STOPPED", ~present & exhausted),
            ("LENGTH", "HEADER", ALWAYS),  # the opcode is a register now, no output of the memory
            ("CHECK", "STOPPED", wrong),
            ("CHECK", "BLOCKS", checks.is_walk),
            ("CHECK", "SOURCES", checks.is_vector & ~self.vector_busy),
            ("CHECK", "HEADER", self.asked),
            ("CHECK", "ORDER", checks.is_load | (checks.is_page & ~self.words_busy)),
            ("CHECK", "LOOKUP", checks.is_table),
            ("CHECK", "DECODED", ~(checks.is_vector | checks.is_fetch | checks.is_page)),
            *((state, "STOPPED", ~present & exhausted) for state in (*TABLES, "LOOKUP")),
            *((state, state, ~(present & final)) for state in TABLES),
            ("LOOKUP", "HEADER", present & table_end),
            ("BLOCKS", "TAPS", ALWAYS),
            ("TAPS", "DECODED", self.walk.op == Op.POOL),
            ("TAPS", "LISTS", checks.listed),
            ("SOURCES", "ORDER", self.vector.direct),
            ("SOURCES", "Y_TABLE", ALWAYS),
            ("Y_TABLE", "X_TABLE", ALWAYS),
            *((state, "ORDER", ALWAYS) for state in ("TAPS", "LISTS", "X_TABLE")),
            ("ORDER", "PAGE", self.order.ready & checks.is_page),
            ("ORDER", "DECODED", self.order.ready),
            ("PAGE", "PAGED", ALWAYS),
            ("PAGED", "HEADER", ALWAYS),  # `exhausted` knows of it
            ("DECODED", "HEADER", self.decoded.ready),
        ):  # STOPPED: until the shell resets the engine
            states.move(source, target, when)
        states.build(m)
        stopping = states.next["STOPPED"] & ~now["STOPPED"]
        m.d.comb += [
            self.order.valid.eq(now["ORDER"]),
            self.decoded.valid.eq(now["DECODED"]),
            self.program.page.eq(now["PAGE"]),
        ]
        m.d.sync += [
            self.in_table.eq(Cat(states.next[name] for name in TABLES).any()),
            self.failed.eq(stopping),
        ]
        with m.If(stopping):
            m.d.sync += self.fault.eq(
                Mux(
                    now["CHECK"] | complete,
                    ErrorCode.BAD_INSTRUCTION,
                    ErrorCode.PROGRAM_OVERFLOW,
                )
            )

    def _words(self, m: Module) -> None:
        """The header that is being decoded, and the present word for the tables."""
        self.words = [
            Signal(WORD_BITS, name=f"following_{i}", reset_less=True) for i in range(HEADER_WORDS)
        ]
        self.header = header = HEADER(Cat(*self.words))
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

    def _take(self, m: Module) -> None:
        """Words from the program memory: to the header, or to a table."""
        program = self.program
        self.at = Signal(range(HEADER_WORDS + 1))
        self.complete = Signal()  # all words of the header are taken
        # In HEADER, and they are not: a register, as the memory's address hangs on it.
        self.in_words = Signal()
        m.d.comb += program.want.eq(
            self.in_words | self.in_table | (self.now["LOOKUP"] & self.word_done)
        )
        for index, word in enumerate(self.words):
            with m.If(self.in_words & program.present & (self.at == index)):
                m.d.sync += word.eq(program.word)
        writes = (self.block_write, self.tap_write, self.list_write, self.tables.source_write,
                  self.tables.y_write, self.tables.x_write)  # fmt: skip
        for state, write in zip(TABLES, writes, strict=True):
            m.d.comb += write.eq(self.now[state] & program.present)

    def _order(self, m: Module) -> None:
        """The loader's command of the decoded instruction, one cycle behind its header."""
        walk, order = self.walk, data_register(m, self.order.payload)
        m.d.sync += [
            order.mode.eq(Mux(walk.op == Op.VECTOR, 0, walk.mode)),
            order.groups.eq(walk.n_groups),
            order.tiles.eq(walk.n_tiles),
            order.slots.eq(walk.slots),
            order.half_from.eq(walk.half_from),
            order.high_from.eq(walk.high_from),
            order.last_subgroups.eq(walk.last_subgroups),
            order.repeats.eq(walk.repeats),
            order.listed.eq(self.checks.listed),
            order.words.eq(self.load.stream_words),
            order.kind.eq(KIND_CONV),
        ]
        with m.If(walk.op == Op.LOAD):
            m.d.sync += order.kind.eq(KIND_WORDS)
        with m.Elif(walk.op == Op.PAGE):
            m.d.sync += [order.kind.eq(KIND_WORDS), order.words.eq(self.program.page_words)]
        with m.Elif(walk.op == Op.VECTOR):
            m.d.sync += order.kind.eq(KIND_VECTOR)

    def _header(self, m: Module) -> None:
        """Header words to `following`; what a FETCH asks for."""
        lengths = [LAYOUTS[Op(i)].words if i in set(Op) else 1 for i in range(1 << OP_BITS)]
        at, complete, walk = self.at, self.complete, self.walk
        fetch = self.header.fetch
        now, program, single = self.now, self.program, Signal()
        last = Signal(name="last_header_word", reset_less=True)  # is the one that comes
        m.d.comb += single.eq(Array(n == 1 for n in lengths)[walk.op])
        with m.If(now["LENGTH"]):
            m.d.sync += [
                complete.eq(single),
                self.in_words.eq(~single),
                last.eq(Array(n == 2 for n in lengths)[walk.op]),
            ]
        with m.Elif(now["HEADER"]):
            with m.If(complete):
                m.d.sync += [at.eq(0), complete.eq(0)]
            with m.Elif(program.present):
                m.d.sync += [
                    at.eq(at + 1),
                    complete.eq((at != 0) & last),
                    last.eq(at + 2 == Array(lengths)[walk.op]),
                ]
            with m.If(Mux(program.present, (at == 0) | last, program.exhausted)):
                m.d.sync += self.in_words.eq(0)
        with m.Else():
            m.d.sync += self.in_words.eq(self.states.next["HEADER"])
        self.asked = Signal()
        m.d.comb += self.asked.eq(
            self.now["CHECK"] & self.checks.is_fetch & ~self.fetch.valid & ~self.checks.unwritten
        )
        with m.If(self.asked):
            m.d.sync += [
                self.fetch.valid.eq(1),
                self.request.region.eq(fetch.region),
                self.request.offset.eq(fetch.offset),
                self.request.words.eq(fetch.words),
            ]

    def _counts(self, m: Module) -> None:
        """Words of a table to come: counted down in its state, set as it is entered. In CHECK they
        are set whatever follows."""
        walk, vector, single = self.walk, self.vector, self.checks.single
        entering = self.final & self.program.present
        check = self.now["CHECK"]
        is_vector, is_table = self.checks.is_vector, self.checks.is_table
        taps_end = self.now["TAPS"] & entering
        enters = (
            (check & is_table, self.table.entry_words, Const(0, 1)),
            (taps_end, walk.list_words, single["list_words"]),
            (check & ~is_vector & ~is_table, walk.n_blocks, single["n_blocks"]),
            (check & is_vector, vector.n_sources << 1, Const(0, 1)),
            (self.now["BLOCKS"] & entering, walk.n_taps, single["n_taps"]),
            (self.now["SOURCES"] & entering, vector.y_words, single["y_words"]),
            (self.now["Y_TABLE"] & entering, vector.x_words, single["x_words"]),
        )
        enter, count, only = Signal(), Signal.like(self.left), Signal()
        m.d.comb += [
            enter.eq(Cat(when for when, _, _ in enters).any()),
            # No two of them at once: an OR, not a choice after the other.
            count.eq(reduce(or_, (Mux(when, value, 0) for when, value, _ in enters))),
            only.eq(reduce(or_, (when & one for when, _, one in enters))),
        ]
        with m.If(enter):
            m.d.sync += [self.index.eq(0), self.left.eq(count), self.final.eq(only)]
        with m.Elif((self.in_table | (self.now["LOOKUP"] & self.word_done)) & self.program.present):
            m.d.sync += [
                self.index.eq(self.index + 1),
                self.left.eq(self.left - 1),
                self.final.eq(self.left == 2),
            ]

    def _lookup(self, m: Module) -> None:
        """Entries of a TABLE, one part of a program word a cycle."""
        parts = WORD_BITS // LOOKUP_BITS
        part, out = Signal(range(parts)), self.lookup
        write = self.now["LOOKUP"] & self.program.present
        m.d.sync += out.valid.eq(write)
        with m.If(write):
            m.d.sync += [part.eq(part + 1), self.word_done.eq(part == parts - 2)]
        for port, value in (
            (out.lookup, self.table.lookup),
            (out.word, Cat(part, self.index)),
            (out.data, self.program.word.word_select(part, LOOKUP_BITS)),
        ):
            m.d.sync += data_register(m, port).eq(value)
