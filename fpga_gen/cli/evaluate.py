"""`fpga-gen evaluate`."""

from __future__ import annotations

from pathlib import Path

import click
from rich.table import Table

from fpga_gen.cli.common import SCHEDULER, ConsoleProgress, Settings, common_options
from fpga_gen.cli.terminal import cell
from fpga_gen.report.accuracy import (
    SCORE_HEAD,
    TENSOR_HEAD,
    Accuracy,
    score_rows,
    summary,
    tensor_rows,
)


def _table(title: str, head: tuple[str, ...], rows: list[tuple[str, ...]], left: int) -> Table:
    table = Table(title=title)
    for number, name in enumerate(head):
        table.add_column(name, justify="left" if number < left else "right")
    for row in rows:
        table.add_row(*map(cell, row))
    return table


def accuracy_tables(accuracy: Accuracy) -> list[Table]:
    """Scores of the masks and, with a float graph, the tensors of the lowest SQNR."""
    found = [_table("accuracy of the masks", SCORE_HEAD, score_rows(accuracy), 2)]
    if accuracy.worst_tensors:
        rows = tensor_rows(accuracy.worst_tensors)
        found.append(_table("lowest SQNR, integer against float", TENSOR_HEAD, rows, 3))
    return found


@click.command()
@click.argument("directory", type=click.Path(path_type=Path))
@click.option(
    "--images", required=True, type=click.Path(path_type=Path), help="Folder of pictures."
)
@click.option(
    "--masks",
    required=True,
    type=click.Path(path_type=Path),
    help="Folder of their masks: same name up to the suffix, 8 bit, foreground above 127.",
)
@click.option(
    "--only",
    type=click.Path(path_type=Path),
    help="Text file with the names of the pictures to take, one a line, such as the held-out.txt "
    "of a training.  [default: all]",
)
@click.option(
    "--rtl",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Number of pictures that also go through the RTL, the worst one first.",
)
@click.option(
    "--workers",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Processes here that simulate pictures; an interrupted run goes on.",
)
@SCHEDULER
@click.option(
    "--model",
    type=click.Path(path_type=Path),
    help="The ONNX file of this build, for the float column.  [default: no float column]",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="Folder of evaluation.json, .md and .png.  [default: DIRECTORY]",
)
@common_options
@click.pass_obj
def evaluate(
    settings: Settings,
    directory: Path,
    images: Path,
    masks: Path,
    only: Path | None,
    rtl: int,
    workers: int,
    scheduler: str | None,
    model: Path | None,
    output: Path | None,
) -> None:
    """Score a build's masks on labelled pictures. Dice, IoU, agreement, SQNR."""
    from fpga_gen import Build

    with ConsoleProgress(settings) as progress:
        found = Build(directory).evaluate(
            images,
            masks,
            rtl=rtl,
            model=model,
            output=output,
            only=only,
            workers=workers,
            scheduler=scheduler,
            progress=progress,
        )
    settings.result({"directory": str(directory), "evaluation": found.to_dict()})
    for table in accuracy_tables(found.accuracy):
        settings.show(table)
    settings.say(summary(found.accuracy))
    settings.say(f"{output or directory}: evaluation.json, evaluation.md, evaluation.png")
