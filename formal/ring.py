"""The ring of weights: no word is read before it is there or overwritten while it is kept."""

from __future__ import annotations

from dataclasses import replace

from amaranth.hdl import Signal

from formal.bench import Bench
from formal.mutation import Mutation
from formal.proof import Proof
from fpga_gen.contract.params import EngineParams
from fpga_gen.hardware.loader import weight_ring
from fpga_gen.hardware.loader.joints import available

PARAMS = replace(EngineParams(), ports=1, weight_words=8)


def ring() -> Bench:
    dut = weight_ring.WeightRing(PARAMS, expand=True)
    b = Bench(dut)
    m, read, depth = b.m, dut.read, PARAMS.weight_words
    bits = len(read.read_pointer)
    write_pointer, last_written = b.signal("write_pointer"), b.signal("last_written")
    write = b.named(dut.words.valid & dut.words.ready, "written")
    target, aligned = b.signal("target"), b.signal("aligned")
    free = read.free_pointer

    def ahead(pointer, name: str) -> Signal:
        """Words from the oldest one that is kept up to a pointer."""
        signal = Signal(bits, name=name)
        m.d.comb += signal.eq(pointer - free)
        return signal

    filled, at = ahead(write_pointer, "filled_words"), ahead(read.read_pointer, "read_words")
    goal, whole = ahead(target, "target_words"), ahead(aligned, "aligned_words")
    # The loader (see LoaderControl): one order at a time; takes only words that are there, goes
    # back only to words that are kept, frees only words behind which it reads.
    b.assume(read.seek + read.align + read.advance <= 1)
    b.assume(~read.advance | available(read))
    b.assume(~read.seek | (goal <= filled))
    b.assume(~read.align | (whole <= filled))
    released = Signal(bits)
    m.d.comb += released.eq(free - b.past(free, "free"))
    before = Signal(bits, name="read_words_before")
    m.d.sync += before.eq(at)
    moved = b.past(read.advance, "moved")
    b.assume(b.first | (released <= before + moved))
    b.assume(~b.first | (free == 0))
    b.assume(~(released != 0) | ~b.past(read.seek | read.align, "sought"))

    b.prove(filled <= depth, "a word that is kept is overwritten")
    b.prove(at <= filled, "the read pointer leaves the words that are kept")
    b.prove(~available(read) | (at < filled), "a word is available that is not there")
    b.prove(last_written == (write_pointer - 1)[:bits], "the last word written")
    room = b.signal("room")
    b.prove(~room | (filled <= depth - weight_ring.MARGIN), "room where there is none")
    # Any word: it is in its row until it is freed, and comes two cycles after it was taken.
    rows = b.rows("slice_0/mem")
    choose, marked = b.free(1, "follow_this_word"), Signal(name="followed")
    value, mine = Signal(PARAMS.stream_bits), Signal(bits)
    with m.If(write & choose & ~marked):
        m.d.sync += [marked.eq(1), value.eq(dut.words.payload), mine.eq(write_pointer)]
    kept = ahead(mine, "followed_words")
    with m.If(marked & (kept >= filled)):
        m.d.sync += marked.eq(0)  # freed
    storage = b.memory("slice_0/mem")
    port, data = storage._write_ports[0], storage._read_ports[0]._data
    fresh = b.past(write & choose & ~marked, "fresh")  # being written in this cycle
    here = marked & (kept < filled)
    row = rows[mine[:-1]]
    b.prove(~here | fresh | (row == value), "a word is overwritten")
    b.prove(~fresh | (marked & (mine == last_written) & (port._data == value)), "not written")
    b.prove(port._en.any() == b.past(write, "write"), "a write too many")
    b.prove(~port._en.any() | (port._addr == last_written[:-1]), "another row is written")
    taken = b.past(read.advance & here & (read.read_pointer == mine), "taken")
    b.prove(~taken | (data == b.past(value, "value")), "another word comes out")
    taken_2, value_2 = b.past(taken, "taken_2"), b.past(b.past(value, "v1"), "v2")
    b.prove(~taken_2 | (dut.word == value_2), "another word comes out")
    b.cover(taken & (value == 3), "a followed word is read")
    b.cover(filled == depth - weight_ring.MARGIN, "no more room")
    return b


PROOFS = (
    Proof(
        "weight_ring",
        "WeightRing",
        "no word is available before it is there, none that is kept is overwritten, each comes out "
        "as it was two cycles after it was taken, for any loader that keeps its protocol",
        ring,
        depth=3,
        cover_depth=16,
        mutations=(
            Mutation("loader.weight_ring", "room.eq(filled < depth - MARGIN)",
                     "room.eq(filled < depth)"),
            Mutation("loader.weight_ring", "read.spent.eq(read.advance)", "read.spent.eq(0)"),
            Mutation("loader.weight_ring", "present.eq(~(target == write_pointer))",
                     "present.eq(1)"),
        ),
    ),
)  # fmt: skip
