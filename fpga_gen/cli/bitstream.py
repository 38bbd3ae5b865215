"""`fpga-gen bitstream`."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path

import click
from rich.table import Table

from fpga_gen.cli.common import ConsoleProgress, Settings, common_options

MAX_JOBS = 8  # more help little: most of the time is one run of place-and-route


@click.command()
@click.argument("directory", type=click.Path(path_type=Path))
@click.option(
    "--vivado",
    type=click.Path(path_type=Path),
    help="The program or its installation folder.  [default: PATH, XILINX_VIVADO]",
)
@click.option(
    "--jobs",
    type=click.IntRange(1, 64),
    default=min(os.cpu_count() or 1, MAX_JOBS),
    help="Processes of Vivado.  [default: processors, at most 8]",
)
@common_options
@click.pass_obj
def bitstream(settings: Settings, directory: Path, vivado: Path | None, jobs: int) -> None:
    """Make the bitstream of a build with Vivado. DIRECTORY becomes a deploy folder."""
    from fpga_gen import Build
    from fpga_gen.report.implementation import implementation_rows, implementation_summary

    with ConsoleProgress(settings) as progress:
        made = Build(directory).bitstream(vivado=vivado, jobs=jobs, progress=progress)
    settings.result(
        {
            "directory": str(directory),
            "cached": made.cached,
            "implementation": asdict(made.implementation),
        }
    )
    table = Table("primitive", "used", "available", "share")
    for row in implementation_rows(made.implementation):
        table.add_row(*row)
    settings.show(table)
    settings.say(implementation_summary(made.implementation))
    origin = "from the cache" if made.cached else "written"
    settings.say(f"{directory}: {made.bit.name} and {made.hwh.name} {origin}")
