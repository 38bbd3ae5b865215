"""The AXI4 read master."""

from __future__ import annotations

from unittest.mock import patch

from amaranth.hdl import Mux, Signal

from formal import bursts, queues
from formal.axi import address_channel
from formal.bench import Bench
from formal.bursts import inside
from formal.listing import BEATS, Follow, Lengths
from formal.mutation import Mutation
from formal.proof import Proof
from fpga_gen.hardware.shell import read_dma

DEPTH = 16
BURSTS = 4
SMALL_BURST = 8


def port(*, obedient: bool) -> Bench:
    """A ReadPort with a slave that answers at any time. obedient: it sends only what was asked
    for, RLAST with the last beat of every burst; otherwise anything. What is shown with any slave
    about addresses and windows is not shown again with an obedient one."""
    with patch.object(read_dma, "BurstPlanner", bursts.AnyBursts):
        dut = read_dma.ReadPort(depth=DEPTH)
        b = Bench(dut)
    m = b.m
    b.assume(dut.resets == 0)
    # A flush is held until the port is idle (see ReadPort).
    b.assume(~b.past(dut.flush & ~dut.idle, "flushing") | dut.flush)
    b.ports += dut.planner.free
    bursts.contract(b, dut.planner, dut.flush, b.assume)
    queues.contract(b, dut.buffer, "fifo", b.assume)
    burst = dut.planner.burst
    issue, credits = b.signal("issue"), b.signal("credits")
    some, final, left = b.signal("some"), b.signal("final"), b.signal("left")
    listed, pop = b.signal("listed"), b.signal("pop")
    lengths = Lengths(b, dut.lengths, "lengths")

    if not obedient:
        address_channel(b, dut, "ar", read_dma.MAX_BURST)
        b.prove(
            ~dut.arvalid | inside(dut.windows, dut.araddr[4:], dut.arlen + 1),
            "a burst outside the windows",
        )
    b.prove(dut.rready, "beats must be taken at once: there is room for all")
    count = dut.buffer.count
    promised = Signal(BEATS)
    m.d.comb += promised.eq(lengths.total + Mux(some, left, 0))
    b.prove(credits + promised + count == DEPTH, "credits are lost or made")
    b.prove(promised + count <= DEPTH, "more beats in flight than there is room for")
    b.prove(~dut.buffer.write.valid | dut.buffer.write.ready, "a beat finds no room")
    b.prove(~issue | dut.lengths.w_rdy, "a burst whose length finds no room")
    b.prove(~issue | ~dut.flush, "a burst is issued during a flush")

    # Invariants.
    for n in range(BURSTS):
        at = lengths.at(n)
        b.prove(
            (n >= lengths.level) | ((at != 0) & (at <= read_dma.MAX_BURST)),
            "a length",
        )
    b.prove(~some | ((left != 0) & (left <= read_dma.MAX_BURST)), "beats of the current burst")
    b.prove(final == (some & (left == 1)), "the last beat is not known")
    b.prove(~listed | (lengths.level <= BURSTS - 2), "listed without room")
    b.prove(pop == b.signal("popped", "fifo"), "a word is counted twice")
    b.prove(
        some | (lengths.level == 0)
        | (dut.arvalid & (lengths.level == 1) & (lengths.at(0) == dut.arlen + 1)),
        "a length is not loaded",
    )  # fmt: skip

    # A memory that broke the rules is not waited for for ever, and no other is given up.
    violated, silent = b.signal("violated"), b.signal("silent")
    was_violated = b.past(violated, "violated")
    b.prove(~dut.forget | (dut.flush & was_violated), "a memory is given up")
    b.prove(~b.signal("over") | ((count == 0) & ~dut.arvalid), "more to come")
    b.prove(~dut.forget | ((count == 0) & ~dut.buffer.write.valid), "beats are forgotten")
    b.prove(~dut.forget | ~dut.arvalid, "an address is taken back")
    over = b.past(silent.all() & violated & dut.flush & ~dut.arvalid & ~dut.received, "over")
    waited = over & b.past(count == 0, "empty") & dut.flush & ~dut.received
    b.prove(~waited | dut.forget, "a flush does not end")

    # What the slave owes: beats of the bursts whose address it took.
    owed = Signal(BEATS)
    beat = dut.rvalid & dut.rready
    taken_address = dut.arvalid & dut.arready
    m.d.sync += owed.eq(owed + Mux(taken_address, dut.arlen + 1, 0) - beat)
    if not obedient:
        told = b.signal("answer")
        b.prove(b.first | (dut.received == b.past(dut.rvalid, "rvalid")), "a beat is not seen")
        b.prove(b.first | (told == b.past(dut.rresp, "rresp")), "another answer is seen")
        error = b.past(dut.received & (told >= 2) & ~dut.flush, "error")
        b.prove(~error | dut.failed, "an error response is missed")
        b.cover(dut.failed & dut.broken, "a broken rule is found")
        b.cover(dut.forget & (promised == 3), "three beats are forgotten")
        b.cover(dut.idle & ~b.first & (dut.buffer.count == 0) & dut.flush, "idle in a flush")
        return b

    b.assume(~dut.rvalid | (owed != 0))
    follow = Follow(b, lengths, some, left, issue, burst.p.beats, beat, ahead=-dut.received)
    b.assume(~(dut.rvalid & follow.mine) | (dut.rlast == follow.ends))
    last = b.signal("last")
    b.prove(
        promised == owed + Mux(dut.arvalid, dut.arlen + 1, 0) + dut.received,
        "the port expects other beats than the slave owes",
    )
    b.prove(~dut.received | some, "a beat is not expected")
    b.prove(~follow.active | follow.queued | (follow.before == 0), "the burst before is not over")
    mine = b.past(beat & follow.mine, "mine")
    ended = b.past(beat & follow.ends, "ended")
    # Of all bursts the first one that the port would find fault with is followed.
    b.assume(~dut.received | ~b.signal("wrong") | mine)
    b.prove(~violated & ~b.signal("over"), "a rule that was kept is called broken")
    b.prove(~mine | (dut.received & (final == ended) & (last == ended)), "RLAST is not expected")
    idle = dut.idle
    b.prove(~idle | ((owed == 0) & ~dut.arvalid), "idle with a burst open")
    b.cover(mine & ended, "a followed burst ends")
    once = Signal(name="a_burst_ended")
    with m.If(ended):
        m.d.sync += once.eq(1)
    b.cover(once & idle & ~dut.flush, "idle after a burst")
    return b


