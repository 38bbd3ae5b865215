"""`fpga-gen build` and `estimate`: from a model to a build directory, or to figures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fpga_gen.cli.common import (
    ARRAY,
    CLOCK,
    MODES,
    SHAPE,
    ConsoleProgress,
    Settings,
    common_options,
)
from fpga_gen.cli.render import board_table, engine_table, frame_table, layer_table
from fpga_gen.contract.column_kinds import KINDS
from fpga_gen.contract.numerics import SCHEMES
from fpga_gen.images import NORMALISATIONS
from fpga_gen_host.pictures import FITS

if TYPE_CHECKING:
    from fpga_gen import Build, Estimated

INPUT_SHAPE = click.option(
    "--input-shape", type=SHAPE, help="Input shape of a model that leaves it open: 1,3,352,352."
)


def array_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that decide about the engine."""
    options = (
        click.option(
            "--clock-mhz",
            type=CLOCK,
            help="Clock of the engine in MHz, or auto: the highest that the timing estimate thinks "
            "safe.  "
            "[default: board's]",
        ),
        click.option(
            "--array",
            type=ARRAY,
            help="What the engine computes in a cycle: pixels, input channels, "
            f"{', '.join(f'{kind.title} columns' for kind in KINDS)}, such as 8,16,24,18.  "
            "[default: the best for model and board]",
        ),
        click.option(
            "--modes",
            type=MODES,
            help="In how many groups the columns of the array can work for different pixels, such "
            "as 1,2,3.  [default: those of the board's own array]",
        ),
        click.option(
            "--double-clock",
            is_flag=True,
            help="Run the DSP columns' slices at twice the clock: twice as many columns.",
        ),
        click.option(
            "--exit-pixels",
            type=click.IntRange(1, 2),
            help="Neighbouring pixels whose results leave the array together: 2 take a second row "
            "of requantisation lanes.  [default: the better for model and board, 1 with --array]",
        ),
        click.option(
            "--scheme",
            type=click.Choice(list(SCHEMES)),
            default="mixed",
            show_default=True,
            help="Weights. mixed: int8 in DSPs and SP2 (two signed powers of two) in LUTs; "
            "fixed8: int8 alone; sp2: SP2 alone; msq4: int4 and 4-bit SP2 (made for weights of "
            "`python -m fpga_gen_models.qat`).",
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


def compile_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that build and estimate share."""
    options = (
        click.argument("model", type=click.Path(path_type=Path)),
        click.option(
            "--board", metavar="NAME", required=True, help="See `fpga-gen boards`; in any case."
        ),
        array_options,
        click.option(
            "--calibration",
            type=click.Path(path_type=Path),
            help="Folder of pictures like those to come, of which up to 32 set the ranges of the "
            "8-bit maps.  [default: seeded synthetic pictures]",
        ),
        INPUT_SHAPE,
        click.option(
            "--normalise",
            type=click.Choice(list(NORMALISATIONS)),
            default="imagenet",
            show_default=True,
            help="What the model was trained on: ImageNet mean and deviation, 0..1, or 0..255.",
        ),
        click.option(
            "--fit",
            type=click.Choice(FITS),
            default="stretch",
            show_default=True,
            help="How a picture of another size becomes the input: stretched, or with bars.",
        ),
        click.option(
            "--zero-skipping/--no-zero-skipping",
            default=True,
            show_default=True,
            help="Leave out the work and the bytes of weights that are zero, slot by slot.",
        ),
        click.option("--explain", is_flag=True, help="Show the ten best engines and their limits."),
        click.option(
            "--seed",
            type=int,
            default=0,
            show_default=True,
            help="Of synthetic pictures and of the quantiser.",
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


def engines(settings: Settings, made: Build | Estimated, explain: bool) -> dict[str, Any]:
    """Shows the engines that were compared, with --explain; the same for --json."""
    if not explain:
        return {}
    if not made.engines:
        settings.say("the array was given: no other engine was considered")
        return {"engines": []}
    settings.show(engine_table(made.engines, made.board))
    return {
        "engines": [
            {
                "parameters": c.params.to_dict(),
                "quick_cycles": c.cycles.total,
                "scheduled_cycles": c.scheduled,
                "shares": c.shares(made.board),
                "limit": c.limit(made.board),
            }
            for c in made.engines
        ]
    }


@click.command()
@compile_options
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="Build directory.  [default: build/MODEL-BOARD]",
)
@common_options
@click.pass_obj
def build(settings: Settings, explain: bool, **options: Any) -> None:
    """Compile MODEL (ONNX) for a board into a build directory."""
    import fpga_gen
    from fpga_gen.report.markdown import approximation_lines, deviation_lines

    with ConsoleProgress(settings) as progress:
        made = fpga_gen.build(progress=progress, **options)
    target, report = made.directory, made.report
    settings.result(
        {
            "directory": str(target),
            "seconds": made.seconds,
            "kept": list(made.kept),
            "report": report.to_dict(),
        }
        | engines(settings, made, explain)
    )
    if settings.verbose:
        for line in deviation_lines(report.quantisation):
            settings.say(f"not as imported: {line}")
    for line in approximation_lines(report.quantisation):
        settings.say(f"approximate: {line}")
    settings.show(frame_table(report))
    if made.kept:
        settings.say(f"{target}: kept, not of this build: {', '.join(made.kept)}")
    settings.say(f"{target}: complete; details in {target / 'report.html'}")


@click.command()
@compile_options
@common_options
@click.pass_obj
def estimate(settings: Settings, explain: bool, **options: Any) -> None:
    """Estimate MODEL on a board: cycles, frame rate, DRAM, resources.

    Nothing is written. `--board all` compares all boards.
    """
    import fpga_gen

    if options["board"].lower() == "all":
        estimate_all(settings, explain, options)
        return
    with ConsoleProgress(settings) as progress:
        found = fpga_gen.estimate(progress=progress, **options)
    settings.result(found.report.to_dict() | engines(settings, found, explain))
    if settings.verbose:
        settings.show(layer_table(found.report))
    settings.show(frame_table(found.report))


def estimate_all(settings: Settings, explain: bool, options: dict[str, Any]) -> None:
    """One row for each board."""
    import fpga_gen

    if explain:
        raise click.UsageError("--explain is for one board")
    options = {name: value for name, value in options.items() if name != "board"}
    with ConsoleProgress(settings) as progress:
        found = fpga_gen.estimate_boards(progress=progress, **options)
    settings.result(
        [
            {
                "board": item.board.name,
                "refusal": item.refusal,
                "report": None if item.report is None else item.report.to_dict(),
            }
            for item in found
        ]
    )
    settings.show(board_table(found))
    for item in found:
        if item.refusal:
            settings.say(f"{item.board.name}: {item.refusal}")
