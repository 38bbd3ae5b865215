"""Run control: every run ends, and what it is said to have been is what it was."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In

from formal.bench import Bench
from formal.mutation import Mutation
from formal.proof import Proof
from fpga_gen.hardware.shell import counters, run_control
from fpga_gen.hardware.shell.run_control import RESET_CYCLES, SETTLE_CYCLES
from fpga_gen_host.registers import ErrorCode

DRAINING = 40  # cycles of soft reset by which the DMA is idle: an assumption, see the ports' proofs
LATE = 5  # cycles from the run's limit to its end


class Counted(wiring.Component):
    """RunControl and the counter of a run's cycles, connected as in Shell."""

    def __init__(self) -> None:
        self.control = run_control.RunControl()
        inputs = {n: m for n, m in self.control.signature.members.items() if m.flow is In}
        del inputs["elapsed"]
        super().__init__(inputs)

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.control = self.control
        m.submodules.counter = self.counter = counters.Counter()
        for name in self.signature.members:
            m.d.comb += getattr(self.control, name).eq(getattr(self, name))
        m.d.sync += [
            self.counter.tick.eq(self.control.running),
            self.counter.clear.eq(self.control.start),
        ]
        m.d.comb += self.control.elapsed.eq(self.counter.value)
        return m


def run() -> Bench:
    dut, State = Counted(), run_control.State
    b = Bench(dut)
    m, control, counter = b.m, dut.control, dut.counter
    state, timer, in_run = control.state, control.timer, control.in_run
    is_ = {s: b.named(state == s, f"is_{s.name.lower()}") for s in State}
    limit, watchdog = dut.run_limit, dut.watchdog
    b.hold(limit)
    b.hold(watchdog)
    b.assume(~dut.fault | (dut.fault_code != ErrorCode.NONE))
    b.prove(sum(is_.values()) == 1, "no state")
    b.prove(timer <= RESET_CYCLES, "the timer")

    # A run: cycles since it began, silent ones, cycles of the reset behind it.
    length, silent, age = Signal(34), Signal(32), Signal(34)
    with m.If(in_run):
        m.d.sync += length.eq(length + ~length.all())
    with m.Else():
        m.d.sync += length.eq(0)
    m.d.sync += silent.eq(silent + 1)
    with m.If(~in_run | dut.progress):
        m.d.sync += silent.eq(0)
    spent = Signal(34)
    entered = state.as_value() != b.past(state.as_value(), "state")
    m.d.comb += age.eq(Mux(entered, 0, spent))
    m.d.sync += spent.eq(age + ~age.all())
    b.assume(~is_[State.DRAIN] | (age < DRAINING) | dut.drained)

    # It ends: at its limit, and when nothing moves.
    limited = limit.any() & ~b.first
    over, seen = b.signal("over", "control"), b.signal("seen", "control")
    expired, quiet = b.signal("expired", "control"), b.signal("quiet", "control")
    started = control.started
    b.prove(~in_run | ~limited | (length <= limit + LATE - 1), "a run goes on behind its limit")
    b.prove(~in_run | ~watchdog.any() | (silent <= watchdog + 2), "a run goes on without progress")
    b.prove(silent == quiet, "silent cycles")
    b.prove(~in_run | ~watchdog.any() | (silent != watchdog + 1) | expired, "not expired")
    b.prove(~in_run | ~watchdog.any() | (silent != watchdog + 2) | seen, "expired but not seen")
    b.prove(~in_run | ~limited | (length != limit + 3) | over, "the limit is not noticed")
    b.prove(~in_run | ~limited | (length != limit + 4) | seen, "the limit is not seen")
    # The counter is two cycles late, and in the first cycles still that of the last run.
    step = b.signal("step", "counter")
    b.prove(started == b.past(control.start, "start"), "started")
    b.prove(~started | (in_run & (length == 0)), "started is late")
    b.prove(~in_run | (length != 0) | started, "a run begins by itself")
    b.prove(counter.clear == started, "the counter is not cleared")
    b.prove(counter.tick == b.past(control.running, "running"), "the counter's tick")
    b.prove(~in_run | (length != 1) | (~step & (counter.value == 0)), "the counter begins")
    b.prove(~in_run | (length < 2) | step, "the counter stands still")
    full = (1 << 32) - 1
    b.prove(~in_run | (length < 2) | (length - 2 > full) | (counter.value == (length - 2)[:32]),
            "the counter's value")  # fmt: skip
    near = b.signal("full", "counter")
    b.prove(~in_run | ~near | (length < 2) | (counter.value >= full - 1), "full too soon")
    b.prove(b.first | (b.signal("limited", "control") == limit.any()), "limited")
    # The reset behind it ends, and is long enough; then the engine rests before the next start.
    drain, settle = is_[State.DRAIN], is_[State.SETTLE]
    requested = b.past(dut.reset_request, "requested")
    b.prove(control.soft_reset == drain, "soft_reset")
    fell = b.past(drain, "drain") & ~drain
    held, rest = Signal(6), Signal(6)  # cycles of soft reset, and since it; they stop at 63
    m.d.sync += [held.eq(held + (held != 63)), rest.eq(rest + (rest != 63))]
    with m.If(~drain):
        m.d.sync += held.eq(0)
    with m.If(drain):
        m.d.sync += rest.eq(0)
    b.prove(~drain | (timer <= held), "the timer of a reset")
    b.prove(~fell | (b.past(held, "held") >= RESET_CYCLES), "a reset is too short")
    b.prove(~settle | (timer <= rest), "the timer of the rest")
    ever = Signal(name="was_reset")
    with m.If(drain):
        m.d.sync += ever.eq(1)
    b.prove(~ever | ~is_[State.IDLE] | (rest >= SETTLE_CYCLES), "idle too soon")
    b.prove(~control.start | ~ever | (rest >= SETTLE_CYCLES), "a start too soon after a reset")
    b.prove(~control.start | is_[State.IDLE], "a start that is not allowed")
    ready = b.past(drain & (timer == RESET_CYCLES) & dut.drained & ~dut.reset_request, "ready")
    b.prove(~ready | settle, "a reset that does not end")
    ends = b.past(settle & (timer == SETTLE_CYCLES) & ~dut.reset_request, "ends")
    b.prove(~ends | is_[State.IDLE], "a rest that does not end")
    counts = b.past((drain | settle) & (timer < SETTLE_CYCLES) & ~dut.reset_request, "counts")
    b.prove(~counts | (timer == b.past(timer, "timer") + 1) | b.past(is_[State.IDLE], "idle"),
            "the timer stands still")  # fmt: skip
    # A whole run, without a request from outside, is over after a known time.
    calm = Signal(init=1, name="calm")
    whole = Signal(34)
    with m.If(dut.reset_request):
        m.d.sync += calm.eq(0)
    with m.If(control.start):
        m.d.sync += [calm.eq(1), whole.eq(0)]
    with m.Elif(~is_[State.IDLE]):
        m.d.sync += whole.eq(whole + ~whole.all())
    known = calm & limited
    b.prove(~(in_run & calm) | (whole == length), "a run's time")
    b.prove(~(drain & known) | (whole <= limit + LATE + age), "a reset's time")
    b.prove(~drain | ~calm | (timer == age) | (age > RESET_CYCLES) | requested, "a reset's timer")
    b.prove(~drain | ~calm | (age <= RESET_CYCLES) | (timer == RESET_CYCLES), "a reset's timer")
    b.prove(~(drain & calm) | (age <= DRAINING), "a reset's time")
    b.prove(~settle | ~calm | (timer == age), "a rest's timer")
    b.prove(~settle | ~calm | (age <= SETTLE_CYCLES), "a rest's time")
    b.prove(~(settle & known) | (whole <= limit + LATE + DRAINING + 1 + age), "a run does not end")
    # How it is reported.
    well = control.ended_well
    b.prove(~(control.done & control.error), "done and error")
    b.prove(~in_run | (~control.done & ~well & ~control.error), "done while it runs")
    b.prove(~well | ~control.error, "ended well with an error")
    b.prove(~control.error | (control.error_code != ErrorCode.NONE), "an error without a code")
    b.prove(~seen | (b.signal("code", "control") != ErrorCode.NONE), "a fault without a code")
    faults = b.past(dut.fault & in_run, "fault")
    again = b.past(faults & in_run & ~dut.reset_request, "again")
    b.prove(~again | control.error, "a fault is not reported")
    rose = control.done & ~b.past(control.done, "done")
    b.prove(~rose | (b.past(settle, "settled") & b.past(well, "well")), "done by itself")
    finish = is_[State.FINISH]
    became = well & ~b.past(well, "was_well")
    b.prove(
        ~became | (b.past(finish, "finished") & b.past(dut.writes_done, "written")),
        "ended well before the last write",
    )
    number = Signal(32)
    with m.If(b.past(control.start, "start_2")):
        m.d.sync += number.eq(dut.frame)
    b.prove(number == control.frame_run, "the number of another frame")
    sound = Signal(init=1, name="no_fault_yet")
    m.d.sync += sound.eq(sound & ~dut.fault)
    b.cover(control.done & (number == 7), "a run ends well")
    b.cover(sound & control.error & (control.error_code == ErrorCode.RUN_LIMIT), "the limit")
    b.cover(sound & control.error & (control.error_code == ErrorCode.WATCHDOG), "the watchdog")
    return b