CONSTANTS = {
    "shell.read_dma.MAX_BURSTS": BURSTS,
    "shell.read_dma.MAX_BURST": SMALL_BURST,
    "shell.read_dma.FORGET_CYCLES": 4,
    "shell.axi_burst.MAX_BURST": SMALL_BURST,
    "shell.axi_fifo.QUEUE": 4,
}
PROOFS = (
    Proof(
        "read_port",
        "ReadPort: AXI4 read master, any slave",
        "AR handshake, size, length, 4 KiB, windows; RREADY always up and room for every beat; "
        "outstanding beats and bursts bounded; nothing issued in a flush; every error seen",
        lambda: port(obedient=False),
        depth=1,
        cover_depth=16,
        quick=False,
        parameters=CONSTANTS,
        mutations=(
            Mutation("shell.read_dma", "enough & ~self.flush", "enough"),
            Mutation("shell.read_dma", "length.eq(size - 1)", "length.eq(size)"),
            Mutation("shell.read_dma", "(wrong | answer[1]) & ~self.failed",
                     "wrong & ~self.failed"),
        ),
    ),
    Proof(
        "read_port_obedient",
        "ReadPort: AXI4 read master, a slave that keeps the rules",
        "every beat is expected and RLAST where the port expects it; no failure without a fault; "
        "idle only when the slave owes nothing, so no flush abandons a burst",
        lambda: port(obedient=True),
        depth=2,
        cover_depth=16,
        quick=False,
        parameters=CONSTANTS,
        mutations=(
            Mutation("shell.read_dma", "final.eq(left == 2)", "final.eq(left == 3)"),
            Mutation("shell.read_dma", "(credits == self.depth) & ~planner.busy & ~issue",
                     "~planner.busy & ~issue"),
            Mutation("shell.read_dma", "length.eq(size - 1)", "length.eq(size)"),
        ),
    ),
)  # fmt: skip
