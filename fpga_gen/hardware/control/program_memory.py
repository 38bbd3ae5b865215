"""Program memory of the sequencer, and its filling at the start of a run."""

from __future__ import annotations

from amaranth.hdl import Array, Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from fpga_gen.contract.params import EngineParams
from fpga_gen.hardware.common.fan_out import KEEP
from fpga_gen.hardware.common.ram import RamShape, place_ram

PART_COPIES = 4  # of the counter that cuts a stream word into program words


def program_shape(params: EngineParams) -> RamShape:
    return RamShape(64, params.program_words, "block")


class ProgramMemory(wiring.Component):
    """`start` orders the program from the loader and writes its 64-bit words one per cycle.

    Members:
        start: In, pulse; program_words: In(24), stream words of program.
        order_valid, order_ready: the loader's command for the program.
        boot: Out, the words of the loader are the program's; boot_valid, boot_ready, boot_data:
            those words.
        ordered: Out, level from the order on.
        filled: Out, pulse, the program is in memory. overflow: Out, pulse, it does not fit.
        end: Out, program words written.
        address: In, `word` is the one at `address` a cycle ago.
    """

    def __init__(self, params: EngineParams, *, expand: bool = False) -> None:
        self.params = params
        self.expand = expand
        self.address_bits = (params.program_words - 1).bit_length()
        super().__init__(
            {
                "start": In(1),
                "program_words": In(24),
                "order_valid": Out(1),
                "order_ready": In(1),
                "boot": Out(1),
                "boot_valid": In(1),
                "boot_ready": Out(1),
                "boot_data": In(params.stream_bits),
                "ordered": Out(1),
                "filled": Out(1),
                "overflow": Out(1),
                "end": Out(self.address_bits + 1),
                "address": In(self.address_bits),
                "word": Out(64),
            }
        )

    def elaborate(self, platform) -> Module:
        m = Module()
        p = self.params
        ram = place_ram(m, "program", program_shape(p), expand=self.expand)
        words_left = Signal(24, reset_less=True)
        none_left = Signal()  # words_left is 0, one cycle late
        per_word = p.stream_bits // 64
        part = Signal(range(max(per_word, 2)))
        final_part = Signal()  # `part` is the last one
        parts = [Signal.like(part, name=f"part_copy{n}", attrs=KEEP) for n in range(PART_COPIES)]
        following_part = Signal.like(part)
        end = Signal(len(self.end))
        bits = 64 // PART_COPIES
        m.d.comb += [
            following_part.eq(part),
            ram.r_addr.eq(self.address),
            self.word.eq(ram.r_data),
            ram.w_data.eq(
                Cat(
                    Array(
                        self.boot_data[64 * k + n * bits : 64 * k + (n + 1) * bits]
                        for k in range(per_word)
                    )[copy]
                    for n, copy in enumerate(parts)
                )
            ),
            ram.w_addr.eq(end[: self.address_bits]),
            self.end.eq(end),
        ]
        m.d.sync += [
            none_left.eq(words_left == 0),
            *(register.eq(following_part) for register in (part, *parts)),
            final_part.eq(following_part == per_word - 1),
        ]
        with m.FSM(name="boot"):
            with m.State("IDLE"):
                m.d.comb += following_part.eq(0)
                with m.If(self.start):
                    m.d.sync += [words_left.eq(self.program_words), end.eq(0)]
                    m.next = "ORDER"
            with m.State("ORDER"):
                m.d.comb += self.order_valid.eq(1)
                with m.If(self.order_ready):
                    m.d.sync += self.boot.eq(1)  # a register, because it gates the words of LOADs
                    m.next = "FILL"
            with m.State("FILL"):
                m.d.comb += self.boot_ready.eq(final_part & ~none_left)
                m.d.sync += self.ordered.eq(1)
                with m.If(none_left):
                    m.d.comb += self.filled.eq(1)
                    m.d.sync += self.boot.eq(0)
                    m.next = "FILLED"
                with m.Elif(self.boot_valid):
                    m.d.comb += [
                        ram.w_en.eq(1),
                        following_part.eq(Mux(final_part, 0, part + 1)),
                    ]
                    m.d.sync += end.eq(end + 1)
                    with m.If(final_part):
                        m.d.sync += words_left.eq(words_left - 1)
                    with m.If(end == p.program_words):
                        m.d.comb += self.overflow.eq(1)
                        m.d.sync += self.boot.eq(0)
                        m.next = "FILLED"
            with m.State("FILLED"):  # until the shell resets the engine
                pass
        return m
