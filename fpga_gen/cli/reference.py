"""`fpga-gen reference`."""

from __future__ import annotations

from pathlib import Path

import click

from fpga_gen.cli.common import ConsoleProgress, Settings, common_options


@click.command()
@click.argument("directory", type=click.Path(path_type=Path))
@click.option(
    "--images",
    required=True,
    type=click.Path(path_type=Path),
    help="Folder of pictures, or one picture.",
)
@common_options
@click.pass_obj
def reference(settings: Settings, directory: Path, images: Path) -> None:
    """Write reference results of pictures into DIRECTORY/reference.

    The host package compares a board with it bit for bit.
    """
    from fpga_gen import Build

    with ConsoleProgress(settings) as progress:
        written = Build(directory).reference(images, progress=progress)
    settings.result({"directory": str(directory), "written": [str(p) for p in written]})
    for path in written:
        settings.say(str(path))
