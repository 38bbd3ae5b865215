"""The life of a run: start, finish, first error, orderly abort, watchdog, limit of its time."""

import enum as py_enum

from amaranth import Cat, Module, Mux, Signal
from amaranth.lib import enum, wiring
from amaranth.lib.wiring import In, Out

from fpga_gen.hardware.common.resets import data_register
from fpga_gen_host.registers import ERROR_CODE_BITS, LAYER_BITS, ErrorCode

RESET_CYCLES = 16  # least length of soft_reset
FINISH_CYCLES = 5  # after the last write response: an error in it is seen first
SETTLE_CYCLES = 8  # least time from the end of soft_reset to start


class State(enum.Enum, shape=3):
    IDLE = py_enum.auto()
    RUN = py_enum.auto()
    FINISH = py_enum.auto()  # the engine is done, writes are being answered
    DRAIN = py_enum.auto()  # soft reset until no AXI transfer is outstanding
    SETTLE = py_enum.auto()


class RunControl(wiring.Component):
    """IDLE -> RUN -> FINISH -> DRAIN -> SETTLE -> IDLE; a fault or reset request goes to DRAIN.

    `done` rises when the run has come back to IDLE, `error` as soon as the fault is seen. A start
    request outside IDLE is ignored.

    Members:
        start_request, reset_request, done_clear, error_clear: In, pulses from software.
        watchdog: In(32), cycles without `progress` that are a fault; 0: off.
        run_limit: In(32), cycles of a run that are a fault; 0: off. elapsed: In(32), cycles since
            the start, some late; in the cycle after it still those of the last run.
        engine_done: In, pulse. writes_done, drained: In, levels from the DMA.
        fault: In, with fault_code(8), fault_info(16); seen only while running.
        frame: In(32), number of the next run, held from the start request on.
        frame_run: Out(32), number of the last run that started; what `done` and `error` refer to.
        start: Out, pulse. soft_reset: Out, level. running: Out, level from start to soft_reset.
        busy, draining, done, error, error_code(8), error_info(16): Out, fields of STATUS.
    """

    start_request: In(1)
    reset_request: In(1)
    done_clear: In(1)
    error_clear: In(1)
    watchdog: In(32)
    progress: In(1)
    run_limit: In(32)
    elapsed: In(32)
    engine_done: In(1)
    writes_done: In(1)
    drained: In(1)
    fault: In(1)
    fault_code: In(ERROR_CODE_BITS)
    fault_info: In(LAYER_BITS)
    frame: In(32)
    frame_run: Out(32)
    start: Out(1)
    soft_reset: Out(1)
    running: Out(1)
    busy: Out(1)
    draining: Out(1)
    done: Out(1)
    error: Out(1)
    error_code: Out(ERROR_CODE_BITS)
    error_info: Out(LAYER_BITS)

    def elaborate(self, platform) -> Module:
        m = Module()
        self.state = Signal(State, init=State.IDLE)
        self.ended_well = Signal()
        self.timer = Signal(range(RESET_CYCLES + 1))
        self._states(m)
        self._levels(m)
        self._frame(m)
        self._faults(m)
        return m

    def _states(self, m: Module) -> None:
        state, timer, ended_well = self.state, self.timer, self.ended_well
        with m.If(timer != RESET_CYCLES):
            m.d.sync += timer.eq(timer + 1)
        with m.If(self.done_clear):
            m.d.sync += self.done.eq(0)
        with m.If(self.error_clear):
            m.d.sync += self.error.eq(0)

        with m.Switch(state):
            with m.Case(State.IDLE):
                with m.If(self.start):
                    m.d.sync += [
                        state.eq(State.RUN),
                        ended_well.eq(0),
                        self.done.eq(0),
                        self.error.eq(0),
                        self.error_code.eq(ErrorCode.NONE),
                        self.error_info.eq(0),
                    ]
            with m.Case(State.RUN):
                with m.If(self.engine_done):
                    m.d.sync += [state.eq(State.FINISH), timer.eq(0)]
            with m.Case(State.FINISH):
                with m.If(~self.writes_done):
                    m.d.sync += timer.eq(0)
                with m.Elif(timer == FINISH_CYCLES):
                    m.d.sync += [state.eq(State.DRAIN), timer.eq(0), ended_well.eq(1)]
            with m.Case(State.DRAIN):
                with m.If((timer == RESET_CYCLES) & self.drained):
                    m.d.sync += [state.eq(State.SETTLE), timer.eq(0)]
            with m.Case(State.SETTLE):
                with m.If(timer == SETTLE_CYCLES):
                    m.d.sync += state.eq(State.IDLE)
                    with m.If(ended_well):
                        m.d.sync += self.done.eq(1)

    def _levels(self, m: Module) -> None:
        """Where the run is."""
        state, ended_well = self.state, self.ended_well
        self.in_run = in_run = Signal(name="in_run")
        draining = Signal()
        m.d.comb += [
            in_run.eq((state == State.RUN) | (state == State.FINISH)),
            draining.eq((state == State.DRAIN) | (state == State.SETTLE)),
            self.start.eq(self.start_request & (state == State.IDLE) & ~self.reset_request),
            self.running.eq(in_run | self.start),
            self.soft_reset.eq(state == State.DRAIN),
            self.busy.eq(in_run | (draining & ended_well)),
            self.draining.eq(draining & ~ended_well),
        ]

    def _frame(self, m: Module) -> None:
        """The number of the frame whose run it is: a start that was ignored changes nothing."""
        # A cycle late, long before the run can end: `start` has other loads.
        self.started = started = Signal(name="started")
        number = data_register(m, self.frame_run)
        m.d.sync += started.eq(self.start)
        with m.If(started):
            m.d.sync += number.eq(self.frame)

    def _faults(self, m: Module) -> None:
        """Watchdog and faults, registered before they act."""
        in_run = self.in_run
        quiet = Signal(32)
        expired = Signal()
        limited = Signal()
        over = Signal()
        m.d.sync += [
            limited.eq(self.run_limit.any()),
            over.eq((self.elapsed == self.run_limit) & limited & in_run & ~self.started),
        ]
        seen = Signal()
        code = Signal(ERROR_CODE_BITS, reset_less=True)
        info = Signal(LAYER_BITS, reset_less=True)
        with m.If(~in_run | self.progress):
            m.d.sync += [quiet.eq(0), expired.eq(0)]
        with m.Else():
            m.d.sync += [
                quiet.eq(quiet + 1),
                expired.eq((quiet == self.watchdog) & self.watchdog.any()),
            ]
        m.d.sync += [
            seen.eq(self.running & (self.fault | expired | over)),
            code.eq(self.fault_code),
            info.eq(self.fault_info),
        ]
        with m.If(~self.fault):
            m.d.sync += [code.eq(Mux(expired, ErrorCode.WATCHDOG, ErrorCode.RUN_LIMIT)), info.eq(0)]
        with m.If((in_run & seen) | self.reset_request):
            m.d.sync += [self.state.eq(State.DRAIN), self.timer.eq(0), self.ended_well.eq(0)]
        with m.If(in_run & seen):
            m.d.sync += [
                self.error.eq(1),
                self.error_code.eq(code),
                self.error_info.eq(info),
            ]
        with m.If(self.reset_request):
            m.d.sync += [
                self.done.eq(0),
                self.error.eq(0),
                self.error_code.eq(ErrorCode.NONE),
                self.error_info.eq(0),
            ]


def first_fault(m: Module, control: RunControl, sources: list[tuple]) -> None:
    """Drive the fault input from (condition, code, info), the most important source first, a cycle
    late: they come from all over the shell."""
    code_now, info_now = data_register(m, control.fault_code), data_register(m, control.fault_info)
    m.d.sync += control.fault.eq(Cat(condition for condition, _, _ in sources).any())
    for condition, code, info in reversed(sources):
        with m.If(condition):
            m.d.sync += [code_now.eq(code), info_now.eq(info)]
