"""`Session`: a build directory behind the interface of `onnxruntime.InferenceSession`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal

import numpy as np

from fpga_gen.errors import FpgaGenError
from fpga_gen.generated import compile_verilog
from fpga_gen.identity import open_build
from fpga_gen.images import is_pixels
from fpga_gen.quant.interpreter import quantise_input, run_integer
from fpga_gen.simulate.board_dram import board_dram
from fpga_gen.simulate.device import SimulatedDevice
from fpga_gen_host import Accelerator, Deployment, InferenceSession, load_deployment
from fpga_gen_host.accelerator import SLOTS
from fpga_gen_host.model_input import as_image
from fpga_gen_host.pictures import model_input
from fpga_gen_host.session import Runner

Device = Literal["reference", "rtl", "board"]
DEVICES = ("reference", "rtl", "board")
REMOTE = "PYNQ_REMOTE_DEVICES"  # where pynq looks for boards elsewhere, when it is imported
ROOM = 1 << 20  # bytes of the simulated DRAM beside the regions: they lie at multiples of a page
SIMULATED_TIMEOUT = 60.0  # seconds of the accelerator's clock


class Session(InferenceSession):
    """A built network with the interface of `onnxruntime.InferenceSession`.

    Args:
        folder: a build directory.
        device: what computes. reference: the integer reference, bit for bit what the accelerator
            computes; rtl: the generated Verilog in Verilator behind the board's driver; board: the
            bitstream through PYNQ.
        address: of a board elsewhere, or of the virtual one that `fpga-gen board` serves; None:
            this machine, or what PYNQ_REMOTE_DEVICES says.
        options: of `fpga_gen_host.Accelerator`, for rtl and board.

    Inputs are the model's own: float32 in its own shape, normalised as it was trained.

    Raises:
        FpgaGenError, HostError: the directory is no build, or the device cannot be had.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        device: Device = "reference",
        address: str | None = None,
        **options: Any,
    ) -> None:
        path = Path(folder)
        runner = open_runner(path, device, address, **options)
        super().__init__(path, runner=runner, provider=f"fpga-gen {device}")


def open_runner(folder: Path, device: Device, address: str | None = None, **options: Any) -> Runner:
    """What computes the frames of a build directory; arguments as of `Session`."""
    if device not in DEVICES:
        raise FpgaGenError(f"unknown device {device!r}; known: {', '.join(DEVICES)}")
    if address is not None and device != "board":
        raise FpgaGenError(f"an address is of a board, the device is {device!r}")
    if device == "reference":
        if options:
            raise FpgaGenError(f"the reference takes no option {next(iter(options))!r}")
        return ReferenceRunner(folder)
    if device == "rtl":
        return rtl_accelerator(folder, **options)
    return board_accelerator(folder, address, **options)


class ReferenceRunner:
    """The integer reference in an accelerator's place."""

    def __init__(self, folder: Path) -> None:
        self._network = open_build(folder).network
        self.deployment: Deployment = load_deployment(folder)

    def run(self, array: np.ndarray) -> dict[str, np.ndarray]:
        """Outputs by name of the model's input in its own shape, or of a uint8 (h, w, 3)."""
        graph = self._network
        if is_pixels(array):
            how = self.deployment.preparation
            array = model_input(array, graph.host_input.model_shape, how)
        image = as_image(graph.host_input, np.asarray(array))
        array = array if image is None else image  # refused below
        values = run_integer(graph, quantise_input(graph, np.asarray(array, np.float32)))
        return self.deployment.finish({name: values[name] for name in graph.outputs})

    def close(self) -> None:
        """Nothing is held."""


def rtl_accelerator(folder: Path, **options: Any) -> Accelerator:
    """The generated Verilog, simulated, behind the board's driver. The first time it is compiled,
    which takes minutes."""
    build = open_build(folder)
    size = len(build.program) + len(build.weights) + ROOM
    size += SLOTS * (build.layout.input.bytes + build.layout.output.bytes)
    dram = board_dram(build.clock_mhz, -(-size // ROOM) * ROOM, rate=build.memory_rate)
    device = SimulatedDevice(compile_verilog(build), build.params, dram)
    return Accelerator(folder, device=device, **{"timeout_s": SIMULATED_TIMEOUT, **options})


def board_accelerator(folder: Path, address: str | None, **options: Any) -> Accelerator:
    """A board, or a virtual one, through PYNQ."""
    if address is not None:
        import sys

        if "pynq" in sys.modules and os.environ.get(REMOTE) != address:
            raise FpgaGenError(
                f"pynq was imported before the address {address} was known: set {REMOTE} first"
            )
        os.environ[REMOTE] = address
    return Accelerator(folder, **options)
