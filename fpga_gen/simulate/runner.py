"""One frame through the simulated accelerator, with the register sequence of the driver."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from fpga_gen.contract.params import EngineParams
from fpga_gen.errors import SimulationError
from fpga_gen.simulate.device import Buffer, LayerHook, SimulatedDevice
from fpga_gen.simulate.dram import BEAT, DEFAULT, DramConfig, PortStats
from fpga_gen_host import registers
from fpga_gen_host.registers import ErrorCode, register

WATCHDOG_CYCLES = 100_000
IDLE_POLLS = 1000  # reads of STATUS after a soft reset
CHUNK = 10_000  # cycles between two updates of the progress bar


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
class SimulationResult:
    """Outcome and figures of one simulated frame.

    error: STATUS.error_code (NONE: the program ended); error_info: its detail. cycles: the
    hardware's counter; interrupt_cycles: clock edges from the start command to the interrupt.
    counters: all read-only registers by name. ports: what the DRAM model saw. output: bytes of
    the output region.
    """

    error: ErrorCode
    error_info: int
    cycles: int
    interrupt_cycles: int
    wall_seconds: float
    counters: dict[str, int]
    ports: tuple[PortStats, ...]
    output: bytes

    @property
    def dram_bytes_read(self) -> int:
        """Bytes read, counted by the DRAM model."""
        return BEAT * sum(port.read_beats for port in self.ports)

    @property
    def dram_bytes_written(self) -> int:
        """Bytes written, counted by the DRAM model."""
        return BEAT * sum(port.write_beats for port in self.ports)

    @property
    def counted_bytes_read(self) -> int:
        """Bytes read, counted by the hardware's own counters."""
        return BEAT * sum(self.counters[f"READ_BEATS_{k}"] for k in range(len(self.ports)))

    @property
    def counted_bytes_written(self) -> int:
        """Bytes written, counted by the hardware's own counter."""
        return BEAT * self.counters["WRITE_BEATS"]

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
    progress: bool | Callable[[int], None] = False,
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
        expected_cycles: of the cycle model, for the progress bar and the default limit.
        max_cycles: give up after so many; default 3 x expected_cycles + watchdog + 1 million.
        watchdog: cycles without progress after which the hardware stops; 0: never.
        progress: show a progress bar, or call this with the cycles done every CHUNK cycles.
        on_layer: called whenever debug_layer changes, with its value, between two cycles.
        prepare: called with the device before the start, for example to inject a fault.
        trace: VCD file to write (the library must be built with trace=True).

    Raises:
        SimulationError: no interrupt in time, a broken AXI rule, or not the interface or engine
            of the frame. An error that the hardware itself reports is in the result; see
            `SimulationResult.check`.
    """
    limit = max_cycles or 3 * (expected_cycles or 0) + watchdog + 1_000_000
    with SimulatedDevice(library, params, dram, trace=trace) as device:
        output = load_frame(device, frame, watchdog, run_limit(expected_cycles))
        if prepare:
            prepare(device)
        number = number_run(device)
        before, started = device.cycle, time.perf_counter()
        start_program(device)
        bar = nullcontext(progress if callable(progress) else None)
        with _ProgressBar(expected_cycles or limit) if progress is True else bar as update:
            device.wait(limit, update, CHUNK, on_layer)
        wall, taken = time.perf_counter() - started, device.cycle - before
        status, counters = finish_program(device, number)
        error, info = _outcome(status)
        return SimulationResult(
            error=error,
            error_info=info,
            cycles=counters["CYCLES"],
            interrupt_cycles=taken,
            wall_seconds=wall,
            counters=counters,
            ports=device.port_stats(),
            output=output.array.tobytes(),
        )


def run_limit(expected_cycles: int | None) -> int:
    """RUN_LIMIT of a program that should take that many cycles; 0 (none) if that is not known."""
    if not expected_cycles:
        return 0
    limit = registers.RUN_FACTOR * expected_cycles + registers.RUN_SLACK
    return min(limit, 0xFFFFFFFF)


def load_frame(
    device: SimulatedDevice, frame: Frame, watchdog: int = WATCHDOG_CYCLES, limit: int = 0
) -> Buffer:
    """Check the design, put the frame into DRAM and set addresses and windows.

    Returns:
        The output buffer.
    """
    for name, value in (("ID", registers.MAGIC), ("VERSION", registers.INTERFACE_VERSION)):
        if (found := device.read_register(name)) != value:
            raise SimulationError(f"register {name} reads 0x{found:x} instead of 0x{value:x}")
    found = device.read_register("HASH_LO") | device.read_register("HASH_HI") << 32
    if found != frame.design_hash:
        raise SimulationError(
            f"the simulated design carries hash {found:016x}, the program needs "
            f"{frame.design_hash:016x}: build again"
        )
    soft_reset(device)
    stream_bytes = device.params.stream_bits // 8
    if len(frame.program) % stream_bytes:
        raise SimulationError(
            f"the program has {len(frame.program)} bytes, not whole stream words of "
            f"{stream_bytes}; pad it"
        )
    buffers = {}
    for name in ("program", "weights", "input"):
        data = np.frombuffer(getattr(frame, name), np.uint8)
        buffers[name] = device.allocate(max(len(data), 1))
        buffers[name].array[: len(data)] = data
        device.write_address(name.upper(), buffers[name].address)
    output = device.allocate(frame.output_bytes)
    device.write_address("OUTPUT", output.address)
    device.write_register("PROGRAM_WORDS", len(frame.program) // stream_bytes)
    device.write_register("WATCHDOG", watchdog)
    device.write_register("RUN_LIMIT", limit)
    # Program and weights lie side by side.
    windows = {
        "READ_WINDOW0": (buffers["program"], buffers["weights"]),
        "READ_WINDOW1": (buffers["input"], buffers["input"]),
        "WRITE_WINDOW": (output, output),
    }
    for name, (first, last) in windows.items():
        end = last.address + len(last.array)
        device.write_address(f"{name}_BASE", first.address)
        device.write_address(f"{name}_LIMIT", -(-end // BEAT) * BEAT)
    return output


def soft_reset(device: SimulatedDevice) -> None:
    """Abort what runs and wait until the last outstanding transfer is complete.

    Raises:
        SimulationError: it does not become idle.
    """
    device.write_register("CONTROL", _mask("CONTROL", "soft_reset"))
    active = _mask("STATUS", "busy") | _mask("STATUS", "draining")
    for _ in range(IDLE_POLLS):
        if not device.read_register("STATUS") & active:
            return
    raise SimulationError("the accelerator does not become idle after a soft reset")


def number_run(device: SimulatedDevice) -> int:
    """Gives the next run a number other than that of the last one; to call before the start."""
    number = (device.read_register("FRAME_RUN") + 1) & 0xFFFFFFFF
    device.write_register("FRAME", number)
    return number


def start_program(device: SimulatedDevice) -> None:
    """Start with the interrupt enabled."""
    device.write_register("CONTROL", _mask("CONTROL", "start") | _mask("CONTROL", "irq_enable"))


def finish_program(device: SimulatedDevice, number: int) -> tuple[int, dict[str, int]]:
    """STATUS and all read-only registers of run `number`; acknowledges the interrupt.

    Raises:
        SimulationError: it was another run that ended, or the interrupt stays high.
    """
    status = device.read_register("STATUS")
    counters = {
        entry.name: device.read_register(entry.name)
        for entry in registers.REGISTERS
        if entry.access == "ro" and entry.name != "LAYER_START"
    }
    if (found := counters["FRAME_RUN"]) != number:
        raise SimulationError(f"STATUS 0x{status:08x} is of run {found}, not of run {number}")
    device.write_register("STATUS", _mask("STATUS", "done") | _mask("STATUS", "error"))
    device.step(4)
    if device.interrupt:
        raise SimulationError("the interrupt stays high after STATUS was cleared")
    return status, counters


def _mask(name: str, field: str) -> int:
    return next(f.mask for f in register(name).fields if f.name == field)


def _outcome(status: int) -> tuple[ErrorCode, int]:
    """(error code, detail) of a STATUS value after the interrupt."""
    field = {f.name: (status & f.mask) >> f.lsb for f in register("STATUS").fields}
    code = field["error_code"]
    known = code in ErrorCode.__members__.values()
    if field["done"] == field["error"] or bool(code) != bool(field["error"]) or not known:
        raise SimulationError(f"STATUS 0x{status:08x} makes no sense at the interrupt")
    return ErrorCode(code), field["error_info"]


class _ProgressBar:
    """Context that shows cycles done of cycles expected; gives the function to report them."""

    def __init__(self, total: int) -> None:
        self._progress = Progress(
            TextColumn("simulating"),
            BarColumn(),
            TextColumn("{task.completed:,.0f} of {task.total:,.0f} cycles"),
            TimeElapsedColumn(),
        )
        self._task = self._progress.add_task("", total=total)

    def __enter__(self) -> Callable[[int], None]:
        self._progress.start()
        return lambda done: self._progress.update(self._task, completed=done)

    def __exit__(self, *_: object) -> None:
        self._progress.stop()
