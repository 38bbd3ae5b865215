"""Unpacks the words of a LOAD: every fourth memory word came in the spare bytes of three others."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from fpga_gen.contract.params import EngineParams
from fpga_gen.hardware.common.fan_out import KEEP, LOADS, copies, copies_for
from fpga_gen.hardware.common.joints import Issue

PERIOD = 4  # memory words for PERIOD - 1 stream words


class LoadUnpack(wiring.Component):
    """Stream words in, words for the memory out, a word in and out per cycle.

    A stream word is `load_words` memory words. Without `packed` they pass as they are. With it the
    last quarter of each of three words is kept, and the three quarters follow as a fourth word,
    lowest first, in a cycle that takes no word in. issue: the next word is the first of a LOAD.
    """

    def __init__(self, params: EngineParams) -> None:
        self.params = params
        super().__init__(
            {
                "issue": In(Issue()),
                "words": In(stream.Signature(params.stream_bits)),
                "out": Out(stream.Signature(params.stream_bits)),
            }
        )

    def elaborate(self, platform) -> Module:
        m = Module()
        p, words, out = self.params, self.words, self.out
        quarter = p.word_bits // PERIOD
        used = p.word_bits - quarter
        count, following = Signal(range(PERIOD)), Signal(range(PERIOD))
        last = Signal()  # the next word out is the fourth
        fourth = [
            Signal(name=f"fourth_copy{n}", attrs=KEEP)
            for n in range(1 + p.load_words * copies_for(used))
        ]
        # The last quarter of a word waits in `held` until the next one comes, with those before it
        # in `kept`, so that all enables are registers.
        per_copy = max(1, LOADS // quarter)
        passing = [  # not `fourth`
            Signal(name=f"passing_copy{n}", init=1, attrs=KEEP)
            for n in range(-(-p.load_words // per_copy))
        ]
        took = copies(
            m,
            words.valid & words.ready & ~last,
            p.load_words * copies_for(used - quarter),
            "took",
            reset_less=False,
        )
        m.d.comb += [
            out.valid.eq(words.valid | fourth[0]),
            words.ready.eq(out.ready & ~fourth[0]),
            following.eq(count),
        ]
        with m.If(self.issue.start):
            m.d.comb += following.eq(0)
        with m.Elif(out.valid & out.ready & self.issue.header.load.packed):
            m.d.comb += following.eq(count + 1)
        m.d.comb += last.eq(following == PERIOD - 1)
        m.d.sync += [count.eq(following), *(copy.eq(last) for copy in fourth)]
        m.d.sync += [copy.eq(~last) for copy in passing]
        for k in range(p.load_words):
            word = words.payload.word_select(k, p.word_bits)
            held = Signal(quarter, name=f"held_{k}", reset_less=True)
            older = Signal(used - quarter, name=f"kept_{k}", reset_less=True)
            kept = Cat(older, held)
            with m.If(passing[k // per_copy]):
                m.d.sync += held.eq(word[used:])
            takes = took[k * copies_for(len(older)) :]
            for at, take in zip(range(0, len(older), LOADS), takes, strict=False):
                part = slice(at, min(at + LOADS, len(older)))
                with m.If(take):
                    m.d.sync += older[part].eq(kept[quarter:][part])
            flags = fourth[1 + k * copies_for(used) :]
            parts = [
                Mux(flag, kept[at : at + LOADS], word[at : min(at + LOADS, used)])
                for at, flag in zip(range(0, used, LOADS), flags, strict=False)
            ]
            m.d.comb += out.payload.word_select(k, p.word_bits).eq(Cat(parts, word[used:]))
        return m
