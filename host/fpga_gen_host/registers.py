"""The register table: one source of the CSR block, the driver's constants and the documentation.

The constants are attributes of this module: NAME is the byte offset of a register, NAME_FIELD_MASK
and NAME_FIELD_SHIFT one of its fields (see `constants`).

Registers are 32 bits wide in an AXI4-Lite window of 4 KB. Access is per field:
ro (hardware writes), rw (software writes, reads back), w1c (hardware sets, software clears by
writing 1) and pulse (writing 1 gives one cycle of 1, reads 0).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from fpga_gen_host.regions import BEAT_BYTES

ADDRESS_BITS = 12  # of the register window
ERROR_CODE_BITS = 8
LAYER_BITS = 16  # number of an instruction, and whatever else details an error
BUS_BITS = 40  # of an address that the engine's masters put out
MAGIC = 0x46504741  # "FPGA"
INTERFACE_VERSION = 3
WINDOWS = 2  # address windows that may be read; one more may be written
MAX_PORTS = 4
LAYER_LOG_DEPTH = 1024
WORDS_BITS = 24  # of a length in stream words
# What software allows a run: RUN_LIMIT = RUN_FACTOR * predicted cycles + RUN_SLACK.
RUN_FACTOR = 10
RUN_SLACK = 1_000_000
ACCESS = ("ro", "rw", "w1c", "pulse")


class ErrorCode(IntEnum):
    """STATUS.error_code."""

    NONE = 0
    BAD_INSTRUCTION = 1
    READ_RESPONSE = 2
    WRITE_RESPONSE = 3
    ADDRESS_WINDOW = 4
    WATCHDOG = 5
    WEIGHT_UNDERRUN = 6
    PROGRAM_OVERFLOW = 7
    RUN_LIMIT = 8
    AXI_PROTOCOL = 9


ERROR_DOCS = {
    ErrorCode.NONE: "no error",
    ErrorCode.BAD_INSTRUCTION: "unknown opcode, impossible field, or a program of 0 words",
    ErrorCode.READ_RESPONSE: "an AXI read was answered with an error; info: port, RRESP << 4",
    ErrorCode.WRITE_RESPONSE: "an AXI write was answered with an error; info: BRESP << 4",
    ErrorCode.ADDRESS_WINDOW: "a transfer outside the windows of its direction; "
    "info: read port, 15: write port",
    ErrorCode.WATCHDOG: "no progress for WATCHDOG cycles",
    ErrorCode.WEIGHT_UNDERRUN: "an instruction asked for weights that no FETCH delivers",
    ErrorCode.PROGRAM_OVERFLOW: "the program does not fit the program memory",
    ErrorCode.RUN_LIMIT: "the run took RUN_LIMIT cycles",
    ErrorCode.AXI_PROTOCOL: "RLAST at a wrong beat, or an answer nobody asked for; "
    "info: read port, 15: write port",
}
WRITE_PORT_INFO = 15  # error_info of the write port where it names a port


@dataclass(frozen=True)
class RegisterField:
    """Bits [lsb, lsb + bits) of a register."""

    name: str
    bits: int
    lsb: int
    access: str
    doc: str
    reset: int = 0

    @property
    def mask(self) -> int:
        return ((1 << self.bits) - 1) << self.lsb


@dataclass(frozen=True)
class Register:
    """One 32-bit register at a byte offset."""

    name: str
    offset: int
    doc: str
    fields: tuple[RegisterField, ...]

    def port(self, field: RegisterField) -> str:
        """Name of the field's port on the CSR block."""
        name = self.name.lower()
        return name if field.name == "value" else f"{name}_{field.name}"

    @property
    def access(self) -> str:
        return "/".join(a for a in ACCESS if any(f.access == a for f in self.fields))


def _value(
    name: str, offset: int, access: str, doc: str, bits: int = 32, lsb: int = 0, reset: int = 0
) -> Register:
    return Register(name, offset, doc, (RegisterField("value", bits, lsb, access, doc, reset),))


def _address(name: str, offset: int, doc: str) -> tuple[Register, Register]:
    low = BEAT_BYTES.bit_length() - 1
    return (
        _value(
            f"{name}_LO", offset, "rw",
            f"{doc}, bits 31..{low} ({BEAT_BYTES}-byte aligned)", 32 - low, low,
        ),
        _value(f"{name}_HI", offset + 4, "rw", f"{doc}, bits {BUS_BITS - 1}..32", BUS_BITS - 32),
    )  # fmt: skip


