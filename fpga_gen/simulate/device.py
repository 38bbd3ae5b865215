"""A simulated board as a `Device` of the runtime: memory, registers, and a clock to wait on."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fpga_gen.contract.params import EngineParams
from fpga_gen.errors import SimulationError
from fpga_gen.simulate.dram import DEFAULT, DramConfig, PortStats
from fpga_gen.simulate.native import (
    FaultKind,
    NativeConfig,
    NativeFault,
    NativeStats,
    StopReason,
    load_library,
)
from fpga_gen_host import registers

ALIGNMENT = 4096  # bytes; of every buffer
RESET_CYCLES = 16
REGISTER_LIMIT = 1000  # cycles for one register access
WAIT_CYCLES = 500  # of one wait for the interrupt
SLVERR = 2
# In the hierarchical name of the array of a bank, or of a part of its bytes.
BANK_NAME = re.compile(r"bank\D*(\d+)\D*?(?:\.part_(\d+))?\.mem$")

Progress = Callable[[int], None]  # called with the cycles run so far
LayerHook = Callable[[int, "SimulatedDevice"], None]


@dataclass(frozen=True, eq=False)
class SimulatedBuffer:
    """A piece of the simulated DRAM, which has no cache: bus address and a writable uint8 view,
    shape (bytes,)."""

    owner: SimulatedDevice
    device_address: int
    array: np.ndarray

    def flush(self) -> None:
        """Nothing to do."""

    def invalidate(self) -> None:
        """Nothing to do."""

    def free(self) -> None:
        """Only counts: the memory is not given to anybody else."""
        self.owner.live.discard(self)


class SimulatedDevice:
    """The verilated design with its DRAM, out of reset. live: buffers that are not freed.

    Args:
        library: result of `build_simulator`.
        params: of the engine; its number of ports must be that of the library.
        dram: behaviour of the memory.
        trace: VCD file to write; the library must be built with trace=True.
        memory: contents of the DRAM, uint8 (dram.size,), used in place; None: zeros.
        waiting: what a driver's wait for the interrupt does, such as `run_to_interrupt` with hooks;
            None: some cycles, to the interrupt at most.

    Raises:
        SimulationError: library and parameters do not fit.
    """

    def __init__(
        self,
        library: Path,
        params: EngineParams,
        dram: DramConfig = DEFAULT,
        *,
        trace: Path | None = None,
        memory: np.ndarray | None = None,
        waiting: Callable[[SimulatedDevice], object] | None = None,
    ) -> None:
        self._library = load_library(library)
        self.params = params
        self.dram = dram
        self.ports = int(self._library.fg_ports())
        if self.ports != params.ports:
            raise SimulationError(
                f"{library} has {self.ports} read ports, the engine parameters say {params.ports}"
            )
        if memory is not None and (memory.shape != (dram.size,) or memory.dtype != np.uint8):
            raise SimulationError(f"memory {memory.dtype} {memory.shape} is not {dram.size} bytes")
        # Pages of fresh zeros are taken when touched.
        self.memory = np.zeros(dram.size, np.uint8) if memory is None else memory
        self.live: set[SimulatedBuffer] = set()
        self._waiting = waiting or (lambda device: device.run(WAIT_CYCLES))
        self._started = 0
        self._next = 0
        config = NativeConfig.of(dram)
        self._shell = self._library.fg_create(ctypes.byref(config), self.memory.ctypes.data)
        if not self._shell:
            raise SimulationError("out of memory for the simulated design")
        if trace and not self._library.fg_trace(self._shell, str(trace).encode()):
            raise SimulationError(f"cannot trace to {trace}; build the simulator with trace=True")
        self.reset()

    def close(self) -> None:
        """Free the design. Views of its memories must not be used afterwards."""
        if self._shell:
            self._library.fg_destroy(self._shell)
            self._shell = None

    def __enter__(self) -> SimulatedDevice:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        if getattr(self, "_shell", None):
            self.close()

    # --- memory ----------------------------------------------------------------------------
    def allocate(self, nbytes: int) -> SimulatedBuffer:
        """A zeroed buffer, 4096-byte aligned; SimulationError when the DRAM is full."""
        if nbytes <= 0 or self._next + nbytes > self.dram.size:
            raise SimulationError(
                f"cannot allocate {nbytes} bytes: {self.dram.size - self._next} of "
                f"{self.dram.size} bytes of simulated DRAM are free"
            )
        start, self._next = self._next, -(-(self._next + nbytes) // ALIGNMENT) * ALIGNMENT
        buffer = SimulatedBuffer(self, self.dram.base + start, self.memory[start : start + nbytes])
        self.live.add(buffer)
        return buffer

    # --- registers -------------------------------------------------------------------------
    def read(self, offset: int) -> int:
        """32-bit value of the register at a byte offset."""
        value = ctypes.c_uint32()
        code = self._library.fg_read(self._shell, offset, ctypes.byref(value), REGISTER_LIMIT)
        self._check_access("reading", offset, code)
        return value.value

    def write(self, offset: int, value: int) -> None:
        """Write the 32-bit register at a byte offset."""
        if not 0 <= value < 1 << 32:
            raise SimulationError(f"register {_name(offset)}: {value} does not fit 32 bits")
        if offset == registers.CONTROL and value & registers.CONTROL_START_MASK:
            self._started = self.cycle
        code = self._library.fg_write(self._shell, offset, value, REGISTER_LIMIT)
        self._check_access("writing", offset, code)

    def read_register(self, name: str) -> int:
        """`read` by the name in the register table."""
        return self.read(_offset(name))

    def write_register(self, name: str, value: int) -> None:
        """`write` by the name in the register table."""
        self.write(_offset(name), value)

    def write_address(self, name: str, address: int) -> None:
        """Write the pair <name>_LO, <name>_HI."""
        self.write_register(f"{name}_LO", address & 0xFFFFFFFF)
        self.write_register(f"{name}_HI", address >> 32)

    def _check_access(self, verb: str, offset: int, code: int) -> None:
        self.check_protocol()
        name = _name(offset)
        if code < 0:
            raise SimulationError(
                f"{verb} register {name}: no answer within {REGISTER_LIMIT} cycles"
            )
        if code:
            raise SimulationError(f"{verb} register {name}: response {code}")

    # --- time ------------------------------------------------------------------------------
    @property
    def cycle(self) -> int:
        """Clock edges since creation."""
        return int(self._library.fg_cycle(self._shell))

    @property
    def start_cycle(self) -> int:
        """`cycle` when the last start command was given."""
        return self._started

    @property
    def interrupt(self) -> bool:
        return bool(self._library.fg_interrupt(self._shell))

    @property
    def layer(self) -> int | None:
        """debug_layer of the design, None when it has no such pin."""
        return int(self._library.fg_layer(self._shell)) if self.has_layer else None

    @property
    def has_layer(self) -> bool:
        return bool(self._library.fg_has_layer())

    def reset(self) -> None:
        """Hold rst for some cycles; the DRAM keeps its contents."""
        self._library.fg_reset(self._shell, RESET_CYCLES)
        self.check_protocol()

    def step(self, cycles: int = 1) -> None:
        """Run that many cycles whatever happens, short of a protocol error."""
        self.run(cycles, until_interrupt=False)

    def run(
        self, cycles: int, *, until_interrupt: bool = True, until_layer: bool = False
    ) -> StopReason:
        """Run until the interrupt is high, debug_layer changes, or the cycles are used up.

        Raises:
            SimulationError: the design broke an AXI rule.
        """
        if until_layer and not self.has_layer:
            raise SimulationError("the design has no debug_layer output to stop on")
        reason = StopReason(
            self._library.fg_run(self._shell, cycles, int(until_interrupt), int(until_layer))
        )
        self.check_protocol()
        if reason is StopReason.FINISH:
            raise SimulationError(f"the design called $finish at cycle {self.cycle}")
        return reason

    def wait(self, seconds: float) -> None:
        """A piece of simulated time in place of seconds, see `waiting`."""
        self._waiting(self)

    def run_to_interrupt(
        self,
        max_cycles: int,
        progress: Progress | None = None,
        every: int = 20_000,
        on_layer: LayerHook | None = None,
    ) -> int:
        """Run until the interrupt; returns the cycles it took.

        Args:
            max_cycles: give up after so many.
            progress: called after every `every` cycles.
            on_layer: called with debug_layer and the device whenever debug_layer has changed.

        Raises:
            SimulationError: no interrupt in time, or a broken AXI rule.
        """
        start = report = self.cycle
        while (now := self.cycle) < start + max_cycles:
            reason = self.run(
                min(report + every, start + max_cycles) - now, until_layer=on_layer is not None
            )
            if reason is StopReason.LAYER and on_layer is not None and self.layer is not None:
                on_layer(self.layer, self)
            if self.cycle >= report + every or reason is StopReason.INTERRUPT:
                report = self.cycle
                if progress:
                    progress(report - start)
            if reason is StopReason.INTERRUPT:
                return self.cycle - start
        where = f", instruction {self.layer}" if self.has_layer else ""
        status = self.read_register("STATUS")
        raise SimulationError(
            f"no interrupt within {max_cycles} cycles (STATUS 0x{status:08x}{where})"
        )

    def check_protocol(self) -> None:
        """Raise SimulationError if an AXI rule was broken so far; the first one is kept."""
        error = self._library.fg_error(self._shell).decode()
        if error:
            raise SimulationError(f"AXI protocol: {error}")

    # --- faults and figures ----------------------------------------------------------------
    def inject(
        self,
        kind: FaultKind,
        *,
        beat: int,
        port: int = 0,
        write: bool = False,
        response: int = SLVERR,
    ) -> None:
        """Let one thing go wrong (one at a time; FaultKind.NONE takes it back).

        RESPONSE: the beat-th read beat of the port (or the write burst that holds that beat),
        counted from 0 since reset, is answered with `response`. HANG: nothing moves from it on.
        LAST: the beat comes with RLAST where it should not, or without. SURPLUS: behind that many
        read beats, or write beats, one more beat or response comes when none is due.
        """
        fault = NativeFault(int(kind), int(write), port, response, beat)
        self._library.fg_inject(self._shell, ctypes.byref(fault))

    def port_stats(self) -> tuple[PortStats, ...]:
        """Traffic per port; writes are those of port 0."""
        raw = (NativeStats * self.ports)()
        self._library.fg_stats(self._shell, raw)
        return tuple(
            PortStats(**{name: int(getattr(s, name)) for name, *_ in NativeStats._fields_})
            for s in raw
        )

    # --- insight ---------------------------------------------------------------------------
    def memories(self) -> dict[str, np.ndarray]:
        """Live views of the exported memories by hierarchical name, uint8 (rows, row bytes)."""
        found: dict[str, np.ndarray] = {}
        name = ctypes.create_string_buffer(512)
        rows, row_bytes = ctypes.c_uint32(), ctypes.c_uint32()
        while pointer := self._library.fg_memory(
            self._shell, len(found), name, len(name), ctypes.byref(rows), ctypes.byref(row_bytes)
        ):
            shape = (rows.value, row_bytes.value)
            found[name.value.decode()] = np.ctypeslib.as_array(pointer, shape)
        return found

    def banks(self) -> dict[int, list[np.ndarray]]:
        """Live views of the feature-map banks by number: uint8 (rows, bytes) of every part of a
        bank, the lowest bytes of a word first."""
        found: dict[int, dict[int, np.ndarray]] = {}
        for name, array in self.memories().items():
            if match := BANK_NAME.search(name):
                found.setdefault(int(match[1]), {})[int(match[2] or 0)] = array
        return {bank: [parts[n] for n in sorted(parts)] for bank, parts in found.items()}

    def read_banks(self, first_row: int, rows: int) -> np.ndarray:
        """Copy of the feature-map memory: uint8 (banks, rows, bytes of a word).

        Raises:
            SimulationError: the design exports no banks, or the rows do not exist.
        """
        banks = self.banks()
        if not banks or sorted(banks) != list(range(len(banks))):
            raise SimulationError(
                f"no complete set of feature-map banks in the design: {sorted(banks)}"
            )
        depth = min(len(array) for parts in banks.values() for array in parts)
        if not 0 <= first_row <= first_row + rows <= depth:
            raise SimulationError(
                f"rows {first_row} to {first_row + rows} are outside the {depth} rows of a bank"
            )
        chosen = slice(first_row, first_row + rows)
        return np.stack(
            [np.concatenate([part[chosen] for part in banks[b]], 1) for b in range(len(banks))]
        )


def _name(offset: int) -> str:
    """Of the register at an offset, for messages."""
    return next((e.name for e in registers.REGISTERS if e.offset == offset), f"0x{offset:x}")


def _offset(name: str) -> int:
    try:
        return registers.register(name).offset
    except KeyError:
        names = ", ".join(entry.name for entry in registers.REGISTERS)
        raise SimulationError(f"no register {name}; there are {names}") from None
