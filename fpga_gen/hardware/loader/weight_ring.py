"""Ring of stream words that runs ahead of the loader: memory, pointers, one word per cycle.

Address and write enable of a block RAM are loads of every few bits of a word, so the memory is cut
into slices that have registers of their own in front. Those cost no time: a word may be read two
cycles after it was taken, which is when `available` first tells of it.
"""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from fpga_gen.contract.params import EngineParams, block_width
from fpga_gen.hardware.common.fan_out import copies
from fpga_gen.hardware.common.ram import RamShape, place_ram
from fpga_gen.hardware.loader.joints import RingRead, granule_bits

MARGIN = 4  # words of the ring that stay unused: `words.ready` falls late
SLICE_ENABLES = 56  # write enables that one copy drives


def ring_shapes(params: EngineParams) -> list[RamShape]:
    """Slices of the ring's words, lowest bits first."""
    width = block_width(params.weight_words)
    step = width * SLICE_ENABLES // (8 if width > 36 else 4)  # write enables of a block
    return [
        RamShape(min(step, params.stream_bits - at), params.weight_words, "block")
        for at in range(0, params.stream_bits, step)
    ]


class WeightRing(wiring.Component):
    """See module docstring.

    Members:
        words: stream words in. read: see RingRead. word: Out, the one taken two cycles ago.
    """

    def __init__(self, params: EngineParams, *, expand: bool = False) -> None:
        assert not params.weight_words & (params.weight_words - 1), (
            "weight_words must be a power of two"
        )
        self.params = params
        self.expand = expand
        super().__init__(
            {
                "words": In(stream.Signature(params.stream_bits)),
                "read": In(RingRead(params)),
                "word": Out(params.stream_bits),
            }
        )

    def elaborate(self, platform) -> Module:
        m = Module()
        read, depth = self.read, self.params.weight_words
        bits = len(read.read_pointer)
        write_pointer = Signal(bits)
        last_written = Signal(bits, init=2 * depth - 1)
        filled = Signal(bits)
        write = Signal()
        room = Signal()
        m.d.comb += [
            filled.eq(write_pointer - read.free_pointer),
            self.words.ready.eq(room),
            write.eq(self.words.valid & room),
        ]
        m.d.sync += room.eq(filled < depth - MARGIN)
        with m.If(write):
            m.d.sync += [write_pointer.eq(write_pointer + 1), last_written.eq(write_pointer)]
        self._memory(m, write, write_pointer)

        per_word = self.params.stream_granules
        shift = granule_bits(self.params)
        target = Signal(bits)
        aligned = Signal(bits)
        m.d.comb += [
            target.eq(read.position[shift:]),
            aligned.eq((read.position + per_word - 1)[shift:]),
        ]
        with m.If(read.seek):
            m.d.sync += read.read_pointer.eq(target)
        with m.Elif(read.align):
            m.d.sync += read.read_pointer.eq(aligned)
        with m.Elif(read.advance):
            m.d.sync += read.read_pointer.eq(read.read_pointer + 1)
        # `seek` and `advance` come late: the second meets registers only. (Tools would merge two
        # comparisons of one kind and put the choice in front.)
        m.d.sync += [
            read.present.eq((read.read_pointer != write_pointer) & ~read.align),
            read.spent.eq(read.advance),
            read.was_last.eq(read.read_pointer == last_written),
        ]
        with m.If(read.seek):
            m.d.sync += read.present.eq(~(target == write_pointer))
        return m

    def _memory(self, m: Module, write: Signal, write_pointer: Signal) -> None:
        data = Signal(self.params.stream_bits, reset_less=True)
        m.d.sync += data.eq(self.words.payload)
        words, at = [], 0
        for n, shape in enumerate(ring_shapes(self.params)):
            slice_ = place_ram(m, f"slice_{n}", shape, expand=self.expand)
            m.d.comb += [
                slice_.w_en.eq(copies(m, write, 1, f"write_{n}")[0]),
                slice_.w_addr.eq(copies(m, write_pointer[:-1], 1, f"write_at_{n}")[0]),
                slice_.w_data.eq(data[at : at + shape.width]),
                slice_.r_addr.eq(self.read.read_pointer[:-1]),
            ]
            words.append(slice_.r_data)
            at += shape.width
        word = Signal(self.params.stream_bits, reset_less=True)
        m.d.sync += word.eq(Cat(words))
        m.d.comb += self.word.eq(word)
