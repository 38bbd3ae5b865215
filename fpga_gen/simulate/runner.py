"""One frame through the simulated accelerator, by the driver that boards use."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fpga_gen.contract.params import EngineParams
from fpga_gen.errors import SimulationError
from fpga_gen.simulate.device import LayerHook, SimulatedDevice
from fpga_gen.simulate.dram import DEFAULT, DramConfig, PortStats
from fpga_gen_host import registers
from fpga_gen_host.engine import WATCHDOG_CYCLES, Engine, Slot, default_limit
from fpga_gen_host.errors import AcceleratorError, HostError
from fpga_gen_host.regions import BEAT_BYTES
from fpga_gen_host.registers import ErrorCode

CHUNK = 10_000  # cycles between two calls of `progress`


@dataclass(frozen=True)
class Frame:
    """What the schedule puts into DRAM for one frame.

    program, weights, input: bytes as the hardware reads them; output_bytes: size of the result;
    design_hash: of the engine they are for, 0 for Verilog that was not sealed (see identity.py).
    """

    program: bytes
    weights: bytes
    input: bytes
    output_bytes: int
    design_hash: int = 0


@dataclass(frozen=True)
class SimulatedProgram:
    """A frame's program as the driver takes it. cycles: of a frame, by the model; 0: not known."""

    frame: Frame
    params: EngineParams
    cycles: int = 0
    clock_hz: float = 1.0  # seconds are cycles
    instructions: tuple[tuple[str, str], ...] = ()
    remedy: str = "build again"

    def __post_init__(self) -> None:
        if len(self.program) % self.stream_bytes:
            raise SimulationError(
                f"the program has {len(self.program)} bytes, not whole stream words of "
                f"{self.stream_bytes}; pad it"
            )

    @property
    def stream_bytes(self) -> int:
        return self.params.stream_bits // 8

    @property
    def program(self) -> bytes:
        return self.frame.program

    @property
    def weights(self) -> bytes:
        return self.frame.weights

    @property
    def program_words(self) -> int:
        return len(self.program) // self.stream_bytes

    @property
    def input_bytes(self) -> int:
        return len(self.frame.input)

    @property
    def output_bytes(self) -> int:
        return self.frame.output_bytes

    @property
    def design_hash(self) -> int:
        return self.frame.design_hash

    @property
    def ports(self) -> int:
        return self.params.ports


@dataclass(frozen=True)
class SimulationResult:
    """Outcome and figures of one simulated frame.

    error: STATUS.error_code (NONE: the program ended); error_info: its detail. cycles: the
    hardware's counter; start_cycle: clock edges before the start command; interrupt_cycles: from
    there to the interrupt.
    counters: all read-only registers by name. ports: what the DRAM model saw. output: bytes of
    the output region.
    """

    error: ErrorCode
    error_info: int
    cycles: int
    start_cycle: int
    interrupt_cycles: int
    wall_seconds: float
    counters: dict[str, int]
    ports: tuple[PortStats, ...]
    output: bytes

    @property
    def dram_bytes_read(self) -> int:
        """Bytes read, counted by the DRAM model."""
        return BEAT_BYTES * sum(port.read_beats for port in self.ports)

    @property
    def dram_bytes_written(self) -> int:
        """Bytes written, counted by the DRAM model."""
        return BEAT_BYTES * sum(port.write_beats for port in self.ports)

    @property
    def counted_bytes_read(self) -> int:
        """Bytes read, counted by the hardware's own counters."""
        return BEAT_BYTES * sum(self.counters[f"READ_BEATS_{k}"] for k in range(len(self.ports)))

    @property
    def counted_bytes_written(self) -> int:
        """Bytes written, counted by the hardware's own counter."""
        return BEAT_BYTES * self.counters["WRITE_BEATS"]

    @property
    def kilohertz(self) -> float:
        """Simulation speed: thousand cycles per second of wall time."""
        return self.interrupt_cycles / max(self.wall_seconds, 1e-9) / 1e3

    def check(self) -> SimulationResult:
        """Itself, or SimulationError if the hardware reported an error."""
        if self.error is not ErrorCode.NONE:
            raise SimulationError(
                f"the accelerator stopped with {self.error.name} (info {self.error_info}): "
                f"{registers.ERROR_DOCS[self.error]}"
            )
        return self


