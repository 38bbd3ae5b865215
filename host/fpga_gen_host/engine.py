"""The register sequence of the accelerator: checks, addresses, start, result, recovery.

Boards, the virtual board's clients and `fpga-gen simulate` run this one, each on its own `Device`.
"""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from fpga_gen_host import registers as r
from fpga_gen_host.device import Buffer, Device
from fpga_gen_host.errors import (
    AcceleratorError,
    AcceleratorStuck,
    AcceleratorTimeout,
    DesignMismatch,
    DeviceError,
    WrongFrame,
)
from fpga_gen_host.regions import BEAT_BYTES
from fpga_gen_host.statistics import FrameStatistics, LayerTime

PAGE = 4096  # alignment of the parts of a buffer
WATCHDOG_CYCLES = 100_000  # without progress
POLL_S = 0.02  # STATUS is read at least this often, should an interrupt be missed
STANDSTILL_S = 1.0  # in which the clock of a frame that is over time must have moved
RESET_S = 1.0  # for outstanding transfers to complete after a soft reset, ...
RESET_READS = 5000  # ... and reads of STATUS: a busy machine may sleep, a simulated engine is slow
ACTIVE = r.STATUS_BUSY_MASK | r.STATUS_DRAINING_MASK
ENDED = r.STATUS_DONE_MASK | r.STATUS_ERROR_MASK
WITHHELD: list[Buffer] = []  # memory that an accelerator may still write to


def default_limit(cycles: int) -> int:
    """RUN_LIMIT of a program whose run should take that many cycles."""
    return min(r.RUN_FACTOR * cycles + r.RUN_SLACK, 0xFFFFFFFF)


