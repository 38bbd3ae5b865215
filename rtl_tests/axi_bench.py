"""Amaranth-simulator helpers: AXI memories, address windows."""

from __future__ import annotations

import random
from collections import deque

from fpga_gen_host.regions import BEAT_BYTES as BYTES


def open_windows(ctx, windows, *ranges: tuple[int, int]) -> None:
    """Set the windows from byte ranges [base, limit); the others stay closed."""
    for k, (base, limit) in enumerate(ranges):
        ctx.set(windows[k].base, base // BYTES)
        ctx.set(windows[k].limit, limit // BYTES)


def check_burst(address: int, beats: int) -> None:
    """The AXI rules every burst of this design obeys."""
    assert address % BYTES == 0
    assert 1 <= beats <= 64
    assert address // 4096 == (address + beats * BYTES - 1) // 4096, "burst crosses 4 KB"


def beat_value(address: int) -> int:
    """Contents of the test memory at a byte address: distinct in every beat."""
    return (address * 0x9E3779B97F4A7C15 + 0x1234567) % (1 << 128)


class ReadMemory:
    """AXI4 read slave: random ready, latency and gaps; logs bursts as (address, beats)."""

    def __init__(
        self,
        pins,
        rng: random.Random,
        *,
        latency: int = 20,
        gap: float = 0.2,
        bad: range = range(0),
        wrong_last: int | None = None,
        cut: int | None = None,
    ) -> None:
        self.pins, self.rng, self.latency, self.gap, self.bad = pins, rng, latency, gap, bad
        self.wrong_last = wrong_last  # address of a beat whose RLAST is inverted
        self.cut = cut  # address of the last beat of its burst that comes, with RLAST
        self.surplus = 0  # beats still to be sent when nothing is outstanding
        self.bursts: list[tuple[int, int]] = []
        self.outstanding = 0
        self.most_outstanding = 0

    async def run(self, ctx) -> None:
        p, rng = self.pins, self.rng
        beats: deque = deque()  # (earliest cycle, address, last)
        cycle = 0
        held = None
        while True:
            sending = bool(beats) and beats[0][0] <= cycle and rng.random() >= self.gap
            stray = not beats and self.surplus > 0
            if stray:
                self.surplus -= 1
                ctx.set(p.rdata, 0xBAD)
                ctx.set(p.rresp, 0)
                ctx.set(p.rlast, 1)
            if sending:
                _, address, last = beats[0]
                ctx.set(p.rdata, beat_value(address))
                ctx.set(p.rresp, 2 if address in self.bad else 0)
                ctx.set(p.rlast, (last != (address == self.wrong_last)) or address == self.cut)
            ctx.set(p.rvalid, sending or stray)
            ready = rng.random() >= self.gap
            ctx.set(p.arready, ready)
            *_, valid, address, length, rready = await ctx.tick().sample(
                p.arvalid, p.araddr, p.arlen, p.rready
            )
            cycle += 1
            if held:
                assert (valid, address, length) == held, "AR changed while waiting"
            held = (valid, address, length) if valid and not ready else None
            if valid and ready:
                check_burst(address, length + 1)
                self.bursts.append((address, length + 1))
                self.outstanding += length + 1
                self.most_outstanding = max(self.most_outstanding, self.outstanding)
                at = cycle + rng.randrange(self.latency + 1)
                beats.extend((at, address + i * BYTES, i == length) for i in range(length + 1))
            if sending and rready:
                _, address, last = beats.popleft()
                self.outstanding -= 1
                while address == self.cut and not last:
                    *_, last = beats.popleft()
                    self.outstanding -= 1


class WriteMemory:
    """AXI4 write slave: random ready and response latency; `data` maps byte address to beat."""

    def __init__(
        self,
        pins,
        rng: random.Random,
        *,
        latency: int = 20,
        gap: float = 0.2,
        bad: range = range(0),
    ) -> None:
        self.pins, self.rng, self.latency, self.gap, self.bad = pins, rng, latency, gap, bad
        self.bursts: list[tuple[int, int]] = []
        self.data: dict[int, int] = {}
        self.unanswered = 0
        self.silent = False  # hold back all responses
        self.surplus = 0  # responses still to be sent that nobody waits for
        self.early = False  # answer a burst when its address is there, and take no data meanwhile

    async def run(self, ctx) -> None:
        p, rng = self.pins, self.rng
        answered = 0  # bursts whose response came early
        addresses: deque = deque()
        words: deque = deque()
        responses: deque = deque()  # (earliest cycle, response)
        cycle = 0
        held_aw = held_w = None
        while True:
            answering = bool(responses) and responses[0][0] <= cycle and not self.silent
            stray = not responses and not self.unanswered and self.surplus > 0
            self.surplus -= stray
            ctx.set(p.bvalid, answering or stray)
            ctx.set(p.bresp, responses[0][1] if answering else 0)
            aw_ready, w_ready = rng.random() >= self.gap, rng.random() >= self.gap
            w_ready = w_ready and not self.early
            ctx.set(p.awready, aw_ready)
            ctx.set(p.wready, w_ready)
            *_, aw, address, length, w, word, strobe, last, bready = await ctx.tick().sample(
                p.awvalid, p.awaddr, p.awlen, p.wvalid, p.wdata, p.wstrb, p.wlast, p.bready
            )
            cycle += 1
            if held_aw:
                assert (aw, address, length) == held_aw, "AW changed while waiting"
            if held_w:
                assert (w, word, last) == held_w, "W changed while waiting"
            held_aw = (aw, address, length) if aw and not aw_ready else None
            held_w = (w, word, last) if w and not w_ready else None
            if answering and bready:
                responses.popleft()
                self.unanswered -= 1
            if aw and aw_ready:
                check_burst(address, length + 1)
                self.bursts.append((address, length + 1))
                addresses.append((address, length + 1))
                self.unanswered += 1
                if self.early:
                    responses.append((cycle, 0))
                    answered += 1
            if w and w_ready:
                assert strobe == 0xFFFF
                words.append((word, last))
            while addresses and len(words) >= addresses[0][1]:
                start, count = addresses.popleft()
                response = 0
                for i in range(count):
                    word, last = words.popleft()
                    assert last == (i == count - 1), "wlast at the wrong beat"
                    self.data[start + i * BYTES] = word
                    response = 2 if start + i * BYTES in self.bad else response
                if answered:
                    answered -= 1
                else:
                    responses.append((cycle + rng.randrange(self.latency + 1), response))
