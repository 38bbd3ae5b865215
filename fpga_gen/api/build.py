"""`build` and `Build`: a build directory and all that can be done with it.

What a method needs is imported when it is called: a wrong path is told in the first second.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np

from fpga_gen.api.options import BuildOptions, Model, make_config
from fpga_gen.boards import Board, load_board
from fpga_gen.builddir.artifacts import check_build
from fpga_gen.errors import BuildDirError, FpgaGenError
from fpga_gen.steps import Progress

if TYPE_CHECKING:
    from fpga_gen.api.frame import FrameResult
    from fpga_gen.api.session import Device, Session
    from fpga_gen.board.simulator import FrameRecord
    from fpga_gen.evaluate.result import Evaluation
    from fpga_gen.flows.board import BoardFlow
    from fpga_gen.report import Estimate, Implementation, Report
    from fpga_gen.report.compare import BuildComparison
    from fpga_gen.sizing.search import Candidate
    from fpga_gen.synth.design import MappedDesign
    from fpga_gen_host.live import LiveRunner

DEFAULT_FOLDER = Path("build")


@dataclass(frozen=True)
class Bitstream:
    """bit, hwh: paths of the bitstream and of its hardware hand-off; cached: an equal run had been
    made before; implementation: what Vivado reports."""

    bit: Path
    hwh: Path
    cached: bool
    implementation: Implementation


class Build:
    """A build directory: `fpga_gen.Build("out")` opens one that is there. Every file is checked
    before it is used.

    directory: its place; seconds: by step, kept: names in it that are not of the build, engines:
    those that were compared, best first; all three are empty unless `fpga_gen.build` just made it.

    Raises:
        FpgaGenError: the directory is no build of this version, or a file of it was changed; the
            methods raise it too.
    """

    def __init__(self, directory: str | Path) -> None:
        self.directory = Path(directory)
        self.seconds: dict[str, float] = {}
        self.kept: tuple[str, ...] = ()
        self.engines: tuple[Candidate, ...] = ()
        self._report: Report | None = None
        check_build(self.directory)

    # --- figures ---------------------------------------------------------------------------
    @property
    def report(self) -> Report:
        """All figures of the build, as far as this object's methods have added to them."""
        from fpga_gen.identity import open_build
        from fpga_gen.report.render import read_report

        if self._report is None:
            self._report = read_report(open_build(self.directory))
        return self._report

    @property
    def board(self) -> Board:
        """The board that the build is for."""
        return load_board(self.report.board.name)

    @property
    def estimate(self) -> Estimate:
        """Cycles, frames per second and DRAM bytes of a frame, by the cycle model."""
        return self.report.estimate

    # --- what can be done ------------------------------------------------------------------
    def simulate(
        self,
        image: str | Path | np.ndarray,
        *,
        trace: bool = False,
        overlay: str | Path | None = None,
        progress: Progress | None = None,
    ) -> FrameResult:
        """One frame through the generated Verilog, compared with the integer reference.

        Args:
            image: a picture's path or its uint8 RGB pixels (h, w, 3); or the model's input as
                real numbers (C, H, W), or the path of such a .npy file.
            trace: compare every intermediate map as well.
            overlay: PNG file to write, the picture with the predicted mask.

        Raises:
            SimulationError: a bit differs; the message names the first.
        """
        source = image if isinstance(image, np.ndarray) else _existing(image)
        from fpga_gen.api.frame import FrameResult
        from fpga_gen.flows.simulate import simulate_build

        target = None if overlay is None else Path(overlay)
        flow = simulate_build(self.directory, source, trace, target, progress)
        self._report = flow.report
        return FrameResult.of(flow)

    def evaluate(
        self,
        images: str | Path,
        masks: str | Path,
        *,
        rtl: int = 0,
        model: Model | None = None,
        output: str | Path | None = None,
        only: str | Path | None = None,
        workers: int = 1,
        scheduler: str | None = None,
        progress: Progress | None = None,
    ) -> Evaluation:
        """Accuracy on labelled pictures; writes evaluation.json, .md and .png.

        Args:
            images: folder of pictures.
            masks: folder of their masks, which have the pictures' names up to the suffix.
            rtl: number of pictures that also go through the Verilog, the worst one first.
            model: the ONNX file of this build, for a float column.
            output: folder of the results, None for the build directory.
            only: text file with the names of the pictures to take, one a line, such as the
                held-out.txt of a training; None: all.
            workers: processes on this machine for the pictures of `rtl`; more than one need Dask
                (extra `explore`). A call that was stopped goes on with the same pictures.
            scheduler: address of a Dask scheduler, such as tcp://host:8786, instead; its workers
                need this version of fpga-gen and the same paths.
        """
        pictures, truth = _existing(images), _existing(masks)
        source = None if model is None else _existing(model)
        names = None if only is None else _existing(only)
        target = None if output is None else Path(output)
        from fpga_gen.evaluate.flow import evaluate_build

        flow = evaluate_build(
            self.directory,
            pictures,
            truth,
            rtl,
            source,
            target,
            progress,
            names,
            workers,
            scheduler,
        )
        self._report = flow.simulation.report
        return flow.evaluation

    def synth(
        self, *, progress: Progress | None = None, delays: str | Path | None = None
    ) -> MappedDesign:
        """Resources, logic depth and fan-out of the Verilog, mapped by Yosys, and an estimate of
        its clock; delays: a TOML file of cell delays that replace the project's own."""
        from fpga_gen.synth.flow import synthesise_build

        place = None if delays is None else Path(delays)
        flow = synthesise_build(self.directory, progress, place)
        self._report = flow.report
        return flow.design

    def bitstream(
        self,
        *,
        vivado: str | Path | None = None,
        jobs: int = 4,
        progress: Progress | None = None,
    ) -> Bitstream:
        """Runs Vivado on the project in the directory, which becomes a deploy folder.

        Args:
            vivado: the program or its folder, None: PATH or XILINX_VIVADO.
            jobs: processes of Vivado.
        """
        from fpga_gen.flows.bitstream import BIT, HWH, make_bitstream

        place = None if vivado is None else Path(vivado)
        flow = make_bitstream(self.directory, place, jobs, progress)
        self._report = flow.report
        return Bitstream(
            self.directory / BIT, self.directory / HWH, flow.cached, flow.implementation
        )

    def reference(
        self, images: str | Path, *, progress: Progress | None = None
    ) -> tuple[Path, ...]:
        """Writes what the integer reference computes for pictures, for a comparison on a board."""
        from fpga_gen.flows.reference import write_references

        return tuple(write_references(self.directory, _existing(images), progress).written)

    def serve_board(
        self,
        memory_mb: int = 256,
        on_frame: Callable[[FrameRecord], None] | None = None,
        progress: Progress | None = None,
    ) -> BoardFlow:
        """The machine of a virtual board; close it in the end. memory_mb: its contiguous memory,
        MiB; on_frame: called with the FrameRecord of each run."""
        from fpga_gen.flows.board import start_board

        return start_board(self.directory, memory_mb, on_frame, progress)

    def session(self, device: Device = "reference", **options: Any) -> Session:
        """The network behind the interface of `onnxruntime.InferenceSession`; see `Session`."""
        from fpga_gen.api.session import Session

        return Session(self.directory, device=device, **options)

    def live(self, device: Device = "reference", address: str | None = None) -> LiveRunner:
        """What `fpga_gen_host.live.serve` serves as a web page; arguments as of `Session`.

        Raises:
            FpgaGenError: the packages of the extra `live` are missing, or the device cannot be had.
        """
        from fpga_gen.api.session import open_runner

        try:
            from fpga_gen_host.live import LiveRunner
        except ImportError as error:
            raise FpgaGenError(
                f"the page needs the package {error.name!r}: pip install 'fpga-gen[live]'"
            ) from error
        name = f"{self.report.model.name} on {self.report.board.name}"
        return LiveRunner(open_runner(self.directory, device, address), name, device)

    # --- how it looks ----------------------------------------------------------------------
    def __repr__(self) -> str:
        report = self.report
        best = report.simulation or report.estimate
        return (
            f"<build {self.directory}: {report.model.name} on {report.board.name}, "
            f"{best.fps:,.1f} frame/s, {best.kind}>"
        )

    def _repr_html_(self) -> str:
        return self.report._repr_html_()


