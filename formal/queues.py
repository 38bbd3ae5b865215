"""First in, first out: the block RAM FIFO of the AXI ports and the word queue of the loader."""

from __future__ import annotations

from amaranth.hdl import Cat, Mux, Signal

from formal.bench import Bench
from formal.mutation import Mutation
from formal.proof import Proof
from fpga_gen.hardware.common import word_queue
from fpga_gen.hardware.shell import axi_fifo

WIDTH = 4


def follow(bench: Bench, push, data, pop, head, held, word_at) -> None:
    """A word that goes in, any one, comes out as it was, behind exactly the words before it.

    held: words inside; word_at(n): the n-th of them; the claim is an invariant of both.
    """
    m = bench.m
    choose = bench.free(1, "follow_this_word")
    marked = Signal()
    value = Signal(len(data))
    ahead = Signal(8)
    with m.If(push & choose & ~marked):
        m.d.sync += [marked.eq(1), value.eq(data), ahead.eq(held - pop)]
    with m.If(marked & pop):
        m.d.sync += ahead.eq(ahead - 1)
        with m.If(ahead == 0):
            m.d.sync += marked.eq(0)
    bench.prove(~(marked & pop & (ahead == 0)) | (head == value), "a word comes out changed")
    bench.prove(~marked | (ahead < held), "a word is lost")
    bench.prove(~marked | (word_at(ahead) == value), "a word changes inside")
    bench.cover(marked & pop & (ahead == 0) & (value == 5), "a followed word comes out")


def contract(b: Bench, fifo: axi_fifo.BlockFifo, path: str, state) -> Signal:
    """What a BlockFifo's user relies on; `state` is b.prove of the FIFO alone, b.assume of a block
    that contains one. Returns the number of words inside."""
    write_at, read_at = b.signal("write_at", path), b.signal("read_at", path)
    fetched, popped = b.signal("fetched", path), b.signal("popped", path)
    ordered, room = b.signal("ordered", path), b.signal("room", path)
    level, to = fifo.level, b.signal("to", path)
    behind = axi_fifo.QUEUE - 2  # no word is ordered with more than so many behind the memory
    stored = Signal(len(write_at))
    held = Signal(range(2 * fifo.depth + 2 * axi_fifo.QUEUE + 2), name="held")
    b.m.d.comb += [
        stored.eq(write_at - read_at),
        held.eq(stored + fetched + level + fifo.read.valid),
    ]
    state(stored <= fifo.depth, "the memory overflows")
    state(fifo.count <= fifo.depth, "more words than there is room for")
    state(fifo.count == held + popped, "count is wrong")
    state(ordered == fetched + level + fifo.read.valid + popped, "words behind the memory")
    state(ordered <= behind + 1, "the queue overflows")
    state(~room | (ordered <= behind), "an order without room")
    state(fifo.some == (level != 0), "whether the queue holds a word")
    for at in range(0, fifo.width, axi_fifo.PART):
        state(b.signal(f"valid_{at}", path) == fifo.read.valid, "copies of valid differ")
        source = b.signal(f"from_{at}", path)
        state((source + level)[: len(to)] == to, "the queue's addresses and level differ")
    return held


def block_fifo() -> Bench:
    dut = axi_fifo.BlockFifo(width=WIDTH, depth=8)
    b = Bench(dut)
    push = b.named(dut.write.valid & dut.write.ready, "push")
    pop = b.named(dut.read.valid & dut.read.ready, "pop")
    held = contract(b, dut, "", b.prove)
    read_at, fetched, level = b.signal("read_at"), b.signal("fetched"), dut.level
    source = b.signal("from_0")
    rows = b.rows("storage")
    queue_rows = [b.rows(f"queue_{at}") for at in range(0, WIDTH, axi_fifo.PART)]
    (port,) = b.memory("storage")._read_ports[:1]

    def word_at(n):
        """Output register, the queue's rows, the memory's output, then its rows."""
        queued = n - dut.read.valid
        in_queue = Cat(part[(source + queued)[: len(source)]] for part in queue_rows)
        in_row = rows[(read_at + queued - level - fetched)[:3]]
        return Mux(
            dut.read.valid & (n == 0),
            dut.read.payload,
            Mux(
                n < level + dut.read.valid,
                in_queue,
                Mux(fetched & (n == level + dut.read.valid), port._data, in_row),
            ),
        )

    follow(b, push, dut.write.payload, pop, dut.read.payload, held, word_at)
    b.prove(~dut.write.valid | (dut.count == dut.depth) | dut.write.ready, "not ready with room")
    late = b.past(dut.read.valid & ~dut.read.ready, "stalled")
    b.prove(b.first | ~late | dut.read.valid, "valid falls before ready")
    b.prove(
        b.first | ~late | (dut.read.payload == b.past(dut.read.payload, "payload")),
        "the payload changes before ready",
    )
    b.cover(dut.count == dut.depth, "full")
    return b


def queue() -> Bench:
    dut = word_queue.WordQueue(WIDTH, expand=True)
    b = Bench(dut)
    b.assume(~dut.write | (dut.count < word_queue.DEPTH))
    pop = b.named(dut.read.valid & dut.read.ready, "pop")
    storage = b.memory("memory/mem")
    write_at, next_read = storage._write_ports[0]._addr, storage._read_ports[0]._addr
    rows = b.rows("memory/mem")
    read_at = Signal.like(next_read)
    b.m.d.sync += read_at.eq(read_at + pop)
    b.prove(next_read == (read_at + pop)[:3], "the read address is not that of the next word")
    held = Signal(8)
    b.m.d.comb += held.eq(dut.count)

    def word_at(n):
        return rows[(read_at + n)[:3]]

    follow(b, dut.write, dut.data, pop, dut.read.payload, held, word_at)
    b.prove(dut.count <= word_queue.DEPTH, "overflow")
    b.prove((write_at - read_at)[:3] == dut.count[:3], "count is wrong")
    b.prove(~dut.read.valid | (dut.count != 0), "a word out of nothing")
    b.prove(~dut.read.valid | (dut.read.payload == rows[read_at]), "the word of another row")
    waited = b.past((dut.count != 0) & ~dut.read.valid, "waited")
    b.prove(b.first | ~waited | dut.read.valid, "a word does not come")
    b.cover(dut.count == word_queue.DEPTH, "full")
    return b


PROOFS = (
    Proof(
        "axi_fifo",
        "BlockFifo",
        "order and content of every word, count, no overflow, stable output",
        block_fifo,
        depth=3,
        cover_depth=14,
        parameters={"shell.axi_fifo.PART": 2, "shell.axi_fifo.QUEUE": 4},
        mutations=(
            Mutation("shell.axi_fifo", "self.count != self.depth", "self.count != 0"),
            Mutation("shell.axi_fifo", "room.eq(ordered < QUEUE - 2)", "room.eq(1)"),
            Mutation("shell.axi_fifo", "Mux(take, level > 1, level != 0)", "(level != 0)"),
            Mutation("shell.axi_fifo", "self.count + push - popped", "self.count + push - pop"),
        ),
    ),
    Proof(
        "word_queue",
        "WordQueue",
        "order and content of every word, count, no overflow, a word shows after two cycles",
        queue,
        depth=3,
        cover_depth=14,
        mutations=(
            Mutation("common.word_queue", "valid.eq(self.count != taken)",
                     "valid.eq(self.count + self.write != taken)"),
            Mutation("common.word_queue", "memory.r_addr.eq(following)",
                     "memory.r_addr.eq(read_at)"),
        ),
    ),
)  # fmt: skip
