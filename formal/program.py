"""The program memory: every word once and in order, none overwritten before it was taken."""

from __future__ import annotations

from dataclasses import replace

from amaranth.hdl import Array, Cat, Signal

from formal.bench import Bench
from formal.mutation import Mutation
from formal.proof import Proof
from fpga_gen.contract.fields import WORD_BITS
from fpga_gen.contract.params import EngineParams
from fpga_gen.hardware.control import program_memory

WORDS = 64
PARAMS = replace(EngineParams(), ports=4, program_words=WORDS)


def bits(word):
    """One bit of every piece that has a choice of its own: all its bits are treated alike."""
    piece = WORD_BITS // program_memory.PART_COPIES
    return Cat(word[at] for at in range(0, WORD_BITS, piece))


def memory() -> Bench:
    dut = program_memory.ProgramMemory(PARAMS, expand=True)
    b = Bench(dut)
    m, read, fill = b.m, dut.read, dut.fill
    parts = PARAMS.program_parts
    at, level, write, take = (b.signal(n) for n in ("at", "level", "write", "take"))
    left = b.signal("words_left")
    # The engine starts once behind a reset; a page is ordered when nothing is being filled, with
    # a length (see ProgramRead); the loader brings words only while it fills.
    begun = Signal(name="begun")
    m.d.sync += begun.eq(begun | dut.start)
    b.assume(~dut.start | (~begun & (dut.program_words != 0)))
    b.assume(~read.page | (dut.ordered & ~fill.filling & (read.page_words != 0)))
    b.assume(~fill.valid | fill.filling)

    b.prove(level <= WORDS, "more words than there is room for")
    b.prove(~read.present | (level != 0), "a word out of nothing")
    b.prove(~dut.overflow | ~write, "a word that finds no room is written")
    b.prove(begun | ~(fill.filling | dut.order_valid | dut.ordered), "works before the start")
    b.prove(~fill.filling | (left != 0), "fills without an order")
    b.prove(~dut.order_valid | ~(fill.filling | dut.ordered | (left == 0)), "two orders")
    late = b.past(dut.start, "start")
    b.prove(b.signal("begin_copy0") == late, "begin")
    b.prove(~late | ((level == 0) & ~fill.filling), "filled before the pointers are set")
    write_row = b.signal("write_row")
    distance = Signal(range(WORDS))
    m.d.comb += distance.eq(at + level - write_row * parts)
    b.prove(begun & ~late | (level == 0), "words before the start")
    b.prove(late | ~begun | (distance == 0), "pointers and level differ")

    # Any word of any row.
    choose, part = b.free(1, "follow_this_word"), b.constant(range(parts), "part")
    marked, value = Signal(name="followed"), Signal(program_memory.PART_COPIES)
    ahead = Signal(7)
    words = Array(bits(fill.word[k * WORD_BITS : (k + 1) * WORD_BITS]) for k in range(parts))
    with m.If(write & choose & ~marked):
        m.d.sync += [marked.eq(1), value.eq(words[part]), ahead.eq(level - take + part)]
    with m.If(marked & take):
        m.d.sync += ahead.eq(ahead - 1)
        with m.If(ahead == 0):
            m.d.sync += marked.eq(0)
    rows = b.rows("program/mem")

    def word(row, number):
        return Array(bits(row[k * WORD_BITS : (k + 1) * WORD_BITS]) for k in range(parts))[number]

    place = Signal(range(WORDS))
    m.d.comb += place.eq(at + ahead)
    low = (parts - 1).bit_length()
    row = Signal(PARAMS.stream_bits)
    m.d.comb += row.eq(rows[place[low:]])
    b.prove(~marked | begun & ~late, "a word before the start")
    b.prove(~marked | (ahead < level), "a word is lost")
    b.prove(~marked | (word(row, place[:low]) == value), "a word is overwritten")
    here = Signal(PARAMS.stream_bits)
    m.d.comb += here.eq(rows[at[low:]])
    b.prove(~read.present | (bits(read.word) == word(here, at[:low])), "another word is shown")
    b.prove(~(marked & take & (ahead == 0)) | (bits(read.word) == value), "a word changes")
    # It tells when there is no more.
    waits = b.past((level != 0) & ~take & ~dut.start, "waits")
    b.prove(~waits | read.present | late, "a word does not come")
    b.prove(~read.exhausted | ~b.past(level != 0, "some"), "exhausted with words left")
    b.prove(~read.exhausted | ~b.past(fill.filling, "filling"), "exhausted while it is filled")
    b.cover(marked & take & (ahead == 0) & (value == 5), "a followed word is taken")
    b.cover(dut.overflow & fill.valid, "no room")
    b.cover(read.exhausted & begun, "the end")
    return b


PROOFS = (
    Proof(
        "program_memory",
        "ProgramMemory",
        "every word of the program and of its pages comes once, in order, as it was; none is "
        "overwritten before it is taken: the word without room is dropped and told",
        memory,
        depth=1,
        cover_depth=16,
        mutations=(
            Mutation("control.program_memory", "level > p.program_words - p.program_parts",
                     "level > p.program_words"),
            Mutation("control.program_memory", "Mux(take, level == 1, level == 0)", "level == 0"),
            Mutation("control.program_memory", "following.eq(Mux(take, plus, at))",
                     "following.eq(Mux(self.read.want, plus, at))"),
        ),
    ),
)  # fmt: skip
