"""Transfers to bursts: lengths, borders, windows, nothing left out."""

from __future__ import annotations

from amaranth.hdl import Module, ResetInserter, Signal
from amaranth.lib import wiring

from formal.bench import Bench
from formal.mutation import Mutation
from formal.proof import Proof
from fpga_gen.hardware.shell import axi_burst

PAGE = 4096 // 16  # beats that no burst may cross


def inside(windows, address, beats):
    """Whether one of the windows holds [address, address + beats)."""
    ok = 0
    for window in windows:
        ok = ok | ((address >= window.base) & (address + beats <= window.limit))
    return ok


def contract(b: Bench, planner, reset, state) -> None:
    """What a planner's user relies on; `state` is b.prove of the planner alone, b.assume of a
    block that contains one, or AnyBursts in its place. The windows do not change."""
    burst = planner.burst
    held = b.past(burst.valid & ~burst.ready & ~reset, "held")
    before = b.past(burst.payload.as_value(), "burst")
    state(b.first | ~held | (burst.valid & (burst.payload.as_value() == before)), "unstable")
    state(b.first | ~b.past(reset, "reset") | ~(burst.valid | planner.busy), "not reset")
    for window in planner.windows:
        b.hold(window.base)
        b.hold(window.limit)
    state(~burst.valid | (burst.p.beats != 0), "an empty burst")
    state(~burst.valid | (burst.p.beats <= axi_burst.MAX_BURST), "a burst is too long")
    state(~burst.valid | (burst.p.address[:8] + burst.p.beats <= PAGE), "a burst crosses 4 KiB")
    state(
        ~burst.valid | inside(planner.windows, burst.p.address, burst.p.beats),
        "a burst outside the windows",
    )
    state(b.first | ~b.past(burst.valid & burst.ready, "taken") | ~burst.valid, "too soon")
    state(~burst.valid | planner.busy, "a burst while it is not busy")


class AnyBursts(wiring.Component):
    """In the place of a planner: any bursts, of which a port's proof assumes the contract."""

    def __init__(self, *, windows: int) -> None:
        planner = axi_burst.BurstPlanner(windows=windows)
        planner._MustUse__silence = True
        super().__init__(planner.signature)
        self.free = [
            Signal(name="any_valid"),
            Signal(axi_burst.BURST.size, name="any_burst"),
            Signal(name="any_violation"),
            Signal(name="any_busy"),
        ]

    def elaborate(self, platform) -> Module:
        m = Module()
        valid, payload, violation, busy = self.free
        m.d.comb += [
            self.burst.valid.eq(valid),
            self.burst.payload.eq(payload),
            self.violation.eq(violation),
            self.busy.eq(busy),
        ]
        return m


class Plan:
    """Invariants of a planner."""

    def __init__(self, b: Bench, planner: axi_burst.BurstPlanner, reset, path: str = "") -> None:
        m, burst = b.m, planner.burst
        longest = axi_burst.MAX_BURST
        checking, splitting = planner.checking, planner.splitting
        checked, handed = planner.checked, planner.handed
        # The transfer whose bursts are coming, and how far they are.
        base, beats = Signal(36), Signal(24)
        done = Signal(24)
        taken = burst.valid & burst.ready
        with m.If(handed):
            m.d.sync += [base.eq(checked.address), beats.eq(checked.beats), done.eq(0)]
        with m.Elif(taken):
            m.d.sync += done.eq(done + burst.p.beats)
        offered, fresh = b.signal("offered_1", path), b.signal("fresh", path)
        left, size = b.signal("left", path), b.signal("size", path)
        address, final = b.signal("address", path), b.signal("final", path)
        remaining = Signal(24)
        m.d.comb += remaining.eq(beats - done)
        room = Signal(range(longest + 1))
        m.d.comb += room.eq(longest - address[: (longest - 1).bit_length()])

        contract(b, planner, reset, b.prove)
        b.prove(~burst.valid | (burst.p.address == (base + done)[:36]), "a burst leaves beats out")
        b.prove(~burst.valid | (burst.p.beats <= remaining), "more beats than were asked for")
        b.prove(~splitting | (remaining != 0), "bursts behind the last beat")
        b.prove(~splitting | (done < beats), "bursts behind the last beat")

        # Invariants: the splitter.
        b.prove(~splitting | inside(planner.windows, base, beats), "splitting outside a window")
        b.prove(~splitting | (address == (base + done)[:36]), "the splitter's address")
        b.prove(offered == b.signal("offered_0", path), "copies of offered differ")
        b.prove(~offered | splitting, "a burst of no transfer")
        b.prove(~splitting | offered | (left == remaining), "the splitter's beats")
        b.prove(~fresh | offered, "fresh without a burst")
        b.prove(~offered | ~fresh | (left == remaining), "the splitter's beats when fresh")
        b.prove(~offered | fresh | (left + size == remaining), "the splitter's beats behind")
        shorter = remaining <= room
        b.prove(~offered | (final == shorter), "the last burst is not known")
        b.prove(~offered | ~shorter | (size == remaining), "size of the last burst")
        b.prove(~offered | shorter | (size == room), "size of a burst")
        # The check in front of it.
        idle = b.state("check", "IDLE", path)
        end, above, below = (b.signal(n, path) for n in ("end", "above", "below"))
        for n in range(2):
            b.prove(b.signal(f"idle_{n}", path) == idle, "copies of idle differ")
        b.prove(checking == ~idle, "checking")
        end_state = b.state("check", "END", path)  # the one in which an empty transfer is dropped
        b.prove(idle | end_state | (checked.beats != 0), "an empty transfer is checked")
        b.prove(
            ~(b.state("check", "COMPARE", path) | b.state("check", "DECIDE", path))
            | (end == checked.address + checked.beats),
            "the end of the checked transfer",
        )
        for n, window in enumerate(planner.windows):
            b.prove(
                ~b.state("check", "DECIDE", path)
                | ((above[n] == (checked.address >= window.base))
                   & (below[n] == (end <= window.limit))),
                "a comparison of the check",
            )  # fmt: skip
        b.prove(b.signal("check_state", path) <= 4, "no state")
        b.prove(~planner.violation | b.state("check", "STOPPED", path), "goes on after a violation")
        self.taken = taken


