"""Sequencer: loads the program, decodes ahead, starts instructions in order.

While one instruction runs, the next one's header and tables are decoded into the other half of the
table memories and its weights are ordered from the loader, so that dispatch costs a few cycles.
"""

from __future__ import annotations

from amaranth.hdl import Array, Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from fpga_gen.hardware.config_view import header_fields
from fpga_gen.hardware.loader import COMMAND, KIND_CONV, KIND_VECTOR, KIND_WORDS
from fpga_gen.hardware.params import EngineParams
from fpga_gen.hardware.ram import RamShape, place_ram
from fpga_gen.isa import (
    HEADER_WORDS,
    LAYOUTS,
    MAX_SOURCES,
    MAX_TABLE,
    SOURCE,
    Op,
    words_of,
)
from fpga_gen.registers import ErrorCode

TABLE_HALF = 256
TABLE_SHAPE = RamShape(64, 2 * TABLE_HALF, "block")


def program_shape(params: EngineParams) -> RamShape:
    return RamShape(64, params.program_words, "block")


class Sequencer(wiring.Component):
    """See module docstring.

    Starts: walker_start (CONV, POOL), vector_start, load_start, store_start: pulses; `header` holds
    the instruction from the pulse on. *_busy from the units; exit_idle: all results are readable.
    block_index/tap_index -> block/tap one cycle later. done: pulse after END.
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
                "boot": Out(1),
                "boot_valid": In(1),
                "boot_ready": Out(1),
                "boot_data": In(params.stream_bits),
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
        self._program(m)
        self._tables(m)
        self._decode(m)
        return m

    def _program(self, m: Module) -> None:
        p = self.params
        bits = (p.program_words - 1).bit_length()
        self.program = ram = place_ram(m, "program", program_shape(p), expand=self.expand)
        self.pc = Signal(bits + 1)
        self.take = Signal()  # the word at `pc` is used in this cycle
        self.word = ram.r_data
        m.d.comb += ram.r_addr.eq((self.pc + self.take)[:bits])

    def _tables(self, m: Module) -> None:
        self.running_half = Signal()
        self.decode_half = Signal()
        m.d.comb += self.decode_half.eq(~self.running_half)
        self.table_index = Signal(range(MAX_TABLE))
        self.block_write = Signal()
        self.tap_write = Signal()
        for name, index, write, out in (
            ("blocks", self.block_index, self.block_write, self.block),
            ("taps", self.tap_index, self.tap_write, self.tap),
        ):
            ram = place_ram(m, name, TABLE_SHAPE, expand=self.expand)
            m.d.comb += [
                ram.w_addr.eq(Cat(self.table_index[:8], self.decode_half)),
                ram.w_data.eq(self.word),
                ram.w_en.eq(write),
                ram.r_addr.eq(Cat(index, self.running_half)),
                out.eq(ram.r_data),
            ]
        m.d.comb += [
            self.write_data.eq(self.word),
            self.source_index.eq(self.table_index[1:]),
            self.source_word.eq(self.table_index[0]),
            self.table_pair.eq(self.table_index),
        ]
        assert words_of(SOURCE) == 2

    def _decode(self, m: Module) -> None:
        p = self.params
        # Header of the instruction being decoded.
        words = [Signal(64, name=f"following_{i}", reset_less=True) for i in range(HEADER_WORDS)]
        following = Cat(*words)
        walk = header_fields(following, Op.CONV)
        vector = header_fields(following, Op.VECTOR)
        fetch = header_fields(following, Op.FETCH)
        load = header_fields(following, Op.LOAD)
        lengths = [words_of(LAYOUTS[Op(i)]) if i in iter(Op) else 1 for i in range(16)]
        at = Signal(range(HEADER_WORDS + 1))
        first_op = self.word[:4]
        op = Signal(4)
        length = Signal(range(HEADER_WORDS + 1))
        m.d.comb += [
            op.eq(Mux(at == 0, first_op, walk.op)),
            length.eq(Array(lengths)[op]),
        ]
        words_left = Signal(24)
        none_left = Signal()  # words_left is 0, one cycle late
        wrong_walk, wrong_vector = Signal(), Signal()  # one cycle late
        per_word = p.stream_bits // 64
        part = Signal(range(max(per_word, 2)))
        end = Signal(len(self.pc))  # program words written
        pairs = Signal(range(MAX_TABLE // 2 + 1))
        units_idle = Signal()
        alone = Signal()  # the instruction needs all earlier results in memory
        is_walk = (walk.op == Op.CONV) | (walk.op == Op.POOL)
        m.d.comb += [
            units_idle.eq(
                ~(self.walker_busy | self.vector_busy | self.load_busy | self.store_busy)
            ),
            alone.eq(walk.wait | ~is_walk),
            self.fetch_region.eq(fetch.region),
            self.fetch_offset.eq(fetch.offset),
            self.fetch_words.eq(fetch.words),
            self.program.w_data.eq(self.boot_data.word_select(part, 64)),
            self.program.w_addr.eq(end[: len(self.program.w_addr)]),
        ]
        with m.If(self.take):
            m.d.sync += self.pc.eq(self.pc + 1)
        bad_walk = (
            (walk.n_blocks == 0)
            | (walk.n_taps == 0)
            | (walk.n_tiles == 0)
            | (walk.tile_groups == 0)
            | (walk.tile_groups > p.tile_groups)
            | (walk.n_groups == 0)
            | (walk.lanes == 0)
            | ~Array([m_ + 1 in p.modes for m_ in range(4)])[walk.mode]
        )
        bad_vector = (
            (vector.n_blocks == 0)
            | (vector.n_sources == 0)
            | (vector.n_sources > MAX_SOURCES)
            | (vector.out_h == 0)
            | (vector.out_w == 0)
            | (vector.pair & (p.vector_pixels == 1))
            | (~vector.direct & ((vector.y_words == 0) | (vector.x_words == 0)))
            | (vector.y_words > MAX_TABLE // 2)
            | (vector.x_words > MAX_TABLE // 2)
        )
        m.d.sync += [
            none_left.eq(words_left == 0),
            wrong_walk.eq(bad_walk),
            wrong_vector.eq(bad_vector),
        ]

        def fail(code: ErrorCode) -> None:
            m.d.comb += [self.error.eq(1), self.error_code.eq(code)]
            m.next = "STOPPED"

        def table(state: str, write, count, following_state: str) -> None:
            with m.State(state):
                m.d.comb += [write.eq(1), self.take.eq(1)]
                m.d.sync += self.table_index.eq(self.table_index + 1)
                with m.If(self.table_index == count - 1):
                    m.d.sync += self.table_index.eq(0)
                    m.next = following_state

        with m.FSM(name="sequencer"):
            with m.State("IDLE"):
                with m.If(self.start):
                    m.d.sync += [words_left.eq(self.program_words), end.eq(0), part.eq(0)]
                    m.next = "BOOT_COMMAND"
            with m.State("BOOT_COMMAND"):
                m.d.comb += [
                    self.command_valid.eq(1),
                    self.command.kind.eq(KIND_WORDS),
                    self.command.words.eq(self.program_words),
                ]
                with m.If(self.command_ready):
                    m.next = "BOOT"
            with m.State("BOOT"):
                m.d.comb += self.boot.eq(1)
                with m.If(none_left):
                    m.d.sync += [self.pc.eq(0), at.eq(0)]
                    m.next = "REFILL"
                with m.Elif(self.boot_valid):
                    m.d.comb += self.program.w_en.eq(1)
                    m.d.sync += [end.eq(end + 1), part.eq(part + 1)]
                    with m.If(part == per_word - 1):
                        m.d.comb += self.boot_ready.eq(1)
                        m.d.sync += [part.eq(0), words_left.eq(words_left - 1)]
                    with m.If(end == p.program_words):
                        fail(ErrorCode.PROGRAM_OVERFLOW)
            with m.State("REFILL"):  # the word at a new pc takes a cycle
                m.next = "HEADER"
            with m.State("HEADER"):
                m.d.comb += self.take.eq(1)
                m.d.sync += at.eq(at + 1)
                for index, word in enumerate(words):
                    with m.If(at == index):
                        m.d.sync += word.eq(self.word)
                with m.If(at == length - 1):
                    m.d.sync += [at.eq(0), self.table_index.eq(0)]
                    m.next = "COMPARE"
                with m.If(self.pc >= end):
                    fail(ErrorCode.PROGRAM_OVERFLOW)
                with m.Elif(op > max(Op)):
                    fail(ErrorCode.BAD_INSTRUCTION)
            with m.State("COMPARE"):
                m.next = "CHECK"
            with m.State("CHECK"):
                with m.Switch(walk.op):
                    with m.Case(Op.CONV, Op.POOL):
                        m.next = "BLOCKS"
                        with m.If(wrong_walk):
                            fail(ErrorCode.BAD_INSTRUCTION)
                    with m.Case(Op.VECTOR):
                        with m.If(~self.vector_busy):
                            m.next = "SOURCES"
                        with m.If(wrong_vector):
                            fail(ErrorCode.BAD_INSTRUCTION)
                    with m.Case(Op.FETCH):
                        m.d.comb += self.fetch_valid.eq(1)
                        with m.If(self.fetch_ready):
                            m.next = "HEADER"
                    with m.Case(Op.LOAD):
                        m.next = "COMMAND"
                    with m.Default():
                        m.next = "DISPATCH"
            table("BLOCKS", self.block_write, walk.n_blocks, "TAPS")
            with m.State("TAPS"):
                m.d.comb += [self.tap_write.eq(1), self.take.eq(1)]
                m.d.sync += self.table_index.eq(self.table_index + 1)
                with m.If(self.table_index == walk.n_taps - 1):
                    m.next = "COMMAND"
                    with m.If(walk.op == Op.POOL):
                        m.next = "DISPATCH"
            with m.State("SOURCES"):
                m.d.comb += [self.source_write.eq(1), self.take.eq(1)]
                m.d.sync += self.table_index.eq(self.table_index + 1)
                with m.If(self.table_index == (vector.n_sources << 1) - 1):
                    m.d.sync += [
                        self.table_index.eq(0),
                        pairs.eq(vector.y_words),
                    ]
                    m.next = "COMMAND"
                    with m.If(~vector.direct):
                        m.next = "Y_TABLE"
            with m.State("Y_TABLE"):
                m.d.comb += [self.y_write.eq(1), self.take.eq(1)]
                m.d.sync += self.table_index.eq(self.table_index + 1)
                with m.If(self.table_index == pairs - 1):
                    m.d.sync += [
                        self.table_index.eq(0),
                        pairs.eq(vector.x_words),
                    ]
                    m.next = "X_TABLE"
            table("X_TABLE", self.x_write, pairs, "COMMAND")
            with m.State("COMMAND"):
                m.d.comb += [
                    self.command_valid.eq(1),
                    self.command.mode.eq(walk.mode),
                    self.command.groups.eq(walk.n_groups),
                    self.command.tiles.eq(walk.n_tiles),
                    self.command.slots.eq(walk.slots),
                    self.command.half_from.eq(walk.half_from),
                    self.command.high_from.eq(walk.high_from),
                    self.command.last_subgroups.eq(walk.last_subgroups),
                    self.command.repeats.eq(walk.repeats),
                    self.command.words.eq(load.stream_words),
                    self.command.kind.eq(KIND_CONV),
                ]
                with m.Switch(walk.op):
                    with m.Case(Op.VECTOR):
                        m.d.comb += [self.command.kind.eq(KIND_VECTOR), self.command.mode.eq(0)]
                    with m.Case(Op.LOAD):
                        m.d.comb += self.command.kind.eq(KIND_WORDS)
                with m.If(self.command_ready):
                    m.next = "DISPATCH"
            with m.State("DISPATCH"):
                with m.If(
                    units_idle
                    & (self.exit_idle | ~alone)
                    & ((walk.op != Op.VECTOR) | self.params_ready)
                ):
                    m.d.sync += [
                        self.header.eq(following),
                        self.layer.eq(self.layer + 1),
                    ]
                    m.d.comb += self.layer_start.eq(1)
                    m.next = "START"
            with m.State("START"):
                m.next = "HEADER"
                with m.Switch(walk.op):
                    with m.Case(Op.CONV, Op.POOL):
                        m.d.comb += self.walker_start.eq(1)
                    with m.Case(Op.VECTOR):
                        m.d.comb += self.vector_start.eq(1)
                    with m.Case(Op.LOAD):
                        m.d.comb += self.load_start.eq(1)
                    with m.Case(Op.STORE):
                        m.d.comb += self.store_start.eq(1)
                    with m.Default():  # END
                        m.d.comb += self.done.eq(1)
                        m.next = "STOPPED"
            with m.State("STOPPED"):  # until the shell resets the engine
                pass
        with m.If(self.layer_start & is_walk):
            m.d.sync += self.running_half.eq(self.decode_half)
