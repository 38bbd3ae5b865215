"""`fpga-gen prune`: a faster copy of a model, without training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from fpga_gen.builddir.config import engine_options
from fpga_gen.cli.build import compile_options
from fpga_gen.cli.common import ConsoleProgress, Settings, common_options


@click.command()
@compile_options
@click.option("--cycles", type=int, metavar="N", help="A frame takes at most N cycles.")
@click.option("--fps", type=float, metavar="F", help="At least F frames per second.")
@click.option(
    "--share", type=float, metavar="S", help="At most the share S of the cycles that it takes now."
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="ONNX file to write.  [default: MODEL-pruned.onnx, in the current folder]",
)
@common_options
@click.pass_obj
def prune(settings: Settings, explain: bool, output: Path | None, **options: Any) -> None:
    """Prune MODEL (ONNX, float weights) for the engine of a board.

    Weights become zero where the engine can leave out the work, until a frame meets one goal:
    --cycles, --fps or --share. The others make up for them, as far as the pictures of --calibration
    tell, which need no labels. Nothing is trained. Build the result with the --array that is
    printed: its zeros are made for it.
    """
    import fpga_gen

    if sum(options[name] is not None for name in ("cycles", "fps", "share")) != 1:
        raise click.UsageError("give one goal: --cycles N, --fps F or --share S")
    if options["calibration"] is None:
        raise click.UsageError("give --calibration FOLDER, pictures like those to come")
    if not options.pop("zero_skipping"):
        raise click.UsageError("without zero skipping zeros save nothing")
    if explain:
        raise click.UsageError("--explain is for build and estimate")
    target = output or Path(f"{options['model'].stem}-pruned.onnx")
    with ConsoleProgress(settings) as progress:
        made = fpga_gen.prune(progress=progress, output=target, **options)
    settings.result(
        {
            "model": str(made.path),
            "board": made.board,
            "array": list(made.array),
            "modes": list(made.modes),
            "double_clock": made.double_clock,
            "exit_pixels": made.exit_pixels,
            "clock_mhz": made.clock_mhz,
            "cycles_before": made.cycles_before,
            "cycles": made.cycles,
            "fps": made.fps,
            "slots": made.slots,
            "zero_slots": made.zero_slots,
            "noise_db": made.noise_db,
            "seconds": made.seconds,
        }
    )
    settings.say(
        f"{made.path}: {made.cycles:,} cycles instead of {made.cycles_before:,}, "
        f"{made.fps:,.1f} frame/s on {made.board} (estimated); "
        f"{made.zero_slots:,} of {made.slots:,} weight slots are zero"
    )
    engine = engine_options(
        made.array, made.modes, double_clock=made.double_clock, exit_pixels=made.exit_pixels
    )
    settings.say(f"build it with --board {made.board} {engine}")