REGISTERS: tuple[Register, ...] = (
    _value("ID", 0x00, "ro", "magic number, 'FPGA'"),
    _value("VERSION", 0x04, "ro", "version of this register interface"),
    _value("HASH_LO", 0x08, "ro", "bits 31..0 of the design hash, see identity.py"),
    _value("HASH_HI", 0x0C, "ro", "bits 63..32 of the design hash"),
    Register(
        "CONTROL",
        0x10,
        "start, reset and interrupt enable",
        (
            RegisterField(
                "start", 1, 0, "pulse", "run the program; ignored while busy or draining"
            ),
            RegisterField(
                "soft_reset", 1, 1, "pulse", "abort: drain the DMA, clear done and error"
            ),
            RegisterField(
                "irq_enable", 1, 2, "rw", "raise the interrupt while done or error is set"
            ),
        ),
    ),
    Register(
        "STATUS",
        0x14,
        "state of the run and its first error",
        (
            RegisterField("busy", 1, 0, "ro", "a program runs"),
            RegisterField("done", 1, 1, "w1c", "the program ended and all results are written"),
            RegisterField("error", 1, 2, "w1c", "the program was aborted, see error_code"),
            RegisterField("draining", 1, 3, "ro", "outstanding AXI transfers are being completed"),
            RegisterField(
                "error_code", ERROR_CODE_BITS, 8, "ro", "first error since the last start or reset"
            ),
            RegisterField("error_info", LAYER_BITS, 16, "ro", "detail of that error"),
        ),
    ),
    _value("WATCHDOG", 0x18, "rw", "cycles without progress before error WATCHDOG, 0 = off"),
    _value("PROGRAM_WORDS", 0x1C, "rw", "length of the program in stream words", WORDS_BITS),
    *_address("PROGRAM", 0x20, "base address of the program"),
    *_address("WEIGHTS", 0x28, "base address of the weight stream"),
    *_address("INPUT", 0x30, "base address of the input region"),
    *_address("OUTPUT", 0x38, "base address of the output region"),
    *_address("READ_WINDOW0_BASE", 0x40, "first byte that may be read"),
    *_address("READ_WINDOW0_LIMIT", 0x48, "first byte after it; equal to its base: closed"),
    *_address("READ_WINDOW1_BASE", 0x50, "first byte of the second window that may be read"),
    *_address("READ_WINDOW1_LIMIT", 0x58, "first byte after it; equal to its base: closed"),
    _value("CYCLES", 0x60, "ro", "clock cycles of the run"),
    _value("BUSY", 0x64, "ro", "cycles in which the array multiplies"),
    _value("STALL_WEIGHTS", 0x68, "ro", "cycles the array waits for weights"),
    _value("STALL_DRAIN", 0x6C, "ro", "cycles the array waits for the exit path"),
    _value("STALL_INPUT", 0x70, "ro", "cycles waiting for the input stream"),
    _value("WRITE_BEATS", 0x74, "ro", f"{BEAT_BYTES}-byte beats written"),
    _value("CONFIG", 0x78, "ro", "number of AXI read ports", 8),
    *(
        _value(f"READ_BEATS_{k}", 0x80 + 4 * k, "ro", f"{BEAT_BYTES}-byte beats read by port {k}")
        for k in range(MAX_PORTS)
    ),
    _value("LAYER_INDEX", 0x90, "ro", "instructions started in this run", LAYER_BITS),
    _value("LAYER_SELECT", 0x94, "rw", "log entry that LAYER_START shows", 10),
    _value("LAYER_START", 0x98, "ro", "CYCLES when the selected instruction started"),
    *_address("WRITE_WINDOW_BASE", 0xA0, "first byte that may be written"),
    *_address("WRITE_WINDOW_LIMIT", 0xA8, "first byte after it; equal to its base: closed"),
    _value("FRAME", 0xB0, "rw", "number that software gives to the next run"),
    _value("FRAME_RUN", 0xB4, "ro", "FRAME of the last run that started: STATUS is about that run"),
    _value("RUN_LIMIT", 0xB8, "rw", "cycles of a whole run before error RUN_LIMIT, 0 = off"),
)
# Counters hold their value after a run, saturate at 2^32 - 1 and are cleared by the next start.


def register(name: str) -> Register:
    """The register of that name; KeyError if there is none."""
    for entry in REGISTERS:
        if entry.name == name:
            return entry
    raise KeyError(name)


def describe() -> dict:
    """All that software and CSR block must agree on, JSON-able; texts do not count."""
    return {
        "address_bits": ADDRESS_BITS,
        "magic": MAGIC,
        "interface_version": INTERFACE_VERSION,
        "windows": WINDOWS,
        "max_ports": MAX_PORTS,
        "layer_log_depth": LAYER_LOG_DEPTH,
        "write_port_info": WRITE_PORT_INFO,
        "registers": [
            [
                r.name,
                r.offset,
                [[f.name, f.lsb, f.bits, f.access, f.reset] for f in r.fields],
            ]
            for r in REGISTERS
        ],
        "error_codes": {code.name: int(code) for code in ErrorCode},
    }


def constants() -> dict[str, int]:
    """Offsets (NAME), field masks and shifts (NAME_FIELD_MASK, _SHIFT), ERROR_*, MAGIC."""
    out = {
        "MAGIC": MAGIC,
        "INTERFACE_VERSION": INTERFACE_VERSION,
        "LAYER_LOG_DEPTH": LAYER_LOG_DEPTH,
        "RUN_FACTOR": RUN_FACTOR,
        "RUN_SLACK": RUN_SLACK,
    }
    for entry in REGISTERS:
        out[entry.name] = entry.offset
        for field in entry.fields:
            if field.name != "value":
                stem = f"{entry.name}_{field.name.upper()}"
                out[f"{stem}_MASK"] = field.mask
                out[f"{stem}_SHIFT"] = field.lsb
    out.update({f"ERROR_{code.name}": int(code) for code in ErrorCode})
    return out


_CONSTANTS = constants()


def __getattr__(name: str) -> int:
    """Constants of the table as attributes of this module."""
    try:
        return _CONSTANTS[name]
    except KeyError:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None


def markdown() -> str:
    """The register map as Markdown tables."""
    lines = [
        "| offset | register | field | bits | access | reset | meaning |",
        "|---|---|---|---|---|---|---|",
    ]
    for entry in REGISTERS:
        for field in entry.fields:
            bits = f"{field.lsb + field.bits - 1}..{field.lsb}" if field.bits > 1 else field.lsb
            lines.append(
                f"| 0x{entry.offset:02X} | {entry.name} | {field.name} | {bits} | "
                f"{field.access} | {field.reset} | {field.doc} |"
            )
    lines += ["", "| error_code | name | meaning |", "|---|---|---|"]
    lines += [f"| {int(code)} | {code.name} | {ERROR_DOCS[code]} |" for code in ErrorCode]
    return "\n".join([*lines, ""])
