"""The AXI4 write master."""

from __future__ import annotations

from unittest.mock import patch

from amaranth.hdl import Cat, Mux, Signal

from formal import bursts, queues
from formal.axi import address_channel
from formal.bench import Bench
from formal.bursts import inside
from formal.listing import BEATS, Follow, Lengths
from formal.mutation import Mutation
from formal.proof import Proof
from fpga_gen.hardware.shell import write_dma

DEPTH = 16
SMALL_BURST = 8
BURSTS = 4
RESPONSES = 4


def port() -> Bench:
    """A WritePort with a slave that takes and answers at any time, also what nobody asked for."""
    with patch.object(write_dma, "BurstPlanner", bursts.AnyBursts):
        dut = write_dma.WritePort(depth=DEPTH)
        b = Bench(dut)
    m = b.m
    b.assume(dut.resets == 0)
    b.assume(~b.past(dut.flush & ~dut.drained, "flushing") | dut.flush)
    b.ports += dut.planner.free
    bursts.contract(b, dut.planner, dut.flush, b.assume)
    held = queues.contract(b, dut.beats, "beats", b.assume)
    issue, discard, covered = dut.issue, dut.discard, dut.covered
    available, change = b.signal("available"), b.signal("change")
    unanswered = b.signal("unanswered")
    some, last, left = (b.signal(n) for n in ("some", "last", "left"))
    lengths = Lengths(b, dut.bursts, "bursts")
    size = dut.planner.burst.p.beats
    beat = dut.wvalid & dut.wready

    # AXI: handshakes, bursts, windows.
    address_channel(b, dut, "aw", write_dma.MAX_BURST)
    # One bit of the data for every copy of WVALID: all its bits are treated alike.
    some_data = Cat(dut.wdata[at] for at in range(0, len(dut.wdata), write_dma.PART))
    b.stable(dut.wvalid, dut.wready, some_data, dut.wlast, what="W")
    b.prove(dut.wstrb == 0xFFFF, "all bytes are written")
    b.prove(
        ~dut.awvalid | inside(dut.windows, dut.awaddr[4:], dut.awlen + 1),
        "a burst outside the window",
    )
    b.prove(dut.bready, "responses must be taken at once")
    b.prove(~issue | ~dut.flush, "a burst is announced during a flush")

    # Beats: every announced burst has its own in the FIFO, so none waits for the engine.
    announced = Signal(BEATS)
    m.d.comb += announced.eq(lengths.total + Mux(some, left, 0))
    b.prove(held == (available + change + announced)[:BEATS], "buffered beats are lost or made")
    b.prove(announced <= held, "a burst is announced whose beats are not there")
    b.prove(~issue | (available >= size), "a burst is announced whose beats are not there")
    b.prove(~issue | dut.bursts.w_rdy, "a burst whose length finds no room")
    b.prove(~discard | (announced == 0), "a beat of an announced burst is dropped")

    # Invariants.
    for n in range(BURSTS):
        at = lengths.at(n)
        b.prove((n >= lengths.level) | ((at != 0) & (at <= write_dma.MAX_BURST)), "a length")
    b.prove(~some | ((left != 0) & (left <= write_dma.MAX_BURST)), "beats of the current burst")
    b.prove(last == (some & (left == 1)), "the last beat is not known")
    for at in range(0, 128, write_dma.PART):
        b.prove(b.signal(f"wvalid_{at}") == dut.wvalid, "copies of wvalid differ")
    flushed = b.past(dut.flush, "flushed")
    b.prove(
        ~covered | ~dut.planner.burst.valid | flushed
        | ((available >= size) & (lengths.level != BURSTS) & (unanswered != RESPONSES)),
        "covered without cover",
    )  # fmt: skip
    b.prove(~covered | flushed | dut.planner.burst.valid, "covered without a burst")
    b.prove((change != -1) | flushed, "a beat is dropped outside a flush")

    # WLAST and order: any one burst.
    follow = Follow(b, lengths, some, left, issue, size, beat, ahead=dut.wvalid,
                    gone=dut.wvalid & dut.wlast)  # fmt: skip
    b.prove(~dut.wvalid | dut.wlast | some, "a burst ends without WLAST")
    b.prove(~(beat & follow.mine) | (dut.wlast == follow.ends), "WLAST at a wrong beat")
    b.prove(
        ~follow.active | follow.queued | (follow.before == 0)
        | (dut.wvalid & dut.wlast & (follow.before == 1)),
        "the burst before is not over",
    )  # fmt: skip
    b.prove(
        ~follow.active | follow.queued | (follow.before == 1) | ~dut.wvalid
        | (dut.wlast == (follow.seen + 1 == follow.size)),
        "WLAST at a wrong beat",
    )  # fmt: skip

    # Responses: unanswered bursts, and those of them whose last beat was taken.
    b.prove(unanswered <= RESPONSES, "too many bursts wait for a response")
    open_bursts, ended = Signal(4), Signal.like(b.signal("owed"))
    answer = dut.bvalid & (ended != 0)
    m.d.sync += [
        open_bursts.eq(open_bursts + issue - (dut.bvalid & (open_bursts != 0))),
        ended.eq(ended + (beat & dut.wlast) - answer),
    ]
    with m.If(dut.flush & dut.idle):
        m.d.sync += ended.eq(0)
    b.prove(open_bursts == unanswered, "responses are miscounted")
    b.prove(ended == b.signal("owed"), "responses are miscounted")
    b.prove(~dut.idle | (open_bursts == 0), "idle with a burst unanswered")
    b.prove(~dut.idle | ((announced == 0) & ~dut.wvalid), "idle with beats to be taken")
    error = dut.bvalid & ~dut.flush & ((dut.bresp >= 2) | (ended == 0))
    b.prove(~b.past(error, "error") | dut.failed, "an error response is missed")
    good = Signal(init=1)
    m.d.sync += good.eq(good & ~error)
    b.prove(~good | ~dut.failed, "a failure without a fault")
    written = Signal()
    with m.If(beat & follow.ends & (follow.size == 3)):
        m.d.sync += written.eq(1)
    b.cover(written & dut.idle & good, "a burst is written")
    b.cover(dut.failed & dut.broken, "an answer nobody asked for")
    return b


PROOFS = (
    Proof(
        "write_port",
        "WritePort: AXI4 write master, any slave",
        "AW and W handshake, size, length, 4 KiB, window; WLAST with the last beat of every burst "
        "and no other, every beat of an announced burst is there; bursts without an answer "
        "bounded; nothing announced in a flush, no beat of an announced burst dropped by it; "
        "every error response seen",
        port,
        depth=2,
        cover_depth=16,
        quick=False,
        parameters={
            "shell.write_dma.MAX_BURST": SMALL_BURST,
            "shell.axi_burst.MAX_BURST": SMALL_BURST,
            "shell.axi_fifo.QUEUE": 4,
            "shell.write_dma.BURST_QUEUE_DEPTH": BURSTS,
            "shell.write_dma.MAX_RESPONSES": RESPONSES,
            "shell.write_dma.WRITE_ROOM": 4,
        },
        mutations=(
            Mutation("shell.write_dma", "last.eq(left == 2)", "last.eq(left == 3)"),
            Mutation("shell.write_dma", "available >= size", "available + 1 >= size"),
            Mutation("shell.write_dma", "self.covered & ~self.flush", "self.covered"),
            Mutation("shell.write_dma", "self.flush & ~some & ~bursts.r_rdy",
                     "self.flush & ~some"),
            Mutation("shell.write_dma", "issue - (self.bvalid & unanswered.any())",
                     "issue - self.bvalid"),
        ),
    ),
)  # fmt: skip
