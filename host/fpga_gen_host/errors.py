"""What can go wrong on the host, as one tree."""

from __future__ import annotations

import os

from fpga_gen_host.registers import ERROR_DOCS


class HostError(Exception):
    """Base of all errors of this package."""


class DeployError(HostError):
    """The deploy folder is incomplete, changed, or of another version."""


class DesignMismatch(HostError):
    """The bitstream in the device is not the one that the program was compiled for."""


class InputError(HostError):
    """A picture or an array does not fit the network."""


class DeviceError(HostError):
    """Board, driver or memory is not available."""


class AcceleratorError(HostError):
    """The accelerator stopped a frame; it has been reset and may be used again.

    code: STATUS.error_code; info: STATUS.error_info.
    """

    def __init__(self, code: int, info: int) -> None:
        known = {int(c): (c.name, text) for c, text in ERROR_DOCS.items()}
        name, meaning = known.get(code, (f"error {code}", "unknown to this version"))
        super().__init__(f"the accelerator stopped with {name} (info {info}): {meaning}")
        self.code, self.info, self.name = code, info, name


class AcceleratorTimeout(HostError):
    """No result in time; the accelerator has been reset and may be used again."""


class WrongFrame(HostError):
    """The accelerator ended another frame than the one it was given: two programs use it. It has
    been reset and may be used again."""


class AcceleratorStuck(HostError):
    """A soft reset did not make the accelerator idle: the bitstream must be loaded again."""


def check_process(opened_in: int) -> None:
    """HostError unless this is the process `opened_in` (an id) that opened the accelerator.

    A child made by fork inherits locks that nobody opens any more, and shares the hardware.
    """
    if os.getpid() != opened_in:
        raise HostError(
            f"the accelerator was opened by process {opened_in}, of which this one, {os.getpid()}, "
            "is a fork: open and use it in one process, after the fork"
        )