def _existing(path: str | Path) -> Path:
    """The path; FpgaGenError if there is nothing."""
    if not os.path.exists(path):
        raise FpgaGenError(f"{path}: no such file or folder")
    return Path(path)


def compare(
    a: Build | str | Path, b: Build | str | Path, *, output: str | Path | None = None
) -> BuildComparison:
    """Two builds side by side: figures of a frame, resources, accuracy, layers.

    output: HTML file to write.

    Raises:
        FpgaGenError: one of them is no build directory, or the file cannot be written.
    """
    from fpga_gen.disk import replace_file
    from fpga_gen.report.compare import compare_reports
    from fpga_gen.report.html import render_comparison

    first, second = (item if isinstance(item, Build) else Build(item) for item in (a, b))
    found = compare_reports(first.report, second.report)
    if output is not None:
        try:
            replace_file(Path(output), render_comparison(found).encode())
        except OSError as error:
            raise BuildDirError(f"{output}: cannot be written: {error.strerror}") from error
    return found


def build(
    model: Model,
    *,
    board: str,
    output: str | Path | None = None,
    progress: Progress | None = None,
    **options: Unpack[BuildOptions],
) -> Build:
    """Compiles an ONNX model for a board: quantised weights, schedule, Verilog, report.

    Args:
        model: the ONNX file.
        board: its name, see `fpga-gen boards`.
        output: build directory, None for build/MODEL-BOARD.
        options: see `fpga_gen.api.options.BuildOptions`.

    Raises:
        FpgaGenError: the model cannot be compiled, does not fit, or an option is wrong; the
            directory is as it was.
    """
    config = make_config(model, board, **options)
    from fpga_gen import pipeline

    target = DEFAULT_FOLDER / f"{config.model.stem}-{config.board}" if output is None else output
    flow = pipeline.build(config, Path(target), progress)
    made = Build(target)
    made.seconds, made.kept, made.engines = flow.times, flow.kept, flow.candidates
    return made
