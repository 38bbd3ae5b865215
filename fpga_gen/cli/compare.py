"""`fpga-gen compare`."""

from __future__ import annotations

from pathlib import Path

import click
from rich.table import Table

from fpga_gen.cli.common import Settings, common_options
from fpga_gen.cli.terminal import cell


@click.command()
@click.argument("a", type=click.Path(path_type=Path))
@click.argument("b", type=click.Path(path_type=Path))
@click.option(
    "--layers",
    type=click.IntRange(min=0),
    default=10,
    show_default=True,
    help="Layers to list, the largest change first.",
)
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="Write the whole comparison as HTML."
)
@common_options
@click.pass_obj
def compare(settings: Settings, a: Path, b: Path, layers: int, output: Path | None) -> None:
    """Compare two builds, A and B. Cycles, bytes, resources, accuracy, layer by layer."""
    import fpga_gen
    from fpga_gen.report.compare import FIGURE_HEAD, LAYER_HEAD

    found = fpga_gen.compare(a, b, output=output)
    settings.result(found.to_dict())
    settings.say(f"A: {a}: {found.titles[0]}")
    settings.say(f"B: {b}: {found.titles[1]}")
    settings.show(_table("figures of a frame", FIGURE_HEAD, [p.cells for p in found.figures], 1))
    rows = [p.cells for p in found.layers[:layers]]
    if rows:
        title = f"layers (estimated), {len(rows)} of {len(found.layers)}"
        settings.show(_table(title, LAYER_HEAD, rows, 2))
    if output:
        settings.say(f"{output}: the whole comparison")


def _table(title: str, head: tuple[str, ...], rows: list[tuple[str, ...]], left: int) -> Table:
    table = Table(title=title)
    for number, name in enumerate(head):
        table.add_column(name, justify="left" if number < left else "right")
    for row in rows:
        table.add_row(*map(cell, row))
    return table