def _round_up(value: int, unit: int) -> int:
    return -(-value // unit) * unit


class Program(Protocol):
    """What an engine runs; a `Deployment` is one.

    program, weights: bytes of the regions; program_words: stream words of the program;
    input_bytes, output_bytes: of the other regions; ports: AXI read ports; clock_hz: of the engine;
    cycles: of a frame, by the build's model; instructions: (operation, layer) in the order of the
    hardware's log; remedy: what to do if the device holds another design.
    """

    @property
    def program(self) -> bytes: ...

    @property
    def weights(self) -> bytes: ...

    @property
    def program_words(self) -> int: ...

    @property
    def input_bytes(self) -> int: ...

    @property
    def output_bytes(self) -> int: ...

    @property
    def design_hash(self) -> int: ...

    @property
    def ports(self) -> int: ...

    @property
    def clock_hz(self) -> float: ...

    @property
    def cycles(self) -> int: ...

    @property
    def instructions(self) -> tuple[tuple[str, str], ...]: ...

    @property
    def remedy(self) -> str: ...


@dataclass(frozen=True, eq=False)
class Slot:
    """Memory of one frame: input region first, output region on a later page.

    input, output: uint8 views of the two regions.
    """

    buffer: Buffer
    input: np.ndarray
    output: np.ndarray
    output_address: int


class Engine:
    """One accelerator with a program and its weights in memory.

    watchdog: cycles without progress after which the hardware gives up, run_limit: cycles of a
    whole frame; 0: never, None: `default_limit`. timeout_s: what the host waits for a frame, in
    time of the accelerator's clock: a simulated one may take longer on the wall. number: of the
    frame before the first; None: by chance, as another program has other ones. Not safe for several
    threads at once.

    Whatever is raised between the first setting of a frame and its result, the next frame begins
    with a soft reset, and a result is returned only if the hardware ran the number of that frame.

    Raises:
        DesignMismatch: register interface, design hash or ports are not those of the program.
        AcceleratorStuck: it does not become idle.
    """

    def __init__(
        self,
        device: Device,
        program: Program,
        *,
        slots: int = 3,
        watchdog: int = WATCHDOG_CYCLES,
        run_limit: int | None = None,
        timeout_s: float = 5.0,
        number: int | None = None,
    ) -> None:
        self.device, self.program = device, program
        self.watchdog, self.timeout_s = watchdog, timeout_s
        self.run_limit = default_limit(program.cycles) if run_limit is None else run_limit
        self._buffers: list[Buffer] = []
        self.slots: tuple[Slot, ...] = ()
        self._written: dict[int, int] = {}  # address registers, as this object left them
        self._ready = False  # idle, nothing to report, all settings made
        self._number = secrets.randbits(32) if number is None else number  # of the last frame
        check_design(device, program)
        self.reset()  # what a program that died left running may write to the memory taken now
        try:
            weights_at = _round_up(len(program.program), PAGE)
            self._static = self._allocate(weights_at + max(len(program.weights), 1))
            _fill(self._static.array, 0, program.program)
            _fill(self._static.array, weights_at, program.weights)
            self._static.flush()
            self._weights_at = weights_at
            self.slots = tuple(self._slot() for _ in range(slots))
            self._configure()
        except BaseException:
            _free(self._buffers)
            raise

    def close(self) -> None:
        """Stops what runs and frees all memory; a second call goes on where one was interrupted.

        Raises:
            AcceleratorStuck, DeviceError: it does not stop, or cannot be reached. Its memory then
                stays allocated until the process ends, as a transfer that is still under way must
                not hit anybody else's.
        """
        if not self._buffers:
            return
        self.slots = ()
        try:
            if not self._ready or self.device.read(r.STATUS) & ACTIVE:
                self.reset()
        except (AcceleratorStuck, DeviceError):
            WITHHELD.extend(self._buffers)
            self._buffers.clear()
            raise
        _free(self._buffers)

    # --- memory ----------------------------------------------------------------------------
    def _allocate(self, nbytes: int) -> Buffer:
        buffer = self.device.allocate(_round_up(nbytes, BEAT_BYTES))
        self._buffers.append(buffer)
        return buffer

    def _slot(self) -> Slot:
        size_in, size_out = self.program.input_bytes, self.program.output_bytes
        at = _round_up(size_in, PAGE)
        buffer = self._allocate(at + size_out)
        array = buffer.array
        address = buffer.device_address
        array[:] = 0
        return Slot(buffer, array[:size_in], array[at : at + size_out], address + at)

    # --- registers -------------------------------------------------------------------------
    def _address(self, low: int, value: int) -> None:
        """Sets a pair NAME_LO, NAME_HI; what is there already is not written again."""
        for offset, half in ((low, value & 0xFFFFFFFF), (low + 4, value >> 32)):
            if self._written.get(offset) != half:
                self.device.write(offset, half)
                self._written[offset] = half

    def _window(self, low: int, base: int, nbytes: int) -> None:
        self._address(low, base)
        limit = low + (r.READ_WINDOW0_LIMIT_LO - r.READ_WINDOW0_BASE_LO)
        self._address(limit, base + _round_up(nbytes, BEAT_BYTES))

    def _configure(self) -> None:
        """Everything that is the same for all frames; the accelerator is idle."""
        base = self._static.device_address
        self._address(r.PROGRAM_LO, base)
        self._address(r.WEIGHTS_LO, base + self._weights_at)
        size = self._weights_at + len(self.program.weights)
        self._window(r.READ_WINDOW0_BASE_LO, base, size)
        self.device.write(r.PROGRAM_WORDS, self.program.program_words)
        self.device.write(r.WATCHDOG, self.watchdog)
        self.device.write(r.RUN_LIMIT, self.run_limit)
        self._ready = True

    def reset(self) -> None:
        """Aborts what runs and waits until the last outstanding transfer is complete.

        Raises:
            AcceleratorStuck: it does not become idle.
        """
        self.device.write(r.CONTROL, r.CONTROL_SOFT_RESET_MASK)
        deadline, reads = time.monotonic() + RESET_S, 0
        while self.device.read(r.STATUS) & ACTIVE:
            reads += 1
            if reads >= RESET_READS and time.monotonic() > deadline:
                raise AcceleratorStuck(
                    "the accelerator does not become idle after a soft reset: "
                    "load the bitstream again"
                )

    def recover(self) -> None:
        """Soft reset, then all settings anew."""
        self._ready = False
        self._written.clear()
        self.reset()
        self._configure()

    # --- frames ----------------------------------------------------------------------------
    def run(self, slot: Slot) -> FrameStatistics:
        """One frame from `slot.input` to `slot.output`.

        The caller flushes the slot's buffer before and invalidates it afterwards, so that both can
        overlap with another frame.

        Raises:
            AcceleratorError: the hardware reported an error; it has been reset.
            AcceleratorTimeout: no result within timeout_s; it has been reset.
            WrongFrame: what ended was not this frame; it has been reset.
            AcceleratorStuck: the reset did not help.
        """
        began = time.perf_counter()
        if not self._ready:
            self.recover()
        self._ready = False  # should even the reset below be interrupted
        try:
            number = self.start(slot)
            status = self._wait()
            statistics = self.acknowledge(number)
            if not status & r.STATUS_DONE_MASK or status & r.STATUS_ERROR_MASK:
                raise AcceleratorError(
                    (status & r.STATUS_ERROR_CODE_MASK) >> r.STATUS_ERROR_CODE_SHIFT,
                    (status & r.STATUS_ERROR_INFO_MASK) >> r.STATUS_ERROR_INFO_SHIFT,
                )
        except BaseException:
            self.recover()
            raise
        self._ready = True
        elapsed = time.perf_counter() - began
        return FrameStatistics(**statistics, engine_s=elapsed)

    def start(self, slot: Slot) -> int:
        """Starts a frame; returns its number, which the hardware keeps if it accepts the start."""
        address = slot.buffer.device_address
        self._address(r.INPUT_LO, address)
        self._address(r.OUTPUT_LO, slot.output_address)
        # What is read of the output region are maps that the run itself wrote there.
        end = slot.output_address - address + len(slot.output)
        self._window(r.READ_WINDOW1_BASE_LO, address, end)
        self._window(r.WRITE_WINDOW_BASE_LO, slot.output_address, len(slot.output))
        self._number = (self._number + 1) & 0xFFFFFFFF
        self.device.write(r.FRAME, self._number)
        self.device.write(r.CONTROL, r.CONTROL_START_MASK | r.CONTROL_IRQ_ENABLE_MASK)
        return self._number

    def acknowledge(self, number: int) -> dict:
        """Figures of the frame that has ended; clears done and error, and with them the interrupt.

        Raises:
            WrongFrame: it was another one.
        """
        found = self.device.read(r.FRAME_RUN)
        if found != number:
            raise WrongFrame(
                f"the accelerator ran frame {found:08x} in place of {number:08x}: close the other "
                "program that uses it"
            )
        statistics = self._statistics()
        self.device.write(r.STATUS, ENDED)
        return statistics

    def _wait(self) -> int:
        """STATUS once the run has ended."""
        deadline, cycles = time.monotonic() + self.timeout_s, -1
        while True:
            self.device.wait(max(0.0, min(deadline - time.monotonic(), POLL_S)))
            status = self.device.read(r.STATUS)
            if status & ENDED:
                return status
            if time.monotonic() >= deadline:
                # A simulated accelerator has had less time than the clock on the wall says.
                now = self.device.read(r.CYCLES)
                if now == cycles or now >= self.timeout_s * self.program.clock_hz:
                    raise AcceleratorTimeout(
                        f"no result within {self.timeout_s} s (STATUS 0x{status:08x}, "
                        f"{self.device.read(r.LAYER_INDEX)} instructions started)"
                    )
                deadline, cycles = time.monotonic() + min(self.timeout_s, STANDSTILL_S), now

    def _statistics(self) -> dict:
        read = self.device.read
        cycles = read(r.CYCLES)
        beats = sum(read(r.READ_BEATS_0 + 4 * k) for k in range(self.program.ports))
        return {
            "cycles": cycles,
            "busy": read(r.BUSY),
            "stall_weights": read(r.STALL_WEIGHTS),
            "stall_drain": read(r.STALL_DRAIN),
            "stall_input": read(r.STALL_INPUT),
            "read_bytes": BEAT_BYTES * beats,
            "write_bytes": BEAT_BYTES * read(r.WRITE_BEATS),
            "instructions": read(r.LAYER_INDEX),
            "seconds": cycles / self.program.clock_hz,
        }

    def layer_times(self) -> list[LayerTime]:
        """Log of the last frame; the hardware keeps the first LAYER_LOG_DEPTH instructions."""
        started = self.device.read(r.LAYER_INDEX)
        starts = []
        for index in range(min(started, r.LAYER_LOG_DEPTH)):
            self.device.write(r.LAYER_SELECT, index)
            starts.append(self.device.read(r.LAYER_START))
        if started <= r.LAYER_LOG_DEPTH:
            ends = [*starts[1:], self.device.read(r.CYCLES)]
        else:
            ends = starts[1:]  # the last logged instruction has no known end
        names = self.program.instructions
        named = len(names) == started
        return [
            LayerTime(
                index, *(names[index] if named else ("", "")), start, end - start,
                (end - start) / self.program.clock_hz,
            )
            for index, (start, end) in enumerate(zip(starts, ends, strict=False))
        ]  # fmt: skip


def _fill(array: np.ndarray, at: int, data: bytes) -> None:
    array[at : at + len(data)] = np.frombuffer(data, np.uint8)


def _free(buffers: list[Buffer]) -> None:
    """Frees all of them and empties the list, then raises the first error if there was one."""
    errors = []
    while buffers:
        try:
            buffers[-1].free()
        except DeviceError as error:
            errors.append(error)
        buffers.pop()
    if errors:
        raise errors[0]


def check_design(device: Device, program: Program) -> None:
    """DesignMismatch unless the device holds the design that the program was compiled for."""
    checks = (
        (r.ID, r.MAGIC, "register ID", "this is no fpga-gen accelerator"),
        (r.VERSION, r.INTERFACE_VERSION, "register interface", program.remedy),
        (r.CONFIG, program.ports, "number of read ports", program.remedy),
    )
    for offset, expected, what, remedy in checks:
        found = device.read(offset)
        if found != expected:
            raise DesignMismatch(f"{what} is 0x{found:x}, expected 0x{expected:x}: {remedy}")
    carried = device.read(r.HASH_LO) | device.read(r.HASH_HI) << 32
    if carried != program.design_hash:
        raise DesignMismatch(
            f"the device carries design hash {carried:016x}, this build needs "
            f"{program.design_hash:016x}: {program.remedy}"
        )
