"""A block-RAM FIFO whose memory waits for registers only."""

from __future__ import annotations

from amaranth import Cat, Module, Mux, Signal
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out

from fpga_gen.hardware.common.fan_out import KEEP, LOADS

PART = LOADS - 16  # payload bits with one copy of `valid`: it has other loads
QUEUE = 16  # words between the memory and the output: orders, the memory and the queue take cycles


class BlockFifo(wiring.Component):
    """First in, first out; `depth` (power of two) words of `width` bits in block RAM.

    Latency 4 cycles from `write` to `read`, one word per cycle. `count` is the number of words
    written and not yet read, reads counted one cycle late; `write` is ready while count < depth.
    Some words beyond the memory sit in a short queue behind it, so a writer that keeps its own
    credits need not look at ready. The queue is there for the clock: what orders a word from the
    memory is registers alone, whoever takes the words.

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

        order = Signal()  # a word of the memory
        ordered = Signal(range(QUEUE + 1))  # words ordered and not yet read
        room = Signal()  # one cycle late, as `ordered`: two orders may be under way
        fetched = Signal()  # the memory's output is a word for the queue
        m.d.comb += [
            order.eq((write_at != read_at) & room),
            read_port.en.eq(order),
            read_port.addr.eq(read_at),
        ]
        m.d.sync += [
            read_at.eq(read_at + order),
            fetched.eq(order),
            ordered.eq(ordered + order - popped),
            room.eq(ordered < QUEUE - 2),
        ]
        self._queue(m, fetched, read_port.data)
        return m

    def _queue(self, m: Module, fetched: Signal, word: Signal) -> None:
        """A few words in LUTs, and the output's registers: in parts, each with its own address and
        copy of `valid`."""
        level, some = Signal(range(QUEUE + 1)), Signal()  # some: level is not 0
        self.level, self.some = level, some
        to = Signal(range(QUEUE))
        take = Signal()
        m.d.sync += to.eq(to + fetched)
        parts, valids = [], []
        for at in range(0, self.width, PART):
            bits = min(PART, self.width - at)
            m.submodules[f"queue_{at}"] = queue = memory.Memory(
                shape=bits, depth=QUEUE, init=[], attrs={"ram_style": "distributed"}
            )
            write_port, read_port = queue.write_port(), queue.read_port(domain="comb")
            part = Signal(bits, name=f"payload_{at}", reset_less=True)
            valid = Signal(name=f"valid_{at}", attrs=KEEP)
            source = Signal(range(QUEUE), name=f"from_{at}", attrs=KEEP)
            m.d.comb += [
                write_port.en.eq(fetched),
                write_port.addr.eq(to),
                write_port.data.eq(word[at : at + bits]),
                read_port.addr.eq(source),
            ]
            with m.If(~valid | self.read.ready):
                m.d.sync += [
                    source.eq(source + some),
                    valid.eq(some),
                    part.eq(read_port.data),
                ]
            parts.append(part)
            valids.append(valid)
        m.d.comb += [
            take.eq(some & (~valids[0] | self.read.ready)),
            self.read.valid.eq(valids[0]),
            self.read.payload.eq(Cat(parts)),
        ]
        more, less = Signal.like(level), Signal.like(level)
        m.d.comb += [more.eq(level + fetched), less.eq(level + fetched - 1)]
        m.d.sync += [
            level.eq(Mux(take, less, more)),  # `take` comes late
            some.eq(fetched | Mux(take, level > 1, level != 0)),
        ]
