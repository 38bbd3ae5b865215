"""The simulated accelerator with a running clock, in a thread of its own.

The clock runs while a frame is computed and for a while after it, so that the pause before the
next frame shows in clock cycles; then it stands still, and only register accesses move it. It also
stands still when nobody has looked for a minute: a client that died in a frame costs nothing.
"""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from fpga_gen.contract.params import EngineParams
from fpga_gen.errors import FpgaGenError, SimulationError
from fpga_gen.simulate.device import SimulatedDevice
from fpga_gen.simulate.dram import DramConfig
from fpga_gen.simulate.native import StopReason
from fpga_gen_host import registers as r
from fpga_gen_host.engine import ACTIVE
from fpga_gen_host.registers import REGISTERS

T = TypeVar("T")
SLICE_S = 0.001  # clock moves in slices of about this wall time: the wait of a register access
AFTER_RUN_S = 0.5  # the clock goes on after a run
STATUS_S = 0.25  # between two looks at STATUS, for a client that left the interrupt off
ANSWER_S = 60.0  # for the simulator to serve one access
ABANDONED_S = 60.0  # without an access: nobody waits for the frame
MAX_FRAMES = 1000  # of the log
OFFSETS = {entry.offset for entry in REGISTERS}


@dataclass(frozen=True)
class FrameRecord:
    """One run. start, end: cycles of the board's clock; gap: cycles since the run before, None
    for the first one and after a standstill; seconds: wall time of the run."""

    start: int
    end: int
    gap: int | None
    seconds: float


class SimulatorThread:
    """Serves register accesses and moves the clock; every access comes from this one thread.

    on_frame: called with the record of every run that has ended.

    Raises:
        SimulationError: library and parameters do not fit.
    """

    def __init__(
        self,
        library: Path,
        params: EngineParams,
        dram: DramConfig,
        on_frame: Callable[[FrameRecord], None] | None = None,
    ) -> None:
        self._make = lambda memory: SimulatedDevice(library, params, dram, memory=memory)
        self._device = self._make(None)
        self.memory: np.ndarray = self._device.memory
        self.frames: deque[FrameRecord] = deque(maxlen=MAX_FRAMES)
        self._on_frame = on_frame
        self._tasks: queue.SimpleQueue[tuple[Callable[[], object], Future] | None]
        self._tasks = queue.SimpleQueue()
        self._failure: str | None = None
        self._started: tuple[int, float] | None = None  # cycle and time of the running frame
        self._rests_at = 0.0  # when the clock stops
        self._last_end: int | None = None  # cycle; None: the clock has stood still since
        self._look = 0.0  # when STATUS is read next
        self._touched = 0.0  # last access
        self._slice = 64  # cycles
        self._thread = threading.Thread(target=self._serve, name="simulator", daemon=True)
        self._thread.start()

    def read(self, offset: int) -> int:
        """32-bit value of the register at a byte offset; an unused offset reads 0.

        Raises:
            SimulationError: the design broke a rule of the bus; `reload` makes it good.
        """
        return self._call(lambda: self._read(offset))

    def write(self, offset: int, value: int) -> None:
        """Writes the register at a byte offset; an unused offset ignores it."""
        self._call(lambda: self._write(offset, value))

    def interrupt(self) -> bool:
        """The interrupt pin."""
        return self._call(lambda: self._device.interrupt)

    def reload(self) -> None:
        """The design anew, as after loading a bitstream; the DRAM keeps its contents."""
        self._call(self._reload, even_if_failed=True)

    def close(self) -> None:
        """Ends the thread; a second call does nothing."""
        if self._thread.is_alive():
            self._tasks.put(None)
            self._thread.join()

    def _call(self, work: Callable[[], T], even_if_failed: bool = False) -> T:
        if self._failure and not even_if_failed:
            raise SimulationError(f"{self._failure}; load the bitstream again")
        if not self._thread.is_alive():
            raise SimulationError("the virtual board has been shut down")
        future: Future = Future()
        self._tasks.put((work, future))
        try:
            return future.result(ANSWER_S)
        except TimeoutError as error:
            raise SimulationError(f"the simulator does not answer within {ANSWER_S} s") from error

    # --- in the thread ---------------------------------------------------------------------
    def _serve(self) -> None:
        while True:
            if not self._clock_runs():
                self._last_end = None
            try:
                task = self._tasks.get(block=not self._clock_runs())
            except queue.Empty:
                self._advance()
                continue
            if task is None:
                self._device.close()
                return
            self._touched = time.monotonic()
            work, future = task
            try:
                future.set_result(work())
            except BaseException as error:
                future.set_exception(error)

    def _clock_runs(self) -> bool:
        now = time.monotonic()
        watched = now < self._touched + ABANDONED_S
        return (self._started is not None and watched) or now < self._rests_at

    def _advance(self) -> None:
        """One slice of time; its length follows the simulator's speed."""
        began = time.monotonic()
        try:
            running = self._started is not None
            reason = self._device.run(self._slice, until_interrupt=running)
            if running and (reason is StopReason.INTERRUPT or self._ended_unseen(began)):
                self._end_frame()
        except FpgaGenError as error:
            self._failure, self._started, self._rests_at = str(error), None, 0.0
            return
        taken = time.monotonic() - began
        if reason is StopReason.LIMIT:
            aim = self._slice * SLICE_S / max(taken, 1e-6)
            self._slice = int(min(max(aim, self._slice / 2, 16), self._slice * 2, 100_000))

    def _ended_unseen(self, now: float) -> bool:
        """Whether the frame has ended although no interrupt came."""
        if now < self._look:
            return False
        self._look = now + STATUS_S
        return not self._device.read(r.STATUS) & ACTIVE

    def _end_frame(self) -> None:
        assert self._started is not None
        (start, began), end = self._started, self._device.cycle
        now = time.monotonic()
        gap = None if self._last_end is None else start - self._last_end
        record = FrameRecord(start, end, gap, now - began)
        self.frames.append(record)
        self._started, self._last_end, self._rests_at = None, end, now + AFTER_RUN_S
        if self._on_frame:
            self._on_frame(record)

    def _read(self, offset: int) -> int:
        return self._device.read(offset) if offset in OFFSETS else 0

    def _write(self, offset: int, value: int) -> None:
        if offset not in OFFSETS:
            return
        self._device.write(offset, value)
        if offset == r.CONTROL and value & r.CONTROL_START_MASK and self._started is None:
            self._started = (self._device.cycle, time.monotonic())
            self._look = time.monotonic() + STATUS_S

    def _reload(self) -> None:
        self._device.close()
        self._device = self._make(self.memory)
        self._failure = self._started = self._last_end = None
        self._rests_at = 0.0
