"""`prune`: a copy of a model with zeros that an engine can leave out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Unpack

from fpga_gen.api.options import BuildOptions, Model, make_config
from fpga_gen.errors import FpgaGenError
from fpga_gen.steps import Progress


@dataclass(frozen=True)
class Pruned:
    """A pruned model. path: the ONNX file; board, array, modes, clock_mhz, double_clock,
    exit_pixels: the engine that its zeros are made for; cycles_before, cycles: of a frame,
    estimated; slots, zero_slots: weight slots of the layers that might lose some, and those that
    are zero now; noise_db: signal to noise at the outputs that was foreseen before the weights were
    fitted, None where nothing had to go; seconds: by step."""

    path: Path
    board: str
    array: tuple[int, ...]
    modes: tuple[int, ...]
    clock_mhz: float
    double_clock: bool
    exit_pixels: int
    cycles_before: int
    cycles: int
    slots: int
    zero_slots: int
    noise_db: float | None
    seconds: dict[str, float]

    @property
    def fps(self) -> float:
        """Frames per second."""
        return self.clock_mhz * 1e6 / self.cycles

    def __repr__(self) -> str:
        return (
            f"<{self.path}: {self.fps:,.1f} frame/s on {self.board}, {self.cycles:,} instead of "
            f"{self.cycles_before:,} cycles, estimated>"
        )


def prune(
    model: Model,
    *,
    board: str,
    output: str | Path,
    cycles: int | None = None,
    fps: float | None = None,
    share: float | None = None,
    progress: Progress | None = None,
    **options: Unpack[BuildOptions],
) -> Pruned:
    """Writes a copy of an ONNX model whose frames take less on an engine, without training: weights
    become zero in the slots that the engine can leave out, and the others make up for them.

    Args:
        model: the ONNX file, with float weights.
        board: its name, see `fpga-gen boards`.
        output: ONNX file to write.
        cycles, fps, share: what a frame may take at most, in cycles, by frames per second or as a
            share of what it takes now; one of them.
        options: see `fpga_gen.api.options.BuildOptions`. `calibration` is needed: pictures like
            those to come, without labels; the more, up to 32, the better.

    Raises:
        FpgaGenError: the model cannot be compiled, has no float weights, or the goal cannot be met;
            nothing is written.
    """
    config = make_config(model, board, **options)
    if config.calibration is None:
        raise FpgaGenError(
            "pruning needs pictures like those to come: give a folder of them as calibration"
        )
    from fpga_gen.pruning.flow import FrameGoal, prune_model

    flow = prune_model(config, FrameGoal(cycles, fps, share), Path(output), progress)
    total, gone = flow.slots
    return Pruned(
        flow.output,
        flow.board.name,
        flow.params.figures,
        flow.params.modes,
        flow.clock_mhz,
        config.double_clock,
        flow.params.exit_pixels,
        flow.cycles[0],
        flow.cycles[-1],
        total,
        gone,
        flow.noise_db,
        flow.times,
    )
