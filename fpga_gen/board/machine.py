"""What a PYNQ client finds on the virtual board: files, FPGA manager, registers, memory.

No gRPC here: services.py carries requests to these methods, every error is an FpgaGenError.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fpga_gen.board.interrupts import InterruptController
from fpga_gen.board.memory import BoardMemory
from fpga_gen.board.simulator import FrameRecord, SimulatorThread
from fpga_gen.contract.params import EngineParams
from fpga_gen.deploy import processor as ps
from fpga_gen.deploy.bitfile import carried_hash
from fpga_gen.errors import BoardError
from fpga_gen.simulate.dram import DramConfig
from fpga_gen_host import identity

FIRMWARE = "/lib/firmware/"
MANAGER = "/sys/class/fpga_manager/fpga0/"
MAX_SETTING = 256  # bytes written to a file of the FPGA manager
WORD = 4
# Processor registers that PYNQ reads or sets when it loads an overlay (UG1087): windows of plain
# storage. Two hold the state of PLLs from which PYNQ computes its divisors.
PS_WINDOWS = {
    0xFD1A0000: 0x100,  # CRF_APB: clocks of the full-power domain
    0xFF5E0000: 0x100,  # CRL_APB: clocks of the low-power domain, PL clocks
    0xFD615000: 0x4,  # FPD_SLCR.AFI_FS: width of M_AXI_HPM0 and HPM1
    0xFF419000: 0x4,  # LPD_SLCR.AFI_FS: width of M_AXI_HPM0_LPD
    **{0xFD360000 + 0x10000 * k: 0x18 for k in range(6)},  # AFIFM0..5: width of the slave ports
    0xFF9B0000: 0x18,  # AFIFM6
}
LOGIC_WINDOWS = {
    ps.CONTROL_BASE: identity.CONTROL_BYTES,
    ps.INTERRUPT_BASE: identity.INTERRUPT_BYTES,
}
PLL = ps.IOPLL_MULTIPLIER << 8 | ps.IOPLL_HALVES << 16
PS_RESET = {0xFF5E0020: PLL, 0xFF5E0030: PLL, 0xFD1A0020: PLL, 0xFD1A002C: PLL, 0xFD1A0038: PLL}


@dataclass(frozen=True)
class Region:
    """A mapped range of bus addresses."""

    base: int
    length: int


class Machine:
    """One virtual board.

    Args:
        name: what the board calls itself.
        bitstream: the configuration data, as PYNQ hands it to the FPGA manager, of the one design
            that this board can be; design_hash: of that design.
        library, params, dram: the simulated design and its memory.
        on_frame: see `SimulatorThread`.
    """

    def __init__(
        self,
        name: str,
        bitstream: bytes,
        design_hash: int,
        library: Path,
        params: EngineParams,
        dram: DramConfig,
        on_frame: Callable[[FrameRecord], None] | None = None,
    ) -> None:
        self._bitstream, self._design_hash = bitstream, design_hash
        self.simulator = SimulatorThread(library, params, dram, on_frame)
        self.memory = BoardMemory(dram.base, self.simulator.memory)
        self._interrupts = InterruptController(self.simulator.interrupt)
        self._lock = threading.Lock()  # of the fields below
        self._ps = dict(PS_RESET)
        self._firmware: tuple[str, bytes] | None = None
        self._flags, self._state = b"0\n", b"unknown\n"
        self._facts = {
            "/proc/version": b"Linux version 0 (fpga-gen virtual board) aarch64\n",
            "/proc/device-tree/chosen/pynq_board": name.encode(),
        }

    @property
    def loaded(self) -> bool:
        """Whether a client has loaded the bitstream."""
        return self._state == b"operating\n"

    def close(self) -> None:
        self.simulator.close()

    # --- files -----------------------------------------------------------------------------
    def file(self, path: str) -> bytes | None:
        """Contents of a file, None if there is none."""
        with self._lock:
            if self._firmware and path == FIRMWARE + self._firmware[0]:
                return self._firmware[1]
            manager = {MANAGER + "state": self._state, MANAGER + "flags": self._flags}
            return manager.get(path) or self._facts.get(path)

    def room(self, path: str) -> int:
        """Most bytes that may be written to a file; BoardError if it cannot be written."""
        if path.startswith(FIRMWARE) and "/" not in path[len(FIRMWARE) :] and path != FIRMWARE:
            return len(self._bitstream)
        if path in (MANAGER + "flags", MANAGER + "firmware"):
            return MAX_SETTING
        raise BoardError(f"{path[:80]!r} cannot be written on the virtual board")

    def write_file(self, path: str, data: bytes, client: str) -> None:
        """Replaces a file; a name written to the FPGA manager loads that bitstream."""
        if len(data) > self.room(path):
            raise BoardError(
                f"{path[:80]!r}: {len(data)} bytes; the bitstream of this virtual board has "
                f"{len(self._bitstream)}: load the one in its build directory"
            )
        if path == MANAGER + "firmware":
            self._load(data.decode("utf-8", "replace").strip(), client)
            return
        with self._lock:
            if path == MANAGER + "flags":
                self._flags = data + b"\n"
            else:
                self._firmware = (path[len(FIRMWARE) :], data)

    def forget_firmware(self) -> None:
        """Lets the client send its bitstream even if one of that name is here."""
        with self._lock:
            self._firmware = None

    def _load(self, name: str, client: str) -> None:
        with self._lock:
            firmware = self._firmware
            if self._flags.strip() != b"0":
                raise BoardError("the virtual board loads whole bitstreams only")
            if firmware is None or firmware[0] != name:
                raise BoardError(f"no firmware {name[:80]!r}: write it first")
            if firmware[1] != self._bitstream:
                self._state = b"write error\n"
                found = carried_hash(firmware[1])
                carries = "no design hash" if found is None else f"design hash {found:016x}"
                raise BoardError(
                    f"this bitstream is of another build than the virtual board: it carries "
                    f"{carries}, the board {self._design_hash:016x}: load the one in the board's "
                    "build directory, or start the board on that of the bitstream"
                )
            self._state = b"operating\n"
        self.memory.free_others(client)
        self.simulator.reload()
        self._interrupts.reset()

    # --- registers -------------------------------------------------------------------------
    def region(self, base: int, length: int) -> Region:
        """Maps addresses; BoardError unless all of them are registers of this board."""
        windows = {**LOGIC_WINDOWS, **PS_WINDOWS}
        inside = any(w <= base and base + length <= w + n for w, n in windows.items())
        if length <= 0 or base % WORD or not inside:
            raise BoardError(f"no registers at 0x{base:x}, length {length}")
        return Region(base, length)

    def read(self, region: Region, offset: int, length: int) -> int:
        """Little-endian value of 1, 2 or 4 bytes at a word of a region."""
        if length not in (1, 2, WORD):
            raise BoardError(f"a register read of {length} bytes; 1, 2 and 4 are possible")
        value = self._word(self._address(region, offset, WORD))
        return value & ((1 << 8 * length) - 1)

    def write(self, region: Region, offset: int, data: bytes) -> None:
        """Writes whole words."""
        if not data or len(data) % WORD:
            raise BoardError(f"a register write of {len(data)} bytes; whole words are possible")
        address = self._address(region, offset, len(data))
        for at in range(0, len(data), WORD):
            self._set_word(address + at, int.from_bytes(data[at : at + WORD], "little"))

    @staticmethod
    def _address(region: Region, offset: int, length: int) -> int:
        if offset % WORD or offset + length > region.length:
            raise BoardError(f"offset 0x{offset:x} is not in the {region.length} bytes mapped")
        return region.base + offset

    def _logic(self, address: int) -> tuple[SimulatorThread | InterruptController, int] | None:
        """Block of the programmable logic and offset in it; None: a register of the processor."""
        blocks = {ps.CONTROL_BASE: self.simulator, ps.INTERRUPT_BASE: self._interrupts}
        for base, size in LOGIC_WINDOWS.items():
            if base <= address < base + size:
                if not self.loaded:
                    raise BoardError("no bitstream is loaded: these registers do not exist yet")
                return blocks[base], address - base
        return None

    def _word(self, address: int) -> int:
        if found := self._logic(address):
            block, offset = found
            return block.read(offset)
        with self._lock:
            return self._ps.get(address, 0)

    def _set_word(self, address: int, value: int) -> None:
        if found := self._logic(address):
            block, offset = found
            block.write(offset, value)
            return
        with self._lock:
            self._ps[address] = value
