"""`FrameResult`: what one simulated frame gave."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from fpga_gen.flows.simulate import SimulationFlow, predicted_mask
from fpga_gen.images import png_bytes
from fpga_gen.report import Report, Simulation
from fpga_gen_host.pictures import full_mask, overlay


@dataclass(frozen=True, eq=False)
class FrameResult:
    """One frame through the generated Verilog, equal bit for bit to the integer reference.

    outputs: by name, in the model's shapes, after the operators that run on the host; picture:
    uint8 (h, w, 3), None if an array was given; mask: bool (h, w) at the picture's size, None
    unless the first output is a map of one channel; report: of the build, with this simulation.
    In Jupyter it shows the picture with the mask.
    """

    outputs: dict[str, np.ndarray]
    picture: np.ndarray | None
    mask: np.ndarray | None
    report: Report = field(repr=False)
    _overlay: np.ndarray | None = field(repr=False, default=None)

    @property
    def simulation(self) -> Simulation:
        """Cycles, frames per second, DRAM bytes, counters."""
        assert self.report.simulation is not None
        return self.report.simulation

    @property
    def overlay(self) -> np.ndarray:
        """uint8 (h, w, 3): the picture, its mask tinted and outlined; ValueError without one."""
        if self._overlay is None:
            raise ValueError("no mask: the input was an array, or the first output is no map")
        return self._overlay

    @staticmethod
    def of(flow: SimulationFlow) -> FrameResult:
        """Of a flow that has ended."""
        picture, mask, how = flow.picture, predicted_mask(flow), flow.preprocess.preparation
        if picture is None or mask is None:
            return FrameResult(flow.outputs, picture, None, flow.report)
        size = (picture.shape[0], picture.shape[1])
        return FrameResult(
            flow.outputs,
            picture,
            full_mask(mask, size, how),
            flow.report,
            overlay(picture, mask, how),
        )

    def __repr__(self) -> str:
        sim = self.simulation
        return (
            f"<frame {sim.image}: {sim.cycles:,} cycles, {sim.fps:,.1f} frame/s, "
            f"{sim.tensors_compared} maps bit-exact, simulated>"
        )

    def _repr_png_(self) -> bytes | None:
        return None if self._overlay is None else png_bytes(self._overlay)
