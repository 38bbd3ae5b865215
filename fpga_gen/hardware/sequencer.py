"""Sequencer: loads the program, decodes ahead, starts instructions in order.

While one instruction runs, the next one's header and tables are decoded into the other half of the
table memories and its weights are ordered from the loader, so that dispatch costs a few cycles.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from amaranth.hdl import Array, Cat, Module, Mux, Signal, Value, ValueLike
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from fpga_gen.hardware.config_view import header_fields
from fpga_gen.hardware.fan_out import KEEP, LOADS, copies, copies_for
from fpga_gen.hardware.loader_control import COMMAND, KIND_CONV, KIND_VECTOR, KIND_WORDS
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
PART_COPIES = 4  # of the counter that cuts a stream word into program words
TABLE_SHAPE = RamShape(64, 2 * TABLE_HALF, "block")


def program_shape(params: EngineParams) -> RamShape:
    return RamShape(64, params.program_words, "block")


class Sequencer(wiring.Component):
    """See module docstring.

    Starts: walker_start (CONV, POOL), vector_start, load_start, store_start: pulses; `header` holds
    the instruction from the pulse on, until the next one (a STORE runs beside others). *_busy from
    the units; exit_idle: all results are readable.
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
        # Header of the instruction being decoded.
        words = [Signal(64, name=f"following_{i}", reset_less=True) for i in range(HEADER_WORDS)]
        self.words = words
        self.following = following = Cat(*words)
        self.walk = header_fields(following, Op.CONV)
        self.vector = header_fields(following, Op.VECTOR)
        self.is_walk = (self.walk.op == Op.CONV) | (self.walk.op == Op.POOL)
        self._checks(m)
        self._order(m)
        self._fetch(m)
        self._boot_word(m)
        dispatched = self._dispatch(m)
        self.left = Signal(range(MAX_TABLE // 2 + 1), reset_less=True)  # table words to come
        self.final = Signal()  # the last one is being written
        m.d.sync += [self.error.eq(0), self.done.eq(0)]
        with m.If(self.take):
            m.d.sync += self.pc.eq(self.pc + 1)
        with m.FSM(name="sequencer"):
            self._boot(m)
            self._header(m)
            self._table_states(m)
            with m.State("COMMAND"):
                m.d.comb += self.command_valid.eq(1)
                with m.If(self.command_ready):
                    m.next = "DISPATCH"
            with m.State("DISPATCH"):
                with m.If(self.may_start):
                    m.d.comb += dispatched.eq(1)
                    m.next = "TAKE"
            with m.State("TAKE"):  # the header is copied
                m.next = "START"
                for ops, pulse in (
                    ((Op.CONV, Op.POOL), self.walker_start),
                    ((Op.VECTOR,), self.vector_start),
                    ((Op.LOAD,), self.load_start),
                    ((Op.STORE,), self.store_start),
                    ((Op.END,), self.done),
                ):
                    with m.If(Cat(self.walk.op == op for op in ops).any()):
                        m.d.sync += pulse.eq(1)
            with m.State("START"):
                m.next = "HEADER"
                with m.If(self.done):
                    m.next = "STOPPED"
            with m.State("STOPPED"):  # until the shell resets the engine
                pass

    def _fail(self, m: Module, code: ErrorCode) -> None:
        m.d.sync += [self.error.eq(1), self.error_code.eq(code)]
        m.next = "STOPPED"

    def _checks(self, m: Module) -> None:
        """What the states decide on, one cycle late."""
        p, walk, vector = self.params, self.walk, self.vector
        self.wrong_walk, self.wrong_vector = Signal(), Signal()
        self.single = {
            name: Signal(name=f"single_{name}")
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

    def _order(self, m: Module) -> None:
        """The loader's command: the program first, then those of the instructions."""
        load = header_fields(self.following, Op.LOAD)
        self.booted = Signal()
        m.d.comb += [
            self.command.mode.eq(Mux(self.walk.op == Op.VECTOR, 0, self.walk.mode)),
            self.command.groups.eq(self.walk.n_groups),
            self.command.tiles.eq(self.walk.n_tiles),
            self.command.slots.eq(self.walk.slots),
            self.command.half_from.eq(self.walk.half_from),
            self.command.high_from.eq(self.walk.high_from),
            self.command.last_subgroups.eq(self.walk.last_subgroups),
            self.command.repeats.eq(self.walk.repeats),
            self.command.words.eq(Mux(self.booted, load.stream_words, self.program_words)),
            self.command.kind.eq(KIND_CONV),
        ]
        with m.If(~self.booted | (self.walk.op == Op.LOAD)):
            m.d.comb += self.command.kind.eq(KIND_WORDS)
        with m.Elif(self.walk.op == Op.VECTOR):
            m.d.comb += self.command.kind.eq(KIND_VECTOR)

    def _dispatch(self, m: Module) -> Signal:
        """Returns the strobe that takes the decoded instruction over; it starts two cycles later,
        when its header is there."""
        dispatched = Signal()
        units_idle = Signal()
        after_store = Signal()  # the instruction waits for the store unit
        alone = Signal()  # the instruction needs all earlier results in memory
        self.may_start = Signal()
        m.d.comb += [
            units_idle.eq(
                ~(self.walker_busy | self.vector_busy | self.load_busy)
                & ~(self.store_busy & after_store)
            ),
            after_store.eq((self.walk.op == Op.STORE) | (self.walk.op == Op.END)),
            alone.eq(self.walk.wait | ~(self.is_walk | (self.walk.op == Op.STORE))),
            self.may_start.eq(
                units_idle
                & (self.exit_idle | ~alone)
                & ((self.walk.op != Op.VECTOR) | self.params_ready)
            ),
        ]
        header = Signal(len(self.header), reset_less=True)
        parts = copies_for(len(header))
        *enables, layer_start = copies(m, dispatched, parts + 1, "take", reset_less=False)
        for n, enable in enumerate(enables):
            with m.If(enable):
                part = slice(n * LOADS, (n + 1) * LOADS)
                m.d.sync += header[part].eq(self.following[part])
        m.d.comb += [self.header.eq(header), self.layer_start.eq(layer_start)]
        pulses = (self.walker_start, self.vector_start, self.load_start, self.store_start)
        m.d.sync += [pulse.eq(0) for pulse in pulses]
        with m.If(dispatched):
            m.d.sync += [
                self.layer.eq(self.layer + 1),
                self.running_half.eq(Mux(self.is_walk, self.decode_half, self.running_half)),
            ]
        return dispatched

    def _boot_word(self, m: Module) -> None:
        """The stream word cut into program words; the counters of the boot."""
        p = self.params
        self.words_left = words_left = Signal(24, reset_less=True)
        self.none_left = none_left = Signal()  # words_left is 0, one cycle late
        per_word = p.stream_bits // 64
        self.part = part = Signal(range(max(per_word, 2)))
        self.final_part = final_part = Signal()  # `part` is the last one
        parts = [Signal.like(part, name=f"part_copy{n}", attrs=KEEP) for n in range(PART_COPIES)]
        self.following_part = following_part = Signal.like(part)
        self.end = end = Signal(len(self.pc))  # program words written
        bits = 64 // PART_COPIES
        m.d.comb += [
            following_part.eq(part),
            self.program.w_data.eq(
                Cat(
                    Array(
                        self.boot_data[64 * k + n * bits : 64 * k + (n + 1) * bits]
                        for k in range(per_word)
                    )[copy]
                    for n, copy in enumerate(parts)
                )
            ),
            self.program.w_addr.eq(end[: len(self.program.w_addr)]),
        ]
        m.d.sync += [
            none_left.eq(words_left == 0),
            *(register.eq(following_part) for register in (part, *parts)),
            final_part.eq(following_part == per_word - 1),
        ]

    def _boot(self, m: Module) -> None:
        """States that bring the program into its memory."""
        p, end = self.params, self.end
        with m.State("IDLE"):
            m.d.comb += self.following_part.eq(0)
            with m.If(self.start):
                m.d.sync += [self.words_left.eq(self.program_words), end.eq(0)]
                m.next = "BOOT_COMMAND"
        with m.State("BOOT_COMMAND"):
            m.d.comb += self.command_valid.eq(1)
            with m.If(self.command_ready):
                m.d.sync += self.boot.eq(1)  # a register, because it gates the words of LOADs
                m.next = "BOOT"
        with m.State("BOOT"):
            m.d.comb += self.boot_ready.eq(self.final_part & ~self.none_left)
            m.d.sync += self.booted.eq(1)
            with m.If(self.none_left):
                m.d.sync += [self.pc.eq(0), self.boot.eq(0)]
                m.next = "REFILL"
            with m.Elif(self.boot_valid):
                m.d.comb += [
                    self.program.w_en.eq(1),
                    self.following_part.eq(Mux(self.final_part, 0, self.part + 1)),
                ]
                m.d.sync += end.eq(end + 1)
                with m.If(self.final_part):
                    m.d.sync += self.words_left.eq(self.words_left - 1)
                with m.If(end == p.program_words):
                    m.d.sync += self.boot.eq(0)
                    self._fail(m, ErrorCode.PROGRAM_OVERFLOW)
        with m.State("REFILL"):  # the word at a new pc takes a cycle
            m.next = "HEADER"

    def _header(self, m: Module) -> None:
        """Header words to `following`; then where the instruction's tables go."""
        lengths = [words_of(LAYOUTS[Op(i)]) if i in iter(Op) else 1 for i in range(16)]
        at = Signal(range(HEADER_WORDS + 1))
        complete = Signal()  # all words of the header are taken
        walk, fetch = self.walk, header_fields(self.following, Op.FETCH)
        with m.State("HEADER"):
            with m.If(~complete):
                m.d.comb += self.take.eq(1)
                m.d.sync += at.eq(at + 1)
                for index, word in enumerate(self.words):
                    with m.If(at == index):
                        m.d.sync += word.eq(self.word)
                with m.If(at == 0):  # the opcode comes from the program memory
                    m.d.sync += complete.eq(Array(n == 1 for n in lengths)[self.word[:4]])
                with m.Else():
                    m.d.sync += complete.eq(at + 1 == Array(lengths)[walk.op])
                with m.If(self.pc >= self.end):
                    self._fail(m, ErrorCode.PROGRAM_OVERFLOW)
            with m.Else():
                m.d.sync += [at.eq(0), complete.eq(0), self.table_index.eq(0)]
                m.next = "CHECK"
                with m.If(walk.op > max(Op)):
                    self._fail(m, ErrorCode.BAD_INSTRUCTION)
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
                    m.next = "COMMAND"
                with m.Default():
                    m.next = "DISPATCH"

    def _enter_table(self, m: Module, count: Value, single: ValueLike, state: str) -> None:
        m.d.sync += [self.table_index.eq(0), self.left.eq(count), self.final.eq(single)]
        m.next = state

    def _table_states(self, m: Module) -> None:
        """A table word per cycle to where it belongs."""
        walk, vector, single = self.walk, self.vector, self.single

        @contextmanager
        def table(state: str, write: Signal) -> Iterator[None]:
            """What follows the last word."""
            with m.State(state):
                m.d.comb += [write.eq(1), self.take.eq(1)]
                m.d.sync += [
                    self.table_index.eq(self.table_index + 1),
                    self.left.eq(self.left - 1),
                    self.final.eq(self.left == 2),
                ]
                with m.If(self.final):
                    yield

        with table("BLOCKS", self.block_write):
            self._enter_table(m, walk.n_taps, single["n_taps"], "TAPS")
        with table("TAPS", self.tap_write):
            m.next = "COMMAND"
            with m.If(walk.op == Op.POOL):
                m.next = "DISPATCH"
        with table("SOURCES", self.source_write):
            self._enter_table(m, vector.y_words, single["y_words"], "Y_TABLE")
            with m.If(vector.direct):
                m.next = "COMMAND"
        with table("Y_TABLE", self.y_write):
            self._enter_table(m, vector.x_words, single["x_words"], "X_TABLE")
        with table("X_TABLE", self.x_write):
            m.next = "COMMAND"