def planner() -> Bench:
    dut = axi_burst.BurstPlanner(windows=2)
    reset = Signal(name="reset")
    b = Bench(dut, ResetInserter(reset)(dut))
    b.ports.append(reset)
    plan = Plan(b, dut, reset)
    accepted = dut.transfer.valid & dut.transfer.ready
    went = b.past(accepted & ~reset, "accepted")
    for part in ("address", "beats"):
        late = b.past(dut.transfer.payload[part], part)
        b.prove(~went | (dut.checked[part] == late), "another transfer is checked")
    b.prove(~went | b.state("check", "END"), "an accepted transfer is not checked")
    empty = dut.checked.beats == 0
    for at, following in (
        (b.state("check", "END") & empty, "IDLE"),
        (b.state("check", "END") & ~empty, "COMPARE"),
        (b.state("check", "COMPARE"), "DECIDE"),
    ):
        b.prove(~b.past(at & ~reset, f"to_{following}") | b.state("check", following),
                "the check does not go on")  # fmt: skip
    good = inside(dut.windows, dut.checked.address, dut.checked.beats)
    decide = b.state("check", "DECIDE")
    b.prove(
        ~b.past(decide & ~good & ~reset, "refused") | dut.violation,
        "not refused",
    )
    b.prove(
        ~b.past(decide & good & ~dut.splitting & ~reset, "taken") | dut.splitting,
        "a good transfer is not taken",
    )
    b.prove(~b.past(dut.violation & ~reset, "violated") | dut.violation, "a violation is forgotten")
    count = Signal(4)
    with b.m.If(plan.taken):
        b.m.d.sync += count.eq(count + 1)
    b.cover(plan.taken & (count == 2) & (dut.burst.p.beats == 5), "a third burst of five beats")
    b.cover(dut.violation, "a violation")
    return b


PROOFS = (
    Proof(
        "burst_planner",
        "BurstPlanner",
        "bursts of 1 to 64 beats inside 4 KiB and inside a window, without a gap, to the last beat "
        "of the transfer and no further; a transfer outside the windows is refused",
        planner,
        depth=1,
        cover_depth=10,
        mutations=(
            Mutation("shell.axi_burst", "address.eq(address + size)", "address.eq(address + 64)"),
            Mutation("shell.axi_burst", "end <= w.limit", "end <= w.limit + 1"),
            Mutation("shell.axi_burst",
                     "room.eq(MAX_BURST - address[: (MAX_BURST - 1).bit_length()])",
                     "room.eq(MAX_BURST)"),
            Mutation("shell.axi_burst", "~(above & below).any()", "~(above.any() & below.any())"),
            Mutation("shell.axi_burst", "dropped.eq(~checked.beats.any())", "dropped.eq(0)"),
        ),
    ),
)  # fmt: skip