PROOFS = (
    Proof(
        "run_control",
        "RunControl with the counter of a run's cycles: run limit, watchdog, resets",
        "every run ends: RUN_LIMIT + 5 cycles after its start or WATCHDOG + 3 after the last "
        "progress at the latest (whichever is set), and is idle again at most 55 cycles later, if "
        "the DMA drains in 40; resets last 16 cycles or more, 8 pass before a start; done and "
        "error exclude each other, done only after the last write, every fault is reported, the "
        "frame's number is that of its start",
        run,
        depth=3,
        cover_depth=50,
        mutations=(
            Mutation("shell.run_control", "(quiet == self.watchdog) & self.watchdog.any()",
                     "(quiet == self.watchdog) & self.progress"),
            Mutation("shell.run_control", "(self.elapsed == self.run_limit) & limited & in_run",
                     "(self.elapsed == self.run_limit) & limited & self.progress"),
            Mutation("shell.run_control", "(timer == RESET_CYCLES) & self.drained", "self.drained"),
            Mutation("shell.run_control", "state.eq(State.DRAIN), timer.eq(0), ended_well.eq(1)",
                     "state.eq(State.DRAIN), ended_well.eq(1)"),
            Mutation("shell.run_control", "& (state == State.IDLE) & ~self.reset_request", ""),
        ),
    ),
)  # fmt: skip
