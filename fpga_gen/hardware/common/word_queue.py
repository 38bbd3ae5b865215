"""A short queue of wide words in distributed RAM, without a register or an enable at its output."""

from __future__ import annotations

from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from fpga_gen.hardware.common.ram import RamShape, place_ram

DEPTH = 8


def queue_shape(width: int) -> RamShape:
    return RamShape(width, DEPTH, "distributed")


class WordQueue(wiring.Component):
    """First in, first out; 8 words of `width` bits; 2 cycles from `write` to `read`.

    write, data: a word in; the writer looks at `count` (words in the queue) for room. read: Out
    stream(width); its payload is the output of the memory, whose read address is a register.
    """

    def __init__(self, width: int, *, expand: bool = False) -> None:
        self.shape = queue_shape(width)
        self.expand = expand
        super().__init__(
            {
                "write": In(1),
                "data": In(width),
                "read": Out(stream.Signature(width)),
                "count": Out(range(DEPTH + 1)),
            }
        )

    def elaborate(self, platform) -> Module:
        m = Module()
        memory = place_ram(m, "memory", self.shape, expand=self.expand)
        write_at, read_at = Signal(range(DEPTH)), Signal(range(DEPTH))
        following = Signal(range(DEPTH))
        taken = Signal()
        valid = Signal()
        m.d.comb += [
            self.read.valid.eq(valid),
            taken.eq(valid & self.read.ready),
            following.eq(read_at + taken),
            memory.r_addr.eq(following),
            memory.w_addr.eq(write_at),
            memory.w_data.eq(self.data),
            memory.w_en.eq(self.write),
            self.read.payload.eq(memory.r_data),
        ]
        # A word that is written now is not yet in the memory when the next read address is taken.
        m.d.sync += [
            read_at.eq(following),
            write_at.eq(write_at + self.write),
            self.count.eq(self.count + self.write - taken),
            valid.eq(self.count != taken),
        ]
        return m