def simulate_frame(
    frame: Frame,
    params: EngineParams,
    library: Path,
    dram: DramConfig = DEFAULT,
    *,
    expected_cycles: int | None = None,
    max_cycles: int | None = None,
    watchdog: int = WATCHDOG_CYCLES,
    progress: Callable[[int], None] | None = None,
    on_layer: LayerHook | None = None,
    prepare: Callable[[SimulatedDevice], None] | None = None,
    trace: Path | None = None,
) -> SimulationResult:
    """Run one frame and collect its result.

    Args:
        frame: DRAM contents.
        params: of the engine in `library`.
        library: result of `build_simulator`.
        dram: behaviour of the memory.
        expected_cycles: of the cycle model, for the default limits.
        max_cycles: give up after so many; default 3 x expected_cycles + watchdog + 1 million.
        watchdog: cycles without progress after which the hardware stops; 0: never.
        progress: called with the cycles done every CHUNK cycles, and at the end.
        on_layer: called whenever debug_layer changes, with its value, between two cycles.
        prepare: called with the device before the start, for example to inject a fault.
        trace: VCD file to write (the library must be built with trace=True).

    Raises:
        SimulationError: no interrupt in time, a broken AXI rule, or not the interface or engine
            of the frame. An error that the hardware itself reports is in the result; see
            `SimulationResult.check`.
    """
    cycles = expected_cycles or 0
    limit = max_cycles or 3 * cycles + watchdog + 1_000_000
    waiting = _Waiting(limit, progress, on_layer)
    with SimulatedDevice(library, params, dram, trace=trace, waiting=waiting) as device:
        error, info = ErrorCode.NONE, 0
        try:
            engine, slot = open_engine(device, frame, watchdog, cycles)
            if prepare:
                prepare(device)
            engine.run(slot)
        except AcceleratorError as stopped:
            error, info = _outcome(stopped), stopped.info
        except HostError as refused:
            first = waiting.failure or refused  # not what follows in the recovery
            raise SimulationError(str(first)) from first
        device.step(4)
        if device.interrupt:
            raise SimulationError("the interrupt stays high after STATUS was cleared")
        counters = read_counters(device)
        return SimulationResult(
            error=error,
            error_info=info,
            cycles=counters["CYCLES"],
            start_cycle=device.start_cycle,
            interrupt_cycles=waiting.cycles,
            wall_seconds=waiting.seconds,
            counters=counters,
            ports=device.port_stats(),
            output=slot.output.tobytes(),
        )


class _Waiting:
    """The driver's wait: the whole run with its hooks. cycles: from the start command to the
    interrupt; seconds: wall time of that; failure: what ended it in place of the interrupt."""

    def __init__(
        self, limit: int, progress: Callable[[int], None] | None, on_layer: LayerHook | None
    ) -> None:
        self._limit, self._progress, self._on_layer = limit, progress, on_layer
        self.cycles, self.seconds = 0, 0.0
        self.failure: SimulationError | None = None

    def __call__(self, device: SimulatedDevice) -> None:
        began = time.perf_counter()
        try:
            device.run_to_interrupt(self._limit, self._progress, CHUNK, self._on_layer)
        except SimulationError as error:
            self.failure = error
            raise
        self.cycles = device.cycle - device.start_cycle
        self.seconds = time.perf_counter() - began


def open_engine(
    device: SimulatedDevice,
    frame: Frame,
    watchdog: int = WATCHDOG_CYCLES,
    cycles: int = 0,
    *,
    run_limit: int | None = None,
) -> tuple[Engine, Slot]:
    """The driver with a frame in DRAM. run_limit: None: that of `cycles`, of the model, if known.

    Numbers of frames go on from the last one of the device, so that two simulations are alike.

    Raises:
        SimulationError, HostError: not the interface or engine of the frame.
    """
    if run_limit is None:
        run_limit = default_limit(cycles) if cycles else 0
    engine = Engine(
        device,
        SimulatedProgram(frame, device.params, cycles),
        slots=1,
        watchdog=watchdog,
        run_limit=run_limit,
        timeout_s=math.inf,  # the device gives up by its own clock
        number=device.read_register("FRAME_RUN"),
    )
    (slot,) = engine.slots
    slot.input[:] = np.frombuffer(frame.input, np.uint8)
    slot.buffer.flush()
    return engine, slot


def read_counters(device: SimulatedDevice) -> dict[str, int]:
    """All read-only registers by name; they hold their values until the next start."""
    return {
        entry.name: device.read(entry.offset)
        for entry in registers.REGISTERS
        if entry.access == "ro" and entry.name != "LAYER_START"
    }


def _outcome(stopped: AcceleratorError) -> ErrorCode:
    """The reported error, which must be one."""
    if stopped.code == ErrorCode.NONE or stopped.code not in list(ErrorCode):
        raise SimulationError(f"STATUS makes no sense at the interrupt: {stopped}") from stopped
    return ErrorCode(stopped.code)
