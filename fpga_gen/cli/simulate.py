"""`fpga-gen simulate`."""

from __future__ import annotations

from pathlib import Path

import click

from fpga_gen.cli.common import ConsoleProgress, Settings, common_options
from fpga_gen.cli.render import frame_table


@click.command()
@click.argument("directory", type=click.Path(path_type=Path))
@click.option(
    "--image",
    required=True,
    type=click.Path(path_type=Path),
    help="Picture of any size, or .npy array of the model's input, float (C, H, W).",
)
@click.option("--trace-tensors", is_flag=True, help="Compare every intermediate map as well.")
@click.option(
    "--overlay",
    type=click.Path(path_type=Path),
    help="Write the picture with the predicted mask as PNG (one-channel networks).",
)
@common_options
@click.pass_obj
def simulate(
    settings: Settings, directory: Path, image: Path, trace_tensors: bool, overlay: Path | None
) -> None:
    """Simulate one frame and compare it with the reference.

    The generated Verilog in DIRECTORY against its integer reference, bit for bit.
    """
    from fpga_gen import Build

    with ConsoleProgress(settings) as progress:
        frame = Build(directory).simulate(
            image, trace=trace_tensors, overlay=overlay, progress=progress
        )
    report, compared = frame.report, frame.simulation.tensors_compared
    settings.result({"directory": str(directory), "simulation": report.to_dict()["simulation"]})
    settings.show(frame_table(report))
    settings.say(f"bit-exact: {compared} maps equal the integer reference")
    if overlay:
        settings.say(f"{overlay}: mask overlay")
