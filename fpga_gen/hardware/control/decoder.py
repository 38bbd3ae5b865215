"""Decoder: reads the program ahead, one word per cycle, while an earlier instruction runs.

Headers go to registers, tables to where they belong; FETCH and PAGE are executed here, and the
weights or words of an instruction are ordered from the loader before it is dispatched.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from amaranth.hdl import Array, Cat, Module, Mux, Signal, Value, ValueLike
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from fpga_gen.contract.isa import HEADER_WORDS, LAYOUTS, MAX_SOURCES, MAX_TABLE, Op, words_of
from fpga_gen.contract.params import EngineParams
from fpga_gen.hardware.common.config_view import header_fields
from fpga_gen.hardware.common.resets import data_register
from fpga_gen.hardware.loader.loader_control import COMMAND, KIND_CONV, KIND_VECTOR, KIND_WORDS
from fpga_gen_host.registers import ErrorCode


class Decoder(wiring.Component):
    """Members:
    start: In, pulse; of ProgramMemory: present, word, take, exhausted, page, page_words.
    words_busy: In; a PAGE waits until all words of the stream that were ordered before are taken.
    order_valid, order_ready, order: the loader's command of an instruction.
    vector_busy: In; the tables of a VECTOR wait for it.
    table_index, *_write: Out, `word` is this word of this table.
    decoded: Out, level until `taken` (In): `following` is a whole header, its tables are written.
    failed, code: Out, pulse with an ErrorCode; nothing is decoded after it.
    """

    def __init__(self, params: EngineParams) -> None:
        self.params = params
        super().__init__(
            {
                "start": In(1),
                "present": In(1),
                "word": In(64),
                "take": Out(1),
                "exhausted": In(1),
                "page": Out(1),
                "page_words": Out(24),
                "words_busy": In(1),
                "order_valid": Out(1),
                "order_ready": In(1),
                "order": Out(COMMAND),
                "fetch_valid": Out(1),
                "fetch_ready": In(1),
                "fetch_region": Out(2),
                "fetch_offset": Out(32),
                "fetch_words": Out(24),
                "vector_busy": In(1),
                "table_index": Out(range(MAX_TABLE)),
                "block_write": Out(1),
                "tap_write": Out(1),
                "source_write": Out(1),
                "y_write": Out(1),
                "x_write": Out(1),
                "decoded": Out(1),
                "taken": In(1),
                "following": Out(64 * HEADER_WORDS),
                "failed": Out(1),
                "code": Out(8),
            }
        )

    def elaborate(self, platform) -> Module:
        m = Module()
        self.index = data_register(m, self.table_index)
        # Header of the instruction being decoded.
        words = [Signal(64, name=f"following_{i}", reset_less=True) for i in range(HEADER_WORDS)]
        self.words = words
        m.d.comb += self.following.eq(Cat(*words))
        following = Cat(*words)
        self.walk = header_fields(following, Op.CONV)
        self.vector = header_fields(following, Op.VECTOR)
        self.fetch = header_fields(following, Op.FETCH)
        m.d.comb += self.page_words.eq(header_fields(following, Op.PAGE).words)
        self.left = Signal(range(MAX_TABLE // 2 + 1), reset_less=True)  # table words to come
        self.final = Signal()  # the last one is being written
        self._checks(m)
        self._order(m, header_fields(following, Op.LOAD))
        self._fetch(m)
        with m.FSM(name="decoder"):
            with m.State("IDLE"):
                with m.If(self.start):
                    m.next = "HEADER"
            self._header(m)
            self._table_states(m)
            with m.State("ORDER"):
                m.d.comb += self.order_valid.eq(1)
                with m.If(self.order_ready):
                    m.next = "DECODED"
                    with m.If(self.walk.op == Op.PAGE):
                        m.d.comb += self.page.eq(1)
                        m.next = "HEADER"
            with m.State("DECODED"):
                m.d.comb += self.decoded.eq(1)
                with m.If(self.taken):
                    m.next = "HEADER"
            with m.State("STOPPED"):  # until the shell resets the engine
                pass
        return m

    def _fail(self, m: Module, code: ErrorCode) -> None:
        m.d.comb += [self.failed.eq(1), self.code.eq(code)]
        m.next = "STOPPED"

    def _checks(self, m: Module) -> None:
        """What the states decide on, one cycle late."""
        p, walk, vector = self.params, self.walk, self.vector
        self.wrong_walk, self.wrong_vector = Signal(reset_less=True), Signal(reset_less=True)
        self.wrong_page = Signal(reset_less=True)
        self.single = {
            name: Signal(name=f"single_{name}", reset_less=True)
            for name in ("n_blocks", "n_taps", "y_words", "x_words")
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
                | ~Array([m_ + 1 in p.modes for m_ in range(4)])[walk.mode]
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
            self.wrong_page.eq(self.page_words == 0),
            self.single["n_blocks"].eq(walk.n_blocks == 1),
            self.single["n_taps"].eq(walk.n_taps == 1),
            self.single["y_words"].eq(vector.y_words == 1),
            self.single["x_words"].eq(vector.x_words == 1),
        ]

    def _fetch(self, m: Module) -> None:
        """The reader's next region waits in registers."""
        ports = Cat(self.fetch_region, self.fetch_offset, self.fetch_words)
        self.request = Signal(len(ports), reset_less=True)
        m.d.comb += ports.eq(self.request)
        with m.If(self.fetch_ready):
            m.d.sync += self.fetch_valid.eq(0)

    def _order(self, m: Module, load) -> None:
        """The loader's command of the decoded instruction."""
        walk = self.walk
        m.d.comb += [
            self.order.mode.eq(Mux(walk.op == Op.VECTOR, 0, walk.mode)),
            self.order.groups.eq(walk.n_groups),
            self.order.tiles.eq(walk.n_tiles),
            self.order.slots.eq(walk.slots),
            self.order.half_from.eq(walk.half_from),
            self.order.high_from.eq(walk.high_from),
            self.order.last_subgroups.eq(walk.last_subgroups),
            self.order.repeats.eq(walk.repeats),
            self.order.words.eq(load.stream_words),
            self.order.kind.eq(KIND_CONV),
        ]
        with m.If(walk.op == Op.LOAD):
            m.d.comb += self.order.kind.eq(KIND_WORDS)
        with m.Elif(walk.op == Op.PAGE):
            m.d.comb += [self.order.kind.eq(KIND_WORDS), self.order.words.eq(self.page_words)]
        with m.Elif(walk.op == Op.VECTOR):
            m.d.comb += self.order.kind.eq(KIND_VECTOR)

    def _header(self, m: Module) -> None:
        """Header words to `following`; then where the instruction's tables go."""
        lengths = [words_of(LAYOUTS[Op(i)]) if i in iter(Op) else 1 for i in range(16)]
        at = Signal(range(HEADER_WORDS + 1))
        complete = Signal()  # all words of the header are taken
        walk, fetch = self.walk, self.fetch
        with m.State("HEADER"):
            with m.If(~complete & self.present):
                m.d.comb += self.take.eq(1)
                m.d.sync += at.eq(at + 1)
                for index, word in enumerate(self.words):
                    with m.If(at == index):
                        m.d.sync += word.eq(self.word)
                with m.If(at == 0):  # the opcode comes from the program memory
                    m.d.sync += complete.eq(Array(n == 1 for n in lengths)[self.word[:4]])
                with m.Else():
                    m.d.sync += complete.eq(at + 1 == Array(lengths)[walk.op])
            with m.Elif(complete):
                m.d.sync += [at.eq(0), complete.eq(0), self.index.eq(0)]
                m.next = "CHECK"
                with m.If(walk.op > max(Op)):
                    self._fail(m, ErrorCode.BAD_INSTRUCTION)
            with m.Elif(self.exhausted):
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
                    with m.If(~self.fetch_valid):
                        m.d.sync += [
                            self.fetch_valid.eq(1),
                            self.request.eq(Cat(fetch.region, fetch.offset, fetch.words)),
                        ]
                        m.next = "HEADER"
                with m.Case(Op.LOAD):
                    m.next = "ORDER"
                with m.Case(Op.PAGE):
                    with m.If(~self.words_busy):
                        m.next = "ORDER"
                    with m.If(self.wrong_page):
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
                with m.If(self.present):
                    m.d.comb += [write.eq(1), self.take.eq(1)]
                    m.d.sync += [
                        self.index.eq(self.index + 1),
                        self.left.eq(self.left - 1),
                        self.final.eq(self.left == 2),
                    ]
                    with m.If(self.final):
                        yield
                with m.Elif(self.exhausted):
                    self._fail(m, ErrorCode.PROGRAM_OVERFLOW)

        with table("BLOCKS", self.block_write):
            self._enter_table(m, walk.n_taps, single["n_taps"], "TAPS")
        with table("TAPS", self.tap_write):
            m.next = "ORDER"
            with m.If(walk.op == Op.POOL):
                m.next = "DECODED"
        with table("SOURCES", self.source_write):
            self._enter_table(m, vector.y_words, single["y_words"], "Y_TABLE")
            with m.If(vector.direct):
                m.next = "ORDER"
        with table("Y_TABLE", self.y_write):
            self._enter_table(m, vector.x_words, single["x_words"], "X_TABLE")
        with table("X_TABLE", self.x_write):
            m.next = "ORDER"
