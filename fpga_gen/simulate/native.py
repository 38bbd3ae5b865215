"""The C interface of the compiled simulator (shell.cpp), typed for ctypes."""

from __future__ import annotations

import ctypes
from ctypes import POINTER, c_char_p, c_int, c_uint8, c_uint32, c_uint64, c_void_p
from enum import IntEnum
from pathlib import Path

from fpga_gen.errors import SimulationError
from fpga_gen.simulate.dram import DramConfig


class StopReason(IntEnum):
    """Why a run ended; values of shell.cpp."""

    LIMIT = 0
    INTERRUPT = 1
    LAYER = 2
    PROTOCOL = 3
    FINISH = 4


class FaultKind(IntEnum):
    """What goes wrong at the chosen beat."""

    NONE = 0
    RESPONSE = 1
    HANG = 2
    LAST = 3
    SURPLUS = 4


class NativeConfig(ctypes.Structure):
    """struct DramConfig."""

    _fields_ = [
        *((name, c_uint64) for name in ("base", "size", "seed")),
        *(
            (name, c_uint32)
            for name in (
                "bytes_per_cycle", "rate_q10", "bucket_bytes", "burst_overhead",
                "refresh_interval", "refresh_length", "read_latency", "write_latency",
                "outstanding", "max_burst_beats", "jitter_q10", "jitter_latency",
            )
        ),
    ]  # fmt: skip

    @classmethod
    def of(cls, dram: DramConfig) -> NativeConfig:
        derived = {"rate_q10": dram.rate_q10, "jitter_q10": round(dram.jitter * 1024)}
        return cls(**{n: derived.get(n, getattr(dram, n, None)) for n, *_ in cls._fields_})


class NativeStats(ctypes.Structure):
    """struct PortStats."""

    _fields_ = [
        (name, c_uint64)
        for name in (
            "read_beats", "write_beats", "read_bursts", "write_bursts", "min_read_latency",
            "max_read_latency", "lowest_address", "end_address", "error_responses",
        )
    ]  # fmt: skip


class NativeFault(ctypes.Structure):
    """struct Fault."""

    _fields_ = [
        ("kind", c_uint32), ("write", c_uint32), ("port", c_uint32), ("response", c_uint32),
        ("beat", c_uint64),
    ]  # fmt: skip


_FUNCTIONS = {
    "fg_ports": (c_uint32, []),
    "fg_has_layer": (c_uint32, []),
    "fg_config_bytes": (c_uint32, []),
    "fg_create": (c_void_p, [POINTER(NativeConfig), c_void_p]),
    "fg_destroy": (None, [c_void_p]),
    "fg_reset": (None, [c_void_p, c_int]),
    "fg_run": (c_int, [c_void_p, c_uint64, c_int, c_int]),
    "fg_cycle": (c_uint64, [c_void_p]),
    "fg_interrupt": (c_int, [c_void_p]),
    "fg_layer": (c_int, [c_void_p]),
    "fg_error": (c_char_p, [c_void_p]),
    "fg_write": (c_int, [c_void_p, c_uint32, c_uint32, c_uint32]),
    "fg_read": (c_int, [c_void_p, c_uint32, POINTER(c_uint32), c_uint32]),
    "fg_inject": (None, [c_void_p, POINTER(NativeFault)]),
    "fg_stats": (None, [c_void_p, POINTER(NativeStats)]),
    "fg_trace": (c_int, [c_void_p, c_char_p]),
    "fg_memory": (
        POINTER(c_uint8),
        [c_void_p, c_uint32, c_char_p, c_uint32, POINTER(c_uint32), POINTER(c_uint32)],
    ),
}


def load_library(path: Path) -> ctypes.CDLL:
    """The library with typed functions.

    Raises:
        SimulationError: the file is no simulator library, or of another version.
    """
    try:
        library = ctypes.CDLL(str(Path(path).resolve()))
        for name, (result, arguments) in _FUNCTIONS.items():
            function = getattr(library, name)
            function.restype, function.argtypes = result, arguments
    except (OSError, AttributeError) as error:
        raise SimulationError(
            f"{path} is not a simulator library ({error}); build it with build_simulator"
        ) from error
    if library.fg_config_bytes() != ctypes.sizeof(NativeConfig):
        raise SimulationError(f"{path} was built by another version; build it again")
    return library
