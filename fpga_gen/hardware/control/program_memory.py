"""Program memory: a ring that the stream fills and the decoder reads, one word a cycle."""

from __future__ import annotations

from amaranth.hdl import Array, Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, Signature

from fpga_gen.contract.fields import WORD_BITS
from fpga_gen.contract.isa import width
from fpga_gen.contract.params import EngineParams
from fpga_gen.hardware.common.fan_out import KEEP, copies
from fpga_gen.hardware.common.joints import ProgramFill
from fpga_gen.hardware.common.leaf import fields
from fpga_gen.hardware.common.ram import RamShape, place_ram

PART_COPIES = 4  # of the counter that picks a program word out of a stream word


def program_shape(params: EngineParams) -> RamShape:
    """A row is a stream word, so that the program is there as fast as the stream brings it."""
    return RamShape(params.stream_bits, params.program_words // params.program_parts, "block")


class ProgramRead(Signature):
    """ProgramMemory to the decoder.

    present: `word` is the next word of the program; want: it is taken in this cycle if it is
    present. exhausted: there is no next word, none is on its way, and there was no overflow; a
    cycle after that is so, and from two cycles after `page` on not any more. page: pulse, the
    loader has the command for `page_words` more stream words, at least one; not while the memory
    is being filled.
    """

    def __init__(self) -> None:
        super().__init__(
            {
                "present": Out(1),
                "word": Out(WORD_BITS),
                "want": In(1),
                "exhausted": Out(1),
                "page": In(1),
                "page_words": In(width("words")),
            }
        )


class ProgramMemory(wiring.Component):
    """The first `program_words` stream words after `start`, and those of every PAGE behind them.

    A page overwrites words that were taken. It never overwrites others: the word that would is
    dropped, and `overflow` says so, as it does at once when the first fill is larger than the
    memory. Decoding begins while the memory is being filled.

    Members:
        start: In, pulse; program_words: In, stream words of the first fill.
        order_valid, order_ready: the loader's command for the first fill.
        fill: the loader's words. ordered: Out, level from the order of the first fill on.
        read: to the decoder. overflow: Out, pulse.
    """

    def __init__(self, params: EngineParams, *, expand: bool = False) -> None:
        self.params = params
        self.expand = expand
        super().__init__(
            {
                "start": In(1),
                "program_words": In(width("words")),
                "order_valid": Out(1),
                "order_ready": In(1),
                "fill": In(ProgramFill(params)),
                "ordered": Out(1),
                "read": Out(ProgramRead()),
                "overflow": Out(1),
            }
        )

    def elaborate(self, platform) -> Module:
        m = Module()
        shape = program_shape(self.params)
        parts, rows = self.params.program_parts, shape.depth
        ram = place_ram(m, "program", shape, expand=self.expand)
        write = Signal()
        write_row = Signal(range(rows), reset_less=True)
        level = Signal(range(self.params.program_words + 1))  # words written and not yet taken
        begin = copies(m, self.start, 1, "begin")[0]  # of the pointers: long before they are used
        take = Signal()
        m.d.comb += [
            take.eq(self.read.want & self.read.present),
            ram.w_addr.eq(write_row),
            ram.w_data.eq(self.fill.word),
            ram.w_en.eq(write),
        ]
        m.d.sync += [
            write_row.eq(write_row + write),
            level.eq(level + Mux(write, parts, 0) - take),
        ]
        with m.If(begin):
            m.d.sync += write_row.eq(0)
        self._fill(m, write, level)
        self._read(m, ram, level, take, begin)
        return m

    def _fill(self, m: Module, write: Signal, level: Signal) -> None:
        p = self.params
        words_left = Signal(width("words"), reset_less=True)
        too_long, no_room = Signal(), Signal()
        m.d.comb += [
            too_long.eq(self.start & (self.program_words > p.program_words // p.program_parts)),
            no_room.eq(level > p.program_words - p.program_parts),
            write.eq(self.fill.filling & self.fill.valid & ~no_room),
            self.overflow.eq(too_long | (self.fill.filling & self.fill.valid & no_room)),
        ]
        with m.If(self.fill.filling & self.fill.valid):
            m.d.sync += words_left.eq(words_left - 1)
            with m.If(no_room | (words_left == 1)):
                m.d.sync += self.fill.filling.eq(0)
        with m.If(self.start & ~too_long):
            m.d.sync += [words_left.eq(self.program_words), self.order_valid.eq(1)]
        with m.If(self.order_valid & self.order_ready):
            m.d.sync += [self.order_valid.eq(0), self.ordered.eq(1), self.fill.filling.eq(1)]
        with m.If(self.read.page):
            m.d.sync += [words_left.eq(self.read.page_words), self.fill.filling.eq(1)]

    def _read(self, m: Module, ram, level: Signal, take: Signal, begin: Signal) -> None:
        """The next word's row is read ahead; a word written is read a cycle later."""
        parts = self.params.program_parts
        at = Signal(range(self.params.program_words), reset_less=True)
        plus, following = Signal.like(at), Signal.like(at)
        bits = (parts - 1).bit_length()
        picks = [
            Signal(range(parts), name=f"part_{n}", attrs=KEEP, reset_less=True)
            for n in range(PART_COPIES)
        ]
        piece = WORD_BITS // PART_COPIES
        words = fields(ram.r_data, WORD_BITS)
        none = Signal()  # after this cycle, of the words that are there to be read
        expected = Signal()  # words are on their way
        failed = Signal()  # `overflow` has told
        m.d.comb += [
            plus.eq(at + 1),  # in front of the choice: `take` comes late
            following.eq(Mux(take, plus, at)),
            ram.r_addr.eq(following >> bits),
            none.eq(Mux(take, level == 1, level == 0)),
            expected.eq(self.start | self.order_valid | self.fill.filling),
            self.read.word.eq(
                Cat(
                    Array(words[k][n * piece : (n + 1) * piece] for k in range(parts))[part]
                    for n, part in enumerate(picks)
                )
            ),
        ]
        m.d.sync += [
            at.eq(following),
            *(part.eq(following[:bits]) for part in picks),
            self.read.present.eq(~none),
            self.read.exhausted.eq((level == 0) & ~expected & ~failed),
            failed.eq(failed | self.overflow),
        ]
        with m.If(begin):
            m.d.sync += [register.eq(0) for register in (at, *picks)]
