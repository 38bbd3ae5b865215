"""A block-RAM FIFO with registered outputs."""

from __future__ import annotations

from amaranth import Cat, Module, Signal
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out

from fpga_gen.hardware.common.fan_out import KEEP, LOADS

PART = LOADS - 16  # payload bits with one copy of `valid`: it has other loads


class BlockFifo(wiring.Component):
    """First in, first out; `depth` (power of two) words of `width` bits in block RAM.

    Latency 3 cycles from `write` to `read`, one word per cycle. `count` is the number of words
    written and not yet read, reads counted one cycle late; `write` is ready while count < depth.
    Two words beyond the memory sit in the output pipeline, so a writer that keeps its own credits
    need not look at ready.

    Members: write: In stream(width). read: Out stream(width), driven by registers.
    count: Out, 0..depth.
    """

    def __init__(self, *, width: int, depth: int = 512) -> None:
        assert depth & (depth - 1) == 0, "depth must be a power of two"
        self.width = width
        self.depth = depth
        super().__init__(
            {
                "write": In(stream.Signature(width)),
                "read": Out(stream.Signature(width)),
                "count": Out(range(depth + 1)),
            }
        )

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.storage = storage = memory.Memory(
            shape=self.width, depth=self.depth, init=[], attrs={"ram_style": "block"}
        )
        write_port = storage.write_port()
        read_port = storage.read_port()  # not transparent: a word is read a cycle after its write
        push = Signal()
        pop = Signal()
        m.d.comb += [
            self.write.ready.eq(self.count != self.depth),
            push.eq(self.write.valid & self.write.ready),
            pop.eq(self.read.valid & self.read.ready),
        ]
        write_at = Signal(range(2 * self.depth))
        read_at = Signal(range(2 * self.depth))
        popped = Signal()  # counted one cycle late: who waits for room waits for registers only
        m.d.sync += [popped.eq(pop), self.count.eq(self.count + push - popped)]
        m.d.comb += [
            write_port.en.eq(push),
            write_port.addr.eq(write_at),
            write_port.data.eq(self.write.payload),
        ]
        with m.If(push):
            m.d.sync += write_at.eq(write_at + 1)

        stored = Signal()  # the memory holds an unread word
        fetched = Signal()  # the memory's output register holds a word
        load_output = Signal()
        load_fetched = Signal()
        m.d.comb += [
            stored.eq(write_at != read_at),
            load_output.eq(~self.read.valid | self.read.ready),
            load_fetched.eq(~fetched | load_output),
            read_port.en.eq(load_fetched),
            read_port.addr.eq(read_at),
        ]
        with m.If(load_fetched):
            m.d.sync += [fetched.eq(stored), read_at.eq(read_at + stored)]
        parts, valids = [], []  # a copy of `valid` for every part of the payload that it gates
        for at in range(0, self.width, PART):
            part = Signal(min(PART, self.width - at), name=f"payload_{at}", reset_less=True)
            valid = Signal(name=f"valid_{at}", attrs=KEEP)
            with m.If(~valid | self.read.ready):
                m.d.sync += [valid.eq(fetched), part.eq(read_port.data[at : at + PART])]
            parts.append(part)
            valids.append(valid)
        m.d.comb += [self.read.valid.eq(valids[0]), self.read.payload.eq(Cat(parts))]
        return m
