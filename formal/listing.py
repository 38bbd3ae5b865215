"""The queue of burst lengths inside a port, and one burst followed through it."""

from __future__ import annotations

from amaranth.hdl import Mux, Signal
from amaranth.lib.fifo import SyncFIFO

from formal.bench import Bench

BEATS = 8  # bits of a number of beats, of which four bursts of eight and one under way need six


class Lengths:
    """The SyncFIFO `path` of a port, in which the lengths of its bursts wait."""

    def __init__(self, bench: Bench, fifo: SyncFIFO, path: str) -> None:
        self.depth = depth = fifo.depth
        self.level = bench.signal("level", path)
        self.produce, self.consume = bench.signal("produce", path), bench.signal("consume", path)
        self.rows = bench.rows(f"{path}/storage")
        self.total = Signal(BEATS)
        self.popped = fifo.r_en & fifo.r_rdy
        terms = [Mux(n < self.level, self.at(n), 0) for n in range(depth)]
        bench.m.d.comb += self.total.eq(sum(terms))
        bench.prove(self.level <= depth, "more lengths than there is room for")
        bench.prove((self.produce - self.consume - self.level)[: len(self.produce)] == 0,
                    "pointers and level of the lengths differ")  # fmt: skip

    def at(self, number):
        """The length at a place of the queue, the oldest first."""
        return self.rows[(self.consume + number)[: len(self.consume)]]


class Follow:
    """Any one burst, followed from its issue to its last beat on the bus.

    A bus monitor knows `before`, the beats of earlier bursts that are still to come, and how many
    of its own `size` beats it has `seen`. The port has its length in the queue and then in its
    counter `left`, valid while `some`; `ahead`: beats that the port has counted and the bus has not
    seen, negative if the bus is ahead; gone: it has counted the last one of the burst whose beat is
    next on the bus. That both agree is an invariant.
    """

    def __init__(
        self, b: Bench, lengths: Lengths, some, left, issue, size, beat, ahead, gone=0
    ) -> None:
        m = b.m
        choose = b.free(1, "follow_this_burst")
        self.active = active = Signal(name="followed")
        self.queued = queued = Signal(name="followed_is_queued")
        self.before, self.seen, self.size = Signal(BEATS), Signal(BEATS), Signal(BEATS)
        slot = Signal(len(lengths.produce))
        self.mine = Signal()  # the next beat on the bus is one of this burst
        self.ends = Signal()  # and its last
        owing = Signal(BEATS)  # beats of all bursts before one that is issued now
        m.d.comb += [
            self.mine.eq(active & (self.before == 0)),
            self.ends.eq(self.mine & (self.seen + 1 == self.size)),
            owing.eq(lengths.total + Mux(some, left, 0) + ahead - beat),
        ]
        with m.If(active & beat):
            with m.If(self.before == 0):
                m.d.sync += [self.seen.eq(self.seen + 1), active.eq(~self.ends)]
            with m.Else():
                m.d.sync += self.before.eq(self.before - 1)
        with m.If(lengths.popped & (lengths.consume == slot)):
            m.d.sync += queued.eq(0)
        with m.If(issue & choose & ~active):
            m.d.sync += [
                active.eq(1), queued.eq(1), slot.eq(lengths.produce), self.size.eq(size),
                self.before.eq(owing), self.seen.eq(0),
            ]  # fmt: skip
        place = Signal(len(slot))
        in_front = Signal(BEATS)
        m.d.comb += [
            place.eq(slot - lengths.consume),
            in_front.eq(sum(Mux(n < place, lengths.at(n), 0) for n in range(lengths.depth))),
        ]
        here = active & queued
        b.prove(~active | (self.seen < self.size), "followed too far")
        b.prove(~here | (place < lengths.level), "a burst is not listed")
        b.prove(~here | (lengths.rows[slot] == self.size), "a length changes")
        b.prove(
            ~here | (self.before == (in_front + Mux(some, left, 0) + ahead)[:BEATS]),
            "beats in front of a burst are lost",
        )
        b.prove(~here | (self.seen == 0), "a beat comes too soon")
        b.prove(~(self.mine & ~queued & gone) | self.ends, "beats of a burst are lost")
        b.prove(
            ~active | queued | (self.mine & gone)
            | ((self.before + self.size - self.seen)[:BEATS]
               == (Mux(some, left, 0) + ahead)[:BEATS]),
            "beats of a burst are lost",
        )  # fmt: skip
