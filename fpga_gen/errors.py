"""The one error tree. Every class maps to exit code 1: the input or a tool is at fault."""

from __future__ import annotations

from pathlib import Path

from fpga_gen_host.errors import DeviceError


class FpgaGenError(Exception):
    """Base of all errors shown to the user as one clear message without a traceback."""


class UnsupportedModel(FpgaGenError):
    """The ONNX model cannot be imported; the message lists every offending node."""


class WorkerError(FpgaGenError):
    """A process of our own stands still; a second try has every chance."""


class QuantError(FpgaGenError):
    """Quantisation is impossible (for example an accumulator would overflow)."""


class ScheduleError(FpgaGenError):
    """The network does not fit the engine or the board."""


class BoardError(FpgaGenError):
    """Unknown or malformed board description."""


class BuildDirError(FpgaGenError):
    """A build directory is missing, from another version, or corrupted."""


class SimulationError(FpgaGenError, DeviceError):
    """The simulated design broke a bus rule, did not finish, or reported an error."""


class ToolError(FpgaGenError):
    """An external tool failed.

    Args:
        tool: name of the program.
        message: the first line that tells what went wrong.
        log: path of the full log, if there is one.
    """

    def __init__(self, tool: str, message: str, log: Path | None = None) -> None:
        self.tool = tool
        self.log = log
        where = f" (log: {log})" if log else ""
        super().__init__(f"{tool}: {message}{where}")
