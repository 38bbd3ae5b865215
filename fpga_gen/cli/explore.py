"""`fpga-gen explore`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.table import Table

from fpga_gen.api.options import STAGES
from fpga_gen.cli.common import SCHEDULER, ConsoleProgress, Settings, common_options
from fpga_gen.cli.terminal import cell
from fpga_gen.contract.numerics import SCHEMES

if TYPE_CHECKING:
    from fpga_gen.api.explore import TrialResult

CLOCKS = {"single": (False,), "double": (True,), "both": (False, True)}


@click.command()
@click.argument("models", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--boards", metavar="A,B", help="Names, separated by commas.  [default: all]")
@click.option(
    "--schemes",
    metavar="A,B",
    default="mixed",
    show_default=True,
    help=f"Of {', '.join(SCHEMES)}, separated by commas; see `build`.",
)
@click.option(
    "--clocks",
    type=click.Choice(list(CLOCKS)),
    default="single",
    show_default=True,
    help="double: the DSP slices at twice the engine's clock.",
)
@click.option(
    "--through",
    type=click.Choice(STAGES),
    default=STAGES[0],
    show_default=True,
    help="Build as well, map with Yosys, simulate one frame bit for bit.",
)
@click.option("--images", type=click.Path(path_type=Path), help="Pictures to evaluate builds on.")
@click.option("--masks", type=click.Path(path_type=Path), help="Their masks, of the same names.")
@click.option(
    "--workers", type=click.IntRange(1), default=2, show_default=True, help="Processes here."
)
@SCHEDULER
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    default=Path("build/explore"),
    show_default=True,
    help="Folder of explore.jsonl; what stands there is not computed again.",
)
@common_options
@click.pass_obj
def explore(
    settings: Settings,
    models: tuple[Path, ...],
    boards: str | None,
    schemes: str,
    clocks: str,
    through: str,
    images: Path | None,
    masks: Path | None,
    workers: int,
    scheduler: str | None,
    output: Path,
) -> None:
    """Try MODELS on boards, schemes and clocks, in parallel.

    An interrupted run goes on where it was.
    """
    import fpga_gen
    from fpga_gen.api.explore import FILE, pareto

    with ConsoleProgress(settings) as progress:
        progress.start("explore")
        found = fpga_gen.explore(
            models,
            None if boards is None else boards.split(","),
            output=output,
            schemes=schemes.split(","),
            double_clock=CLOCKS[clocks],
            through=through,
            images=images,
            masks=masks,
            workers=workers,
            scheduler=scheduler,
            progress=progress,
        )
    best = pareto(found)
    settings.result([{**asdict(r), "pareto": r.trial.key in best} for r in found])
    settings.show(table(found, best))
    for result in found:
        if result.refusal:
            trial = result.trial
            settings.say(f"{Path(trial.model).name} on {trial.board}: {result.refusal}")
    settings.say(f"{output / FILE}: {len(found)} results")


def table(found: tuple[TrialResult, ...], best: set[str]) -> Table:
    """One row for each trial; *: no other of its model is better in all that is compared."""
    shown = Table(
        title="explored",
        caption="*: no other trial of its model is as fast, with as few LUTs and as accurate",
    )
    heads = ("model", "board", "scheme", "clock", "frame/s", "kind", "ms", "LUT", "DSP", "array",
             "Dice", "")  # fmt: skip
    for head in heads:
        left = head in ("model", "board", "scheme", "clock", "kind", "")
        shown.add_column(head, justify="left" if left else "right")
    for r in found:
        trial = r.trial
        name = (Path(trial.model).stem, trial.board, trial.scheme)
        clock = "double" if trial.double_clock else "single"
        figures: tuple[str, ...] = ("does not fit", *"------")
        if not r.refusal:
            figures = (
                f"{r.fps:,.1f}", r.kind, f"{r.latency_ms:,.2f}", f"{100 * r.lut_share:.0f} %",
                f"{100 * r.dsp_share:.0f} %", ",".join(map(str, r.array)),
                "-" if r.dice is None else f"{r.dice:.4f}",
            )  # fmt: skip
        mark = "*" if trial.key in best else ""
        shown.add_row(*map(cell, (*name, clock, *figures, mark)))
    return shown
